//! Retained messages: each topic is kept by the one core that it hashes to. [MQTT 3.3.1.3]

use super::{Effects, Engine, PeerMessage, Setup};
use crate::topic::{self, TopicName};
use crate::types::{ConnKey, HashSeed, Message, ShardId};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

/// What became of a message that was to be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retained {
    /// It is.
    Yes,
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
    /// By core: acknowledgements to clients that wait until it has stored so many.
    waiting: Box<[VecDeque<(u64, ConnKey, u64)>]>,
    /// By core: how many of its messages we stored, and how many we said so of.
    theirs: Box<[(u64, u64)]>,
}

impl Retention {
    pub(super) fn new(setup: &Setup) -> Self {
        let shards = usize::from(setup.shards);
        Self {
            seed: setup.seed,
            index: topic::Retained::new(),
            sent: vec![0; shards].into(),
            stored: vec![0; shards].into(),
            waiting: std::iter::repeat_with(VecDeque::new).take(shards).collect(),
            theirs: vec![(0, 0); shards].into(),
        }
    }

    /// The core that keeps a topic's retained message.
    pub(super) fn keeper(&self, topic: &str) -> ShardId {
        let shards = self.sent.len() as u64;
        let hash = self.seed.state().hash_one(topic) % shards;
        ShardId(u16::try_from(hash).expect("fewer shards than 65,536"))
    }

    pub(super) fn sent(&self) -> &[u64] {
        &self.sent
    }

    pub(super) fn all_stored(&self, until: &[u64]) -> bool {
        self.stored.iter().zip(until).all(|(stored, until)| stored >= until)
    }

    /// Keeps a client's acknowledgement until `keeper` has stored `number` messages.
    pub(super) fn wait(&mut self, keeper: ShardId, number: u64, conn: ConnKey, ack: u64) {
        self.waiting[keeper.index()].push_back((number, conn, ack));
    }

    pub(super) fn stored(&mut self, keeper: ShardId, number: u64) {
        self.stored[keeper.index()] = number;
    }

    /// The acknowledgement that waits for `keeper` to store its message of this number.
    pub(super) fn waiting_for(&self, keeper: ShardId, number: u64) -> Option<(ConnKey, u64)> {
        let waiting = &self.waiting[keeper.index()];
        let at = waiting.binary_search_by_key(&number, |&(number, ..)| number).ok()?;
        waiting.get(at).map(|&(_, conn, ack)| (conn, ack))
    }

    /// The next acknowledgement that `keeper` held up and does not any more.
    pub(super) fn next_ready(&mut self, keeper: ShardId) -> Option<(ConnKey, u64)> {
        let stored = self.stored[keeper.index()];
        let waiting = &mut self.waiting[keeper.index()];
        let &(number, conn, ack) = waiting.front()?;
        if number > stored {
            return None;
        }
        waiting.pop_front();
        Some((conn, ack))
    }

    /// We have handled a message that another core has to retain here; which of its messages that was.
    pub(super) fn stored_for(&mut self, from: ShardId) -> u64 {
        self.theirs[from.index()].0 += 1;
        self.theirs[from.index()].0
    }

    /// At the end of a turn: tells each core how many of its messages are stored.
    pub(super) fn acknowledge(&mut self, fx: &mut impl Effects) {
        for (peer, (stored, said)) in (0..).zip(&mut self.theirs) {
            if stored > said {
                *said = *stored;
                fx.peer(ShardId(peer), PeerMessage::RetainedAck { number: *stored });
            }
        }
    }
}

impl Engine {
    /// Retains a message, or has the core do it that keeps its topic.
    pub(super) fn retain(&mut self, message: &Arc<Message>, fx: &mut impl Effects) -> Retained {
        let keeper = self.retention.keeper(message.topic());
        if keeper == self.setup.shard {
            return if self.keep_retained(message) { Retained::Yes } else { Retained::No };
        }
        let sent = &mut self.retention.sent[keeper.index()];
        *sent += 1;
        fx.peer(keeper, PeerMessage::RetainedSet(Message::clone(message)));
        Retained::By(keeper, *sent)
    }

    /// Keeps a message that this core is the keeper of. An empty payload forgets the topic's. [MQTT-3.3.1-6]
    ///
    /// At the bounds a topic that has none yet is not retained, and counted: false.
    pub(super) fn keep_retained(&mut self, message: &Arc<Message>) -> bool {
        let topic = TopicName::trusted(message.topic());
        let index = &mut self.retention.index;
        if message.payload().is_empty() {
            index.remove(topic);
            return true;
        }
        let limits = &self.setup.limits;
        let full = index.len() >= limits.retained_messages_max as usize
            || index.bytes() + message.size() as u64 > limits.retained_bytes_max;
        if full && index.exact(topic).is_none() {
            self.counters.dropped.retained_full += 1;
            return false;
        }
        index.set(topic, Message::clone(message));
        true
    }
}
