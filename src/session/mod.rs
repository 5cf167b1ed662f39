//! One client: what it asked for, what it owes, what it is owed.
//!
//! Plain state with the standard's rules; the engine decides when to use it and owns all sessions of a core.
//! Invariant: nothing here sends, reads a clock, or knows another session.

mod alias;
pub mod connect;
mod inbound;
mod outbound;
mod queue;
mod timers;
mod violation;

pub use alias::{AliasesIn, AliasesOut, Naming};
pub use inbound::{AckKind, Acks, Owed, Promise, Unreleased};
pub use outbound::{Awaiting, Outbound, Resend, Settled};
pub use queue::{Backlog, ENTRY_BYTES, Pushed, Queue, Queued, Stored};
pub use timers::Due;
pub use violation::Violation;

use crate::codec::{ReasonCode, SubscriptionOptions, Version};
use crate::sasl::Exchange;
use crate::types::{ConnKey, HashSeed, Map, Now, QoS, SessionId, Span};
use connect::{Terms, Will};

/// What exists only while a client is connected.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub conn: ConnKey,
    /// The protocol version it speaks.
    pub version: Version,
    /// The output refused a message: nothing more is offered until it has drained.
    pub blocked: bool,
    /// Nothing is read of it, and so nothing heard.
    pub held: bool,
    /// When the last packet came.
    pub heard: Now,
    /// The longest silence allowed. [MQTT-3.1.2-22]
    pub silence: Option<Span>,
    /// The largest packet that the client takes. [MQTT-3.1.2-24]
    pub packet_bytes_max: u32,
    /// The largest frame that it gets as all others of its kind do; 0 where its topics may be named by aliases.
    pub plain_bytes_max: u32,
    /// What the client's topic aliases stand for, once it used one.
    pub aliases_in: Option<Box<AliasesIn>>,
    /// The topic aliases that are used towards a client which takes some.
    pub aliases_out: Option<Box<AliasesOut>>,
    /// Whether the client wants to be told why something failed. [MQTT-3.1.2-29]
    pub problem_information: bool,
    /// Who the client is, if it proved that by enhanced authentication. [MQTT 4.12]
    pub proved: Option<Box<Proved>>,
    /// Published when the client vanishes. [MQTT-3.1.2-8]
    pub will: Option<Box<Will>>,
    /// Acknowledgements that have to wait.
    pub acks: Acks<ReasonCode>,
}

/// Who a client is, as it proved.
#[derive(Debug)]
pub struct Proved {
    /// The user's name.
    pub user: Box<str>,
    /// While the client proves it anew.
    pub exchange: Option<Exchange>,
}

impl Link {
    /// Whether the client is told why something failed.
    pub fn wants_reasons(&self) -> bool {
        self.version.is_v5() && self.problem_information
    }

    /// How to name a topic in the next message.
    pub fn name(&self, topic: &str) -> Naming {
        self.aliases_out.as_ref().map_or(Naming::Topic, |aliases| aliases.name(topic))
    }

    /// A message whose topic was named so is on its way.
    pub fn named(&mut self, topic: &str, naming: Naming) {
        if let Some(aliases) = &mut self.aliases_out {
            aliases.sent(topic, naming);
        }
    }
}

/// Whether a client is connected, and what goes with it.
#[derive(Debug)]
pub enum Presence {
    /// It is.
    Here(Link),
    /// It is not.
    Away {
        /// Since when.
        since: Now,
        /// Its will, while the Will Delay Interval runs, and when that is over. [MQTT-3.1.3-9]
        will: Option<(Now, Box<Will>)>,
    },
}

/// A subscription as its session keeps it; the trie holds the copy that is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// QoS, No Local, Retain As Published, Retain Handling.
    pub options: SubscriptionOptions,
    /// Subscription Identifier; 0 for none.
    pub id: u32,
}

