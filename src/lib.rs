//! Pantala: a thread-per-core MQTT broker for dedicated Linux hosts.

pub mod types;

pub mod codec;
pub mod topic;

pub mod session;

pub mod engine;

pub mod mesh;
pub mod metrics;
pub mod transport;

pub mod shard;

pub mod config;

pub mod broker;
