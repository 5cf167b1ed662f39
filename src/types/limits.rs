//! Every bound of the engine in one place. What happens at each bound stands beside it.

use super::Span;

/// Unacknowledged QoS 1/2 messages towards one client at most. Packet ids are 16 bits and 0 is reserved.
pub const INFLIGHT_MAX: u16 = 65_535;
/// The largest remaining length that MQTT can express. [MQTT 2.2.3], 1.5.5 in 5.0
pub const REMAINING_LENGTH_MAX: u32 = 268_435_455;
/// Frames from this size on are referenced by each subscriber's output instead of copied into it.
pub const SHARE_FROM_BYTES: usize = 16 << 10;
/// Timers handled in one turn of a core at most; the rest fires in the next.
pub const TIMERS_PER_TURN: usize = 1_024;
/// Retained messages that one core sends to another per request; the subscriber's core asks for more when it has room.
pub const REPLAY_CHUNK: usize = 64;
/// Topics that a core looks at per request, whether they match or not.
pub const REPLAY_LOOKS: usize = 4_096;

/// What to do with a message for a queue that is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Drop the message that waits longest and queue the new one.
    DropOldest,
    /// Drop the new message.
    #[default]
    DropNewest,
    /// Close the client's connection; a session that nobody is connected to drops the new message.
    Disconnect,
    /// Queue it all the same, and read nothing more of who published it until there is room again.
    Hold,
}

/// What to do with a client that publishes more than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exceeded {
    /// Read nothing more of it for as long as what it sent is too much.
    #[default]
    Hold,
    /// Disconnect it.
    Disconnect,
}

/// Bounds that an operator can set. `[limits]` and `[session]` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whole MQTT packets from clients; a larger one closes its connection with 0x95 before its body is read.
    pub packet_bytes_max: u32,
    /// The same until CONNECT is accepted.
    pub connect_bytes_max: u32,
    /// Time for a connection to send its whole CONNECT; then it is closed.
    pub connect_timeout: Span,
    /// Connections on one core; at the bound a new one is closed at once.
    pub connections_max: u32,
    /// Connections of one address (of one /64 in IPv6) over all cores; a further one is closed at once. `None`: any number.
    pub connections_per_address_max: Option<u32>,
    /// Connections of one user over all cores; a further one is refused with 0x97 (0x03 in 3.1.1). `None`: any number.
    pub connections_per_user_max: Option<u32>,
    /// Connections that one address may open a second, on average; who opens more is shut out for `penalty`. `None`: any
    /// number.
    pub attempts_per_s: Option<u32>,
    /// The same at once.
    pub attempts_burst: u32,
    /// How long an address is shut out that tries more often.
    pub penalty: Span,
    /// Messages that one client may publish a second, and as many at once after a pause. `None`: any number.
    pub publishes_per_s: Option<u32>,
    /// The same for the bytes of their packets.
    pub publish_bytes_per_s: Option<u32>,
    /// What happens to who publishes more.
    pub exceeded: Exceeded,
    /// Bytes of a topic name or filter; a longer one is refused like an invalid one.
    pub topic_bytes_max: u16,
    /// Levels in a topic name or filter; a deeper one is refused like an invalid one.
    pub topic_levels_max: u16,
    /// Subscriptions of one session; more are refused with 0x97 (0x80 in 3.1.1).
    pub subscriptions_max: u32,
    /// Unacknowledged messages towards one client, when the client does not ask for fewer; further ones are queued.
    pub inflight_max: u16,
    /// Unreleased QoS 2 (and, in 5.0, unacknowledged QoS 1) messages from one client: the Receive Maximum that a 5.0
    /// client is told. A client that exceeds it is disconnected with 0x93.
    pub receive_max: u16,
    /// Messages in one session's queue; at the bound `overflow` decides.
    pub queue_messages_max: u32,
    /// Bytes in one session's queue; at the bound `overflow` decides.
    pub queue_bytes_max: u64,
    /// What happens when the queue is full.
    pub overflow: Overflow,
    /// Bytes of one session's queue that are kept in memory; what is more and outlives the broker lies in the store alone.
    pub queue_memory_bytes: u64,
    /// Whether messages of QoS 0 wait for clients that are away, like those of QoS 1.
    pub queue_qos0: bool,
    /// Longest time that a message waits for a client, when its publisher did not ask for less. `None`: for ever.
    pub queued_expiry: Option<Span>,
    /// Bytes waiting for one client's socket. At the bound its QoS 0 messages are dropped, QoS 1 and 2 wait in its queue,
    /// and no further packet of that client is read until it takes its responses.
    pub output_bytes_max: usize,
    /// Retained messages on one core; at the bound a new topic is not retained (0x97).
    pub retained_messages_max: u32,
    /// Bytes of retained topics and payloads on one core; as above.
    pub retained_bytes_max: u64,
    /// Longest time that a session without a connection is kept. `None`: for ever.
    pub session_expiry_max: Option<Span>,
    /// How long a session of a client older than 5.0 is kept, which cannot say so itself. `None`: as long as can be.
    pub session_expiry_default: Option<Span>,
    /// Sessions on one core; at the bound a new client is refused with 0x97 (0x03 in 3.1.1).
    pub sessions_max: u32,
    /// Longest keep-alive; a 5.0 client that asks for more is told this one. 0: no bound.
    pub keep_alive_max_s: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 16 << 20,
            connect_bytes_max: 256 << 10,
            connect_timeout: Span::from_secs(10),
            connections_max: 1_000_000,
            connections_per_address_max: None,
            connections_per_user_max: None,
            attempts_per_s: None,
            attempts_burst: 100,
            penalty: Span::from_secs(60),
            publishes_per_s: None,
            publish_bytes_per_s: None,
            exceeded: Exceeded::Hold,
            topic_bytes_max: u16::MAX,
            topic_levels_max: 128,
            subscriptions_max: 100_000,
            inflight_max: 1_024,
            receive_max: 1_024,
            queue_messages_max: 100_000,
            queue_bytes_max: 64 << 20,
            overflow: Overflow::DropNewest,
            queue_memory_bytes: 64 << 10,
            queue_qos0: false,
            queued_expiry: None,
            output_bytes_max: 4 << 20,
            retained_messages_max: 10_000_000,
            retained_bytes_max: 4 << 30,
            session_expiry_default: None,
            session_expiry_max: Some(Span::from_secs(7 * 86_400)),
            sessions_max: 10_000_000,
            keep_alive_max_s: 0,
        }
    }
}
