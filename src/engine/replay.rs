//! Retained messages for a new subscription: fetched from the cores that keep them, a chunk at a time, as fast as the
//! client takes them. A subscription to everything on a broker full of retained messages costs a chunk of memory.
//! [MQTT 3.3.1.3, 3.8.4]

use super::durable::Asking;
use super::fanout::Outgoing;
use super::publish::Publication;
use super::{Effects, Engine, PeerMessage, RetainedFetch};
use crate::topic::{Retained, Stint, TopicFilter, TopicName};
use crate::types::limits::{REPLAY_CHUNK, REPLAY_LOOKS};
use crate::types::{HashSeed, Map, Message, Now, QoS, SessionKey, Set, ShardId};
use std::collections::VecDeque;
use std::sync::Arc;

/// Topics of one replay that are remembered as overtaken at most. Past it, a retained message that was replaced while the
/// replay runs may reach the client after the one that replaced it.
const OVERTAKEN_MAX: usize = 65_536;

/// What one subscription still has to get.
#[derive(Debug)]
pub(super) struct Replay {
    number: u64,
    /// Goes on once all cores have applied this announcement and the store has this request: begins after the SUBACK.
    announced: u64,
    request: u64,
    filter: Box<str>,
    qos: QoS,
    ids: Option<Box<[u32]>>,
    /// Cores to ask, the current one first.
    keepers: VecDeque<ShardId>,
    /// The last topic that the current one sent.
    after: Option<Box<str>>,
    /// A request is on its way.
    asked: bool,
    /// What it sent and the client has not taken yet.
    chunk: VecDeque<Message>,
    /// Topics that got a newer retained message since: what a chunk holds of them is old.
    overtaken: Set<Box<str>>,
}

/// All replays of a core, by session, in the order of their SUBSCRIBEs.
#[derive(Debug)]
pub(super) struct Replays {
    by_session: Map<SessionKey, VecDeque<Replay>>,
    started: u64,
}

impl Replays {
    pub(super) fn new(seed: HashSeed) -> Self {
        Self { by_session: seed.map(), started: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_session.is_empty()
    }

    /// Whether a session still gets retained messages.
    pub(super) fn waits(&self, key: SessionKey) -> bool {
        !self.by_session.is_empty() && self.by_session.contains_key(&key)
    }

    /// A retained message is being delivered live to all but one session: replays must not bring an older one of its topic
    /// after it.
    pub(super) fn overtaken(&mut self, topic: &str, spared: Option<SessionKey>) {
        let others = self.by_session.iter_mut().filter(|(key, _)| spared != Some(**key));
        for replay in others.flat_map(|(_, replays)| replays) {
            if replay.overtaken.len() < OVERTAKEN_MAX
                && TopicFilter::trusted(&replay.filter).matches(TopicName::trusted(topic))
            {
                replay.overtaken.insert(topic.into());
            }
        }
    }

    /// Forgets what a session that ends still had to get.
    pub(super) fn forget(&mut self, key: SessionKey) {
        self.by_session.remove(&key);
    }

    /// Forgets what a subscription still had to get that is no more: nothing may be added after UNSUBACK.
    /// [MQTT-3.10.4-2]
    pub(super) fn cancel(&mut self, key: SessionKey, filter: TopicFilter<'_>) {
        if let Some(replays) = self.by_session.get_mut(&key) {
            replays.retain(|replay| *replay.filter != *filter.as_str());
            if replays.is_empty() {
                self.by_session.remove(&key);
            }
        }
    }

    fn take(&mut self, key: SessionKey) -> Option<Replay> {
        let replays = self.by_session.get_mut(&key)?;
        let first = replays.pop_front();
        if replays.is_empty() {
            self.by_session.remove(&key);
        }
        first
    }

    fn put_back(&mut self, key: SessionKey, replay: Replay) {
        self.by_session.entry(key).or_default().push_front(replay);
    }
}

impl Engine {
    /// Begins to send the retained messages that match a new subscription.
    pub(super) fn begin_replay(&mut self, key: SessionKey, filter: TopicFilter<'_>, qos: QoS, id: u32) {
        let keepers = if filter.has_wildcard() {
            (0..self.setup.shards).map(ShardId).collect()
        } else {
            [self.retention.keeper(filter.as_str())].into()
        };
        // A SUBACK that does not wait for the store calls the replay itself, at once and never again.
        let lasts = self.sessions.get(key).is_some_and(|session| session.stored.is_some());
        self.replays.started += 1;
        let replay = Replay {
            number: self.replays.started,
            announced: self.interest.announced(),
            request: if lasts { self.durable.last() } else { 0 },
            filter: filter.as_str().into(),
            qos,
            ids: (id != 0).then(|| [id].into()),
            keepers,
            after: None,
            asked: false,
            chunk: VecDeque::new(),
            overtaken: self.setup.seed.set(),
        };
        self.replays.by_session.entry(key).or_default().push_back(replay);
    }

