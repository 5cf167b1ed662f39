//! What the shards count, made readable: `$SYS` topics.
//!
//! Runs on: whichever shard publishes `$SYS`, with the reports that the others sent it. Plain numbers, no atomics.
//! Invariant: pure. Time comes in as the broker's uptime; reports come in whole.

mod load;
mod sys_topics;

pub use sys_topics::SysTopics;

use crate::engine::Report;

/// What one shard's sockets carried since the start. Each number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes read.
    pub bytes_received: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// MQTT packets handed to the sockets.
    pub packets_sent: u64,
    /// Connections accepted, whatever became of them.
    pub opened: u64,
    /// Connections that ended before a whole and sound CONNECT came.
    pub strangers: u64,
}

/// Everything that one shard reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardReport {
    /// What its engine holds and counted.
    pub engine: Report,
    /// What its sockets carried.
    pub traffic: Traffic,
}
