//! MQTT 5.0: a test for each statement of `v5.txt` that binds a server.

mod c1_5_data;
mod c2_format;
mod c3_1_connect;
mod c3_1_payload;
mod c3_1_properties;
mod c3_1_will;
mod c3_2_connack;
