//! What the engine asks of the world. The shard does it with sockets and links, the simulator with vectors.

use super::{Batch, Fetch, PeerMessage};
use crate::codec::{ReasonCode, Version};
use crate::session::Violation;
use crate::types::{ConnKey, ShardId};
use bytes::Bytes;

/// The engine's only way out. Calls take effect in their order; none can fail, block or call back.
pub trait Effects {
    /// Appends a response or a control packet to the connection's output.
    fn send(&mut self, conn: ConnKey, bytes: &[u8]);

    /// Appends a message, if the connection's output stays within its bound. False when it would not: nothing happened,
    /// and [`super::Engine::writable`] is called once the output has drained to half.
    fn offer(&mut self, conn: ConnKey, frame: &[u8]) -> bool;

    /// The same for a large message: `head` is copied, the payload is referenced.
    fn offer_shared(&mut self, conn: ConnKey, head: &[u8], payload: &Bytes) -> bool;

    /// Sends what is queued, for a bounded time, then closes. The engine has forgotten the connection and wants to hear no
    /// more of it.
    fn close(&mut self, conn: ConnKey, why: CloseReason);

    /// Says something to another core. In order per ordered pair of cores; never to oneself.
    fn peer(&mut self, to: ShardId, message: PeerMessage);

    /// Hands requests to the store. [`super::Engine::durable`] is told once they are durable, and gets no further ones before.
    fn persist(&mut self, batch: Batch);

    /// Asks the store for messages of a session; [`super::Engine::fetched`] gets them.
    fn fetch(&mut self, fetch: Fetch);

    /// Sends nothing more to a connection, not even what was appended to its output, or goes on.
    fn cork(&mut self, conn: ConnKey, corked: bool);

    /// Reads nothing more from a connection, or goes on.
    fn hold(&mut self, conn: ConnKey, held: bool);

    /// Something that an operator may want to know. The world adds the address and decides whether to log it.
    fn note(&mut self, conn: ConnKey, note: Note<'_>);
}

/// Why the engine closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said goodbye.
    Goodbye,
    /// CONNECT was refused.
    Refused,
    /// The client broke the protocol.
    Violation,
    /// Another connection took the client id over.
    TakenOver,
    /// Silence for one and a half times the keep alive.
    KeepAlive,
    /// The client's queue is full and the operator chose to disconnect such clients.
    QueueFull,
    /// The client published what the store would have to keep, which takes nothing at present, and cannot be told.
    StoreRefuses,
    /// The client's user is no longer known, or has another password.
    Revoked,
    /// What the client had shown to log in is good for no longer.
    LoginExpired,
    /// The broker stops.
    ShuttingDown,
}

/// Something that an operator may want to know about a connection.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// CONNECT was accepted.
    Connected {
        /// The client's id.
        client_id: &'a str,
        /// The protocol version that it speaks.
        version: Version,
        /// Whether it found a session of earlier.
        resumed: bool,
        /// The user that it has shown to be.
        user: Option<&'a str>,
    },
    /// CONNECT was refused.
    Refused {
        /// The client's id, if it gave one.
        client_id: &'a str,
        /// Why.
        reason: ReasonCode,
        /// The same for people.
        why: &'a str,
        /// Whether it is because the client has not shown who it is.
        of_login: bool,
    },
    /// The client broke the protocol; the connection is closed.
    Violation {
        /// The client's id.
        client_id: &'a str,
        /// What it did.
        violation: Violation,
    },
    /// The connection ends for another reason.
    Closed {
        /// The client's id.
        client_id: &'a str,
        /// Why.
        why: CloseReason,
    },
}

/// An [`Effects`] that does nothing: what is left is the engine's own cost. For benches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null {
    /// Messages offered.
    pub offers: u64,
}

impl Effects for Null {
    fn send(&mut self, _: ConnKey, _: &[u8]) {}

    fn offer(&mut self, _: ConnKey, _: &[u8]) -> bool {
        self.offers += 1;
        true
    }

    fn offer_shared(&mut self, _: ConnKey, _: &[u8], _: &Bytes) -> bool {
        self.offers += 1;
        true
    }

    fn close(&mut self, _: ConnKey, _: CloseReason) {}

    fn peer(&mut self, _: ShardId, _: PeerMessage) {}

    fn persist(&mut self, _: Batch) {}

    fn fetch(&mut self, _: Fetch) {}

    fn cork(&mut self, _: ConnKey, _: bool) {}

    fn hold(&mut self, _: ConnKey, _: bool) {}

    fn note(&mut self, _: ConnKey, _: Note<'_>) {}
}
