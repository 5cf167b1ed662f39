//! What a core asks the store to keep, and what the store gives back. Plain data: the store depends on the engine, not the
//! engine on a store.
//!
//! A core's requests take effect in their order. Those of one [`Batch`] are durable together or not at all, and so is each
//! message with everybody who is to get it, on whatever core.

use crate::session::connect::Will;
use crate::session::{Backlog, Subscription};
use crate::types::{Message, Now, PacketId, QoS, SessionId, SessionKey, Span};
use std::ops::Range;
use std::sync::Arc;

/// One thing to keep, or to keep no longer. About sessions that the store does not know (any more), all but
/// [`PersistOp::Session`] mean nothing.
#[derive(Clone, Debug)]
pub enum PersistOp {
    /// It was asked for and is not needed any more.
    Nothing,
    /// A session exists, or its terms have changed. Replaces what was said of it before; what it is owed stays.
    Session(Box<StoredSession>),
    /// The session is no more, and nothing of it is needed.
    End(SessionId),
    /// It has this subscription, in place of one with an equal filter.
    Subscribe {
        /// Whose.
        session: SessionId,
        /// In full, with its `$share` prefix.
        filter: Box<str>,
        /// Its options and identifier.
        subscription: Subscription,
    },
    /// It does not have this subscription any more.
    Unsubscribe {
        /// Whose.
        session: SessionId,
        /// In full, with its `$share` prefix.
        filter: Box<str>,
    },
    /// A message for sessions.
    Message {
        /// The message, once for all who are to get it.
        message: Arc<Message>,
        /// Who, in [`Batch::to`]. Those without a session any more do not need it.
        to: Range<u32>,
        /// How many of them still need it.
        left: u32,
        /// The packet id under which a session published it with QoS 2: kept until [`PersistOp::Released`].
        inbound: Option<(SessionId, PacketId)>,
        /// The place in another session's queue that it leaves by this. [`PersistOp::Done`] in the same step.
        instead_of: Option<Place>,
    },
    /// A session is not owed a message any more: it acknowledged it, or it was dropped.
    Done(Place),
    /// A session has said by PUBREC that a message of QoS 2 is its own: the content is not needed any more, the packet id
    /// is until [`PersistOp::Done`].
    Received(Place),
    /// A packet id under which a session published a message of QoS 2 that nobody stored needed.
    Inbound {
        /// Whose.
        session: SessionId,
        /// The packet id.
        id: PacketId,
    },
    /// PUBREL came for it.
    Released {
        /// Whose.
        session: SessionId,
        /// The packet id.
        id: PacketId,
    },
    /// The retained message of its topic from now on; with an empty payload the topic has none any more.
    Retain(Arc<Message>),
}

/// A message's place among what a session is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose.
    pub session: SessionId,
    /// The message's number in it.
    pub seq: u64,
    /// What it counts towards the session's bound in bytes.
    pub size: u32,
}

/// Who is to get a message, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Who; `None` when it does not need it any more.
    pub session: Option<SessionId>,
    /// The message's number in the session: ascending, with gaps. Packet ids are made of it.
    pub seq: u64,
    /// The QoS to deliver it with.
    pub qos: QoS,
    /// RETAIN to deliver it with.
    pub retain: bool,
    /// Subscription Identifiers to send along.
    pub ids: Option<Box<[u32]>>,
    /// The shared subscription that it comes through, in full.
    pub share: Option<Box<str>>,
}

/// What a core wants kept, in its order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The requests.
    pub ops: Vec<PersistOp>,
    /// Recipients of their messages.
    pub to: Vec<Recipient>,
    /// The number of the last of them: [`super::Engine::durable`] is told it once all are.
    pub until: u64,
    /// When it was made.
    pub now: Now,
}

/// A session as the store keeps it, without what it is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Under which all that belongs to it is kept. Never given twice.
    pub id: SessionId,
    /// The client's.
    pub client_id: Box<str>,
    /// How long it outlives its connection; `None` for ever. Never zero.
    pub expiry: Option<Span>,
    /// When its connection ended; `None` while it has one.
    pub away: Option<Now>,
    /// Its will, while that may have to be published, and when it has to, if that is known.
    pub will: Option<(Box<Will>, Option<Now>)>,
    /// Numbers below this one were given to messages.
    pub next_seq: u64,
    /// Messages with numbers from here on were not sent yet, if that is known.
    pub unsent_from: Option<u64>,
}

/// What the store knew at the start, one thing at a time.
#[derive(Clone, Debug)]
pub enum Restored {
    /// A session with everything but its messages.
    Session(Box<RestoredSession>),
    /// A retained message.
    Retained(Message),
}

/// A session that outlived the broker.
#[derive(Clone, Debug)]
pub struct RestoredSession {
    /// Its terms, with the next number to give to a message.
    pub stored: StoredSession,
    /// When the broker was last known to run: a session with a connection lost it then.
    pub alive: Now,
    /// By filter, in full.
    pub subscriptions: Vec<(Box<str>, Subscription)>,
    /// Packet ids of QoS 2 messages that it published and has not released.
    pub inbound: Vec<PacketId>,
    /// Numbers of messages that it has received and not completed, ascending.
    pub received: Vec<u64>,
    /// What else it is owed.
    pub backlog: Backlog,
}

/// A core wants to have messages of one session's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Whose: returned with the answer.
    pub key: SessionKey,
    /// The same for the store.
    pub session: SessionId,
    /// The lowest number.
    pub from: u64,
    /// How many at most; at least 1.
    pub messages_max: u32,
    /// After so many bytes no further one.
    pub bytes_max: u64,
}

/// What a session is owed, in the order of its numbers.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whose.
    pub key: SessionKey,
    /// The same for the store.
    pub session: SessionId,
    /// The messages, without those that were received. Empty only when there are no more.
    pub messages: Vec<(Recipient, Arc<Message>)>,
}

/// Messages of a session that have expired while they lay in the store.
#[derive(Clone, Debug)]
pub struct Expired {
    /// Whose.
    pub client_id: Box<str>,
    /// The same for the store.
    pub session: SessionId,
    /// In the order of their numbers.
    pub places: Vec<Place>,
    /// What the session's core has asked for up to this request is taken into account.
    pub until: u64,
}

/// Whether the store takes more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreState {
    /// There is none: sessions and retained messages end with the broker.
    #[default]
    Off,
    /// It does.
    Ready,
    /// The disk is full or broken: what was handed over waits, and nothing more is accepted until it is well again.
    Refusing,
}
