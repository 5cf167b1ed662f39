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
    /// Connections that ended before a whole and sound CONNECT came, or before their client had logged in.
    pub strangers: u64,
    /// Clients that have logged in.
    pub logins: u64,
    /// How often a client was not read for a while, because it had published more than it may.
    pub held_back: u64,
    /// Why connections never became clients'.
    pub refused: Refused,
}

/// Connections that never became clients', by reason; those that just ended are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// No login, where that is not enough.
    pub anonymous: u64,
    /// A wrong password.
    pub password: u64,
    /// A user that nobody knows.
    pub user: u64,
    /// A token that is not good.
    pub token: u64,
    /// What SCRAM-SHA-256 did not prove.
    pub scram: u64,
    /// A service said no.
    pub service: u64,
    /// A service did not say.
    pub silent: u64,
    /// Too many others logged in.
    pub busy: u64,
    /// An address that is not allowed, or a certificate without a name.
    pub denied: u64,
    /// As many connections as may be.
    pub full: u64,
    /// As many connections of its address as may be.
    pub address_full: u64,
    /// As many connections of its user as may be.
    pub user_full: u64,
    /// An address that tries too often.
    pub shut_out: u64,
    /// No CONNECT in time.
    pub late: u64,
    /// Something else than a CONNECT that is sound.
    pub protocol: u64,
}

impl Refused {
    /// Each reason's name, as `$SYS` and metrics show it, and count.
    pub fn by_reason(&self) -> [(&'static str, u64); 15] {
        [
            ("anonymous", self.anonymous),
            ("password", self.password),
            ("user", self.user),
            ("token", self.token),
            ("scram", self.scram),
            ("service", self.service),
            ("silent_service", self.silent),
            ("busy", self.busy),
            ("denied", self.denied),
            ("full", self.full),
            ("address_full", self.address_full),
            ("user_full", self.user_full),
            ("shut_out", self.shut_out),
            ("late", self.late),
            ("protocol", self.protocol),
        ]
    }
}

/// Everything that one shard reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardReport {
    /// What its engine holds and counted.
    pub engine: Report,
    /// What its sockets carried.
    pub traffic: Traffic,
}
