//! MQTT 5.0: a test for each statement of `v5.txt` that binds a server.

mod c1_5_data;
mod c2_format;
mod c3_1_connect;
mod c3_1_payload;
mod c3_1_properties;
mod c3_1_will;
mod c3_2_connack;
mod c3_3_actions;
mod c3_3_properties;
mod c3_3_publish;
mod c4_1_state;
mod c4_3_qos;
mod c4_4_delivery;
mod c4_7_topics;
mod c4_8_shared;
