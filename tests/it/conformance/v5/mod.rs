//! MQTT 5.0: a test for each statement of `v5.txt` that binds a server.

mod c1_5_data;
mod c2_format;
