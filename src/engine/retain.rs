//! Retained messages: each topic is kept by the one core that it hashes to. [MQTT 3.3.1.3]

use super::durable::{Durable, Waiter};
use super::{Effects, Engine, PeerMessage, PersistOp, Setup};
use crate::topic::{self, TopicName};
use crate::types::{ConnKey, HashSeed, Message, ShardId};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

/// What became of a message that was to be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retained {
    /// It is, and durable once the store has this request.
    Yes(u64),
    /// There is no room.
    No,
    /// This core is to do it: it will have stored so many of ours then.
    By(ShardId, u64),
}

/// What a core keeps, and what it had others keep.
#[derive(Debug)]
pub(super) struct Retention {
    seed: HashSeed,
    /// Topics that hash to this core.
    pub(super) index: topic::Retained,
    /// By core: messages sent to it to be retained.
    sent: Box<[u64]>,
    /// By core: how many of them it has stored.
    stored: Box<[u64]>,
    /// By core: how many of them are durable.
    durable: Box<[u64]>,
    /// By core: what waits until so many are.
    waiting: Box<[VecDeque<(u64, Waiter)>]>,
    /// By core: what we stored for it.
    theirs: Box<[Theirs]>,
}

/// Messages that this core keeps for another one.
#[derive(Debug, Default)]
struct Theirs {
    stored: u64,
    durable: u64,
    /// What was said of both.
    said: (u64, u64),
    /// Messages that are not durable, and the requests that they wait for.
    waiting: VecDeque<(u64, u64)>,
}

impl Retention {
    pub(super) fn new(setup: &Setup) -> Self {
        let shards = usize::from(setup.shards);
        Self {
            seed: setup.seed,
            index: topic::Retained::new(),
            sent: vec![0; shards].into(),
            stored: vec![0; shards].into(),
            durable: vec![0; shards].into(),
            waiting: std::iter::repeat_with(VecDeque::new).take(shards).collect(),
            theirs: std::iter::repeat_with(Theirs::default).take(shards).collect(),
        }
    }

    /// The core that keeps a topic's retained message.
    pub(super) fn keeper(&self, topic: &str) -> ShardId {
        keeper(self.seed, self.sent.len() as u64, topic)
    }

    pub(super) fn sent(&self) -> &[u64] {
        &self.sent
    }

    pub(super) fn all_stored(&self, until: &[u64]) -> bool {
        self.stored.iter().zip(until).all(|(stored, until)| stored >= until)
    }

    /// Lets something wait until `number` messages that `keeper` got are durable; false when they are.
    pub(super) fn wait(&mut self, keeper: ShardId, number: u64, waiter: Waiter) -> bool {
        let waits = number > self.durable[keeper.index()];
        if waits {
            let waiting = &mut self.waiting[keeper.index()];
            let at = waiting.partition_point(|(known, _)| *known <= number);
            waiting.insert(at, (number, waiter));
        }
        waits
    }

    pub(super) fn stored(&mut self, keeper: ShardId, number: u64, durable: u64) {
        self.stored[keeper.index()] = number;
        self.durable[keeper.index()] = durable;
    }

    /// Acknowledgements that wait for `keeper` to store its message of this number: more than one of QoS 2, where the client
    /// has sent it again.
    pub(super) fn waiting_for(&self, keeper: ShardId, number: u64) -> Vec<(ConnKey, u64)> {
        let waiting = &self.waiting[keeper.index()];
        let first = waiting.partition_point(|(known, _)| *known < number);
        let same = waiting.iter().skip(first).take_while(|(known, _)| *known == number);
        let acks = same.filter_map(|(_, waiter)| match waiter {
            &Waiter::Ack(conn, ack) => Some((conn, ack)),
            _ => None,
        });
        acks.collect()
    }

    /// The next thing that `keeper` held up and does not any more.
    pub(super) fn next_ready(&mut self, keeper: ShardId) -> Option<Waiter> {
        let durable = self.durable[keeper.index()];
        let waiting = &mut self.waiting[keeper.index()];
        waiting.pop_front_if(|(number, _)| *number <= durable).map(|(_, waiter)| waiter)
    }

    /// We have handled a message that another core has to retain here, and asked the store for it; which of its messages
    /// that was.
    pub(super) fn stored_for(&mut self, from: ShardId, request: u64) -> u64 {
        let theirs = &mut self.theirs[from.index()];
        theirs.stored += 1;
        theirs.waiting.push_back((theirs.stored, request));
        theirs.stored
    }

    /// At the end of a turn: tells each core how many of its messages are stored, and durable.
    pub(super) fn acknowledge(&mut self, store: &Durable, fx: &mut impl Effects) {
        for (peer, theirs) in (0..).zip(&mut self.theirs) {
            while let Some((number, _)) = theirs.waiting.pop_front_if(|(_, request)| store.has(*request)) {
                theirs.durable = number;
            }
            let state = (theirs.stored, theirs.durable);
            if theirs.said != state {
                theirs.said = state;
                let (number, durable) = state;
                fx.peer(ShardId(peer), PeerMessage::RetainedAck { number, durable });
            }
        }
    }
}

/// The core that keeps a topic's retained message.
pub(super) fn keeper(seed: HashSeed, shards: u64, topic: &str) -> ShardId {
    let hash = seed.state().hash_one(topic) % shards;
    ShardId(u16::try_from(hash).expect("fewer shards than 65,536"))
}

impl Engine {
    /// Retains a message, or has the core do it that keeps its topic.
    pub(super) fn retain(&mut self, message: &Arc<Message>, fx: &mut impl Effects) -> Retained {
        let keeper = self.retention.keeper(message.topic());
        if keeper == self.setup.shard {
            return self.keep_retained(message).map_or(Retained::No, Retained::Yes);
        }
        let sent = &mut self.retention.sent[keeper.index()];
        *sent += 1;
        fx.peer(keeper, PeerMessage::RetainedSet(Message::clone(message)));
        Retained::By(keeper, *sent)
    }

    /// Keeps a message that this core is the keeper of. An empty payload forgets the topic's. [MQTT-3.3.1-6]
    ///
    /// Returns the request to the store, or 0 where there is none. At the bounds a topic that has none yet is not retained,
    /// and counted: `None`.
    pub(super) fn keep_retained(&mut self, message: &Arc<Message>) -> Option<u64> {
        let topic = TopicName::trusted(message.topic());
        let index = &mut self.retention.index;
        if message.payload().is_empty() {
            let known = index.remove(topic).is_some();
            return Some(if known { self.store_retained(message) } else { 0 });
        }
        let limits = &self.setup.limits;
        let full = index.len() >= limits.retained_messages_max as usize
            || index.bytes() + message.size() as u64 > limits.retained_bytes_max;
        if full && index.exact(topic).is_none() {
            self.counters.dropped.retained_full += 1;
            return None;
        }
        index.set(topic, Message::clone(message));
        Some(self.store_retained(message))
    }

    fn store_retained(&mut self, message: &Arc<Message>) -> u64 {
        // What the broker says of itself is not worth keeping.
        let own = TopicName::trusted(message.topic()).first_level() == super::publish::RESERVED;
        if self.durable.is_on() && !own {
            self.durable.ask(PersistOp::Retain(Arc::clone(message)))
        } else {
            0
        }
    }
}
