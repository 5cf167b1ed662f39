//! Pantala: a thread-per-core MQTT broker for dedicated Linux hosts.

pub mod types;
