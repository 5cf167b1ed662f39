//! What the engine counts. Plain numbers, no atomics: the shard reads them on its own core.

use super::StoreState;

/// Events since the start. Each number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// MQTT packets received.
    pub packets_in: u64,
    /// PUBLISH packets received, by QoS.
    pub publish_in: [u64; 3],
    /// PUBLISH packets sent, by QoS, without repetitions.
    pub publish_out: [u64; 3],
    /// PUBLISH packets sent again after a reconnect.
    pub resent: u64,
    /// Messages sent to other cores.
    pub forwarded: u64,
    /// Connections accepted by CONNACK.
    pub connects: u64,
    /// Connections refused by CONNACK.
    pub refused: u64,
    /// Connections that ended.
    pub disconnects: u64,
    /// Connections that took over another's client id.
    pub takeovers: u64,
    /// Connections closed for a violation of the protocol.
    pub violations: u64,
    /// Connections closed for silence.
    pub keep_alive_timeouts: u64,
    /// Sessions that expired.
    pub sessions_expired: u64,
    /// Wills published.
    pub wills: u64,
    /// Messages dropped, by reason.
    pub dropped: Dropped,
}

/// Messages that somebody did not get, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// QoS 0 for a client whose output was full.
    pub output_full: u64,
    /// QoS 1 or 2 for a client whose queue was full.
    pub queue_full: u64,
    /// QoS 0 for a session whose client is away.
    pub offline: u64,
    /// Larger than the client's Maximum Packet Size. [MQTT-3.1.2-25]
    pub too_large: u64,
    /// Past the Message Expiry Interval. [MQTT-3.3.2-5]
    pub expired: u64,
    /// Not retained: the retained index is full.
    pub retained_full: u64,
    /// Published by a client to `$SYS`, which is the broker's.
    pub reserved_topic: u64,
    /// The store would have had to keep it, and took nothing.
    pub store_refused: u64,
    /// Its publisher may not publish to its topic.
    pub publish_denied: u64,
    /// For a subscriber that may not receive from its topic.
    pub receive_denied: u64,
}

impl Dropped {
    /// Each reason's name, as `$SYS` and metrics show it, and count.
    pub fn by_reason(&self) -> [(&'static str, u64); 10] {
        [
            ("output_full", self.output_full),
            ("queue_full", self.queue_full),
            ("offline", self.offline),
            ("too_large", self.too_large),
            ("expired", self.expired),
            ("retained_full", self.retained_full),
            ("reserved_topic", self.reserved_topic),
            ("store_refused", self.store_refused),
            ("publish_denied", self.publish_denied),
            ("receive_denied", self.receive_denied),
        ]
    }
}

/// What one engine holds at the moment, and what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events since the start.
    pub counters: Counters,
    /// Clients connected.
    pub connected: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Subscriptions of all sessions.
    pub subscriptions: u64,
    /// Retained messages that this core keeps.
    pub retained_messages: u64,
    /// Their topics and payloads, in bytes.
    pub retained_bytes: u64,
    /// Messages that wait in queues.
    pub queued_messages: u64,
    /// What they count towards the bounds, in bytes.
    pub queued_bytes: u64,
    /// Whether the store takes more.
    pub store: StoreState,
}