    /// Sends retained messages as far as the client takes them, and asks for more.
    pub(super) fn replay(&mut self, now: Now, key: SessionKey, fx: &mut impl Effects) {
        while let Some(mut replay) = self.replays.take(key) {
            let ready = self.interest.settled(replay.announced) && self.durable.has(replay.request);
            if !ready || !self.replay_one(now, key, &mut replay, fx) {
                return self.replays.put_back(key, replay);
            }
        }
    }

    /// True when the replay is over.
    fn replay_one(&mut self, now: Now, key: SessionKey, replay: &mut Replay, fx: &mut impl Effects) -> bool {
        loop {
            if !self.send_chunk(now, key, replay, fx) {
                return false;
            }
            let Some(&keeper) = replay.keepers.front() else { return true };
            if replay.asked {
                return false;
            }
            if keeper == self.setup.shard {
                let (index, chunk) = (&self.retention.index, &mut replay.chunk);
                let resume = chunk_of(index, &replay.filter, replay.after.as_deref(), |m| chunk.push_back(m));
                let barren = chunk.is_empty() && resume.is_some();
                replay.received(resume);
                if barren {
                    self.later.push_back(key);
                    return false;
                }
            } else {
                replay.asked = true;
                let (filter, after) = (replay.filter.clone(), replay.after.clone());
                let fetch = RetainedFetch { session: key, replay: replay.number, filter, after };
                fx.peer(keeper, PeerMessage::RetainedFetch(fetch));
            }
        }
    }

    /// True when the whole chunk went out.
    fn send_chunk(&mut self, now: Now, key: SessionKey, replay: &mut Replay, fx: &mut impl Effects) -> bool {
        if self.sessions.get(key).is_some_and(|session| session.stored.is_some()) {
            return self.queue_chunk(now, key, replay, fx);
        }
        while let Some(message) = replay.chunk.front() {
            if !replay.overtaken.contains(message.topic()) {
                let qos = message.delivery.qos.min(replay.qos);
                let ids = replay.ids.clone();
                if !self.send_retained(now, key, message, (qos, ids), fx) {
                    return false;
                }
            }
            replay.chunk.pop_front();
        }
        true
    }

    /// The same for a session that outlives the broker: the store keeps what it is owed, and the queue holds that back as long
    /// as it has to.
    fn queue_chunk(&mut self, now: Now, key: SessionKey, replay: &mut Replay, fx: &mut impl Effects) -> bool {
        while let Some(message) = replay.chunk.pop_front() {
            if replay.overtaken.contains(message.topic()) {
                continue;
            }
            let message = Arc::new(message);
            let qos = message.delivery.qos.min(replay.qos);
            let asking = if qos == QoS::AtMostOnce { Asking::Nobody } else { Asking::Here };
            let (mut delivering, sharing) = self.delivering(now, asking);
            let Some(session) = sharing.sessions.get_mut(key) else { return false };
            let ids = replay.ids.as_deref().unwrap_or(&[]);
            let outgoing = Outgoing { qos, retain: true, ids, share: None };
            delivering.queue(session, key, &Publication::of(&message), outgoing, fx);
        }
        self.drain(now, key, fx)
    }

    /// Answers another core's request for retained messages.
    pub(super) fn retained_fetch(&self, from: ShardId, fetch: RetainedFetch, fx: &mut impl Effects) {
        let RetainedFetch { session, replay, filter, after } = fetch;
        let mut messages = Vec::new();
        let resume = chunk_of(&self.retention.index, &filter, after.as_deref(), |m| messages.push(m));
        fx.peer(from, PeerMessage::RetainedChunk { session, replay, messages, resume });
    }

    /// Takes another core's answer.
    pub(super) fn retained_chunk(
        &mut self,
        now: Now,
        key: SessionKey,
        number: u64,
        messages: Vec<Message>,
        resume: Option<Box<str>>,
        fx: &mut impl Effects,
    ) {
        let waiting = self.replays.by_session.get_mut(&key).and_then(VecDeque::front_mut);
        // Otherwise the session ended meanwhile.
        if let Some(replay) = waiting.filter(|replay| replay.number == number && replay.asked) {
            replay.asked = false;
            if !messages.is_empty() {
                // What was retained a moment ago is on its way live as well, and behind older messages of its publisher:
                // by then it has come, and is not sent a second time before them.
                replay.announced = self.interest.catch_up(key, &replay.filter, fx);
            }
            replay.chunk.extend(messages);
            replay.received(resume);
            self.pump(now, key, fx);
        }
    }
}

impl Replay {
    /// A chunk came from the current keeper: where to go on.
    fn received(&mut self, resume: Option<Box<str>>) {
        if resume.is_none() {
            self.keepers.pop_front();
        }
        self.after = resume;
    }
}

/// The next messages that match, and the topic to go on after; a bounded piece of work.
fn chunk_of(
    index: &Retained,
    filter: &str,
    after: Option<&str>,
    mut take: impl FnMut(Message),
) -> Option<Box<str>> {
    let stint = Stint { visits_max: REPLAY_CHUNK, looks_max: REPLAY_LOOKS };
    let mut visit = |_: &str, message: &Message| take(message.clone());
    index.walk_some(TopicFilter::trusted(filter), after, stint, &mut visit).map(Into::into)
}