/// The state of a session. [MQTT 4.1]
#[derive(Debug)]
pub struct Session {
    /// Under which it is kept. [MQTT-3.1.3-2]
    pub client_id: Box<str>,
    /// Under which the store has it, if it outlives the broker.
    pub stored: Option<SessionId>,
    /// The request by which it gets to know of it; 0 where it knows of it from an earlier run.
    pub known_by: u64,
    /// The number of its next message of QoS 1 or 2.
    pub next_seq: u64,
    /// Connected or not.
    pub presence: Presence,
    /// How long it outlives its connection; `None` for ever.
    pub expiry: Option<Span>,
    /// By filter, in full with its `$share` prefix.
    pub subscriptions: Map<Box<str>, Subscription>,
    /// How many of them are shared.
    pub shares: u32,
    /// Sent and not acknowledged.
    pub outbound: Outbound,
    /// Not sent yet.
    pub queue: Queue,
    /// QoS 2 messages taken and not released.
    pub unreleased: Unreleased,
    /// Messages that this client did not get because of a bound.
    pub dropped: u64,
    /// The request by which messages that lie in the store were let go of last, since they expired or moved to others.
    pub swept: u64,
    /// Its will, which was published and which the store has to have until it has what was published; and how much that waits
    /// for.
    pub published: Option<(Box<Will>, usize)>,
    /// Something of it waits for the store.
    pub parked: bool,
    /// What waits with lower numbers than this may have been sent before the broker started.
    pub unsent_from: u64,
    /// So many of them at most, as far as they are of QoS 2 and not known to be received.
    pub sent_exactly_once: u32,
    /// It may be owed messages through groups that it is not in.
    pub strays: bool,
    /// When its timer fires, if one is armed.
    pub timer: Option<Now>,
}

impl Session {
    /// A session that nobody is connected to yet.
    pub fn new(client_id: &str, now: Now, seed: HashSeed) -> Self {
        Self {
            client_id: client_id.into(),
            stored: None,
            known_by: 0,
            next_seq: 0,
            presence: Presence::Away { since: now, will: None },
            expiry: Some(Span(0)),
            subscriptions: seed.map(),
            shares: 0,
            outbound: Outbound::default(),
            queue: Queue::default(),
            unreleased: Unreleased::new(seed.map()),
            dropped: 0,
            published: None,
            swept: 0,
            parked: false,
            unsent_from: 0,
            sent_exactly_once: u32::MAX,
            strays: false,
            timer: None,
        }
    }

    /// Begins a connection on the terms that were settled. What is in flight is to be sent again first.
    pub fn open(
        &mut self,
        conn: ConnKey,
        now: Now,
        terms: Terms,
        proved: Option<Box<Proved>>,
        seed: HashSeed,
    ) {
        let aliased = terms.aliases_out > 0;
        self.expiry = terms.expiry;
        self.outbound.resume(terms.receive_maximum);
        self.presence = Presence::Here(Link {
            conn,
            version: terms.version,
            blocked: false,
            held: false,
            heard: now,
            silence: terms.silence,
            packet_bytes_max: terms.packet_bytes_max,
            plain_bytes_max: if aliased { 0 } else { terms.packet_bytes_max },
            aliases_in: None,
            aliases_out: aliased.then(|| Box::new(AliasesOut::new(terms.aliases_out, seed))),
            problem_information: terms.problem_information,
            proved,
            will: terms.will,
            acks: Acks::default(),
        });
    }

    /// The connection, while there is one.
    #[inline]
    pub fn link(&self) -> Option<&Link> {
        match &self.presence {
            Presence::Here(link) => Some(link),
            Presence::Away { .. } => None,
        }
    }

    /// The connection, to change it.
    #[inline]
    pub fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.presence {
            Presence::Here(link) => Some(link),
            Presence::Away { .. } => None,
        }
    }

    /// The number for its next message of QoS 1 or 2: one whose packet id is free.
    pub fn number(&mut self) -> u64 {
        while self.outbound.is_taken(self.next_seq) {
            self.next_seq += 1;
        }
        self.next_seq
    }

    /// Its connection is gone: nothing is sent until it has another one.
    pub fn stops_sending(&mut self) {
        let waiting = self.queue.front().map(|first| first.seq);
        let backlog = self.queue.backlog();
        let unsent =
            waiting.or_else(|| (backlog.messages > 0).then_some(backlog.from)).unwrap_or(self.next_seq);
        // Otherwise something waits that may have been sent before the broker started.
        if unsent >= self.unsent_from {
            (self.unsent_from, self.sent_exactly_once) = (unsent, u32::MAX);
        }
    }

    /// The number below which all that was sent lies, while its client is away and more is known than how many they are.
    pub fn unsent_known(&self) -> Option<u64> {
        (self.sent_exactly_once == u32::MAX).then_some(self.unsent_from)
    }

    /// Whether its client may have got a message of QoS 2 from an earlier run of the broker. To be asked of each, in the order
    /// of sending.
    pub fn may_have_been_sent(&mut self, queued: &Queued) -> bool {
        let may =
            queued.qos == QoS::ExactlyOnce && queued.seq < self.unsent_from && self.sent_exactly_once > 0;
        if may && self.sent_exactly_once < u32::MAX {
            self.sent_exactly_once -= 1;
        }
        may
    }

    /// Whether it ends with its connection, so that nothing needs to be kept for later.
    pub fn ephemeral(&self) -> bool {
        self.expiry == Some(Span(0))
    }
}
