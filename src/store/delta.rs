//! What the journal holds beyond the settled state, by its net effect: a message that came and went leaves nothing here.

use crate::engine::{Batch, PersistOp, Place, Recipient, StoredSession};
use crate::session::{ENTRY_BYTES, Subscription};
use crate::types::{HashSeed, Map, Message, Now, PacketId, SessionId, Set};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A message and how many sessions are owed it.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) message: Arc<Message>,
    left: AtomicU32,
}

impl Body {
    /// How many sessions are owed it.
    pub(super) fn left(&self) -> u32 {
        // One thread counts; another reads once that is done.
        self.left.load(Ordering::Relaxed)
    }

    fn drop_one(&self) {
        self.left.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A message's place in a session.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) recipient: Recipient,
    /// `None` once the session is owed nothing, or PUBCOMP alone.
    pub(super) body: Option<Arc<Body>>,
    pub(super) received: bool,
}

/// What has changed of one session.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Its terms, if they have.
    pub(super) session: Option<Box<StoredSession>>,
    /// It is no more.
    pub(super) ended: bool,
    /// Subscriptions that are new, or none any more.
    pub(super) subscriptions: BTreeMap<Box<str>, Option<Subscription>>,
    /// Messages that are new, in the order of their numbers.
    pub(super) slots: VecDeque<Slot>,
    /// Older messages that it is not owed any more.
    pub(super) done: BTreeSet<u64>,
    /// Older messages that it has received.
    pub(super) received: BTreeSet<u64>,
    /// Packet ids that it has begun to use, or does not use any more.
    pub(super) inbound: BTreeMap<PacketId, bool>,
    /// Numbers below this one are used.
    pub(super) next_seq: u64,
    /// How many messages more, or fewer, it is owed than before, and their bytes.
    pub(super) messages: i64,
    pub(super) bytes: i64,
}

impl Changes {
    fn find(&self, seq: u64) -> Result<usize, usize> {
        // Nearly always the numbers have no gaps.
        let dense =
            self.slots.front().and_then(|first| usize::try_from(seq.checked_sub(first.recipient.seq)?).ok());
        match dense.and_then(|at| Some((at, self.slots.get(at)?))) {
            Some((at, slot)) if slot.recipient.seq == seq => Ok(at),
            _ => self.slots.binary_search_by_key(&seq, |slot| slot.recipient.seq),
        }
    }

    fn put(&mut self, recipient: Recipient, body: Arc<Body>) {
        self.next_seq = self.next_seq.max(recipient.seq + 1);
        let size = size_of_entry(&body.message);
        let slot = Slot { recipient, body: Some(body), received: false };
        match self.slots.back() {
            Some(last) if last.recipient.seq >= slot.recipient.seq => {
                // Messages of other cores may come late.
                let Err(at) = self.find(slot.recipient.seq) else { return };
                self.slots.insert(at, slot);
            }
            _ => self.slots.push_back(slot),
        }
        self.messages += 1;
        self.bytes += size;
    }

    /// Returns how much memory more, or less, is used.
    fn done(&mut self, place: Place) -> i64 {
        self.count_out(place.size);
        let Ok(at) = self.find(place.seq) else {
            self.done.insert(place.seq);
            self.received.remove(&place.seq);
            return NUMBER_BYTES;
        };
        let slot = &mut self.slots[at];
        slot.received = false;
        let freed = slot.body.take().map_or(0, |body| let_go(&body));
        while self.slots.front().is_some_and(|slot| slot.body.is_none() && !slot.received) {
            self.slots.pop_front();
        }
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
        }
        freed
    }

    fn received(&mut self, place: Place) -> i64 {
        self.count_out(place.size);
        let Ok(at) = self.find(place.seq) else {
            self.received.insert(place.seq);
            return NUMBER_BYTES;
        };
        let slot = &mut self.slots[at];
        slot.received = true;
        slot.body.take().map_or(0, |body| let_go(&body))
    }

    /// A message of PUBCOMP alone was counted out before, and has no size.
    fn count_out(&mut self, size: u32) {
        if size > 0 {
            self.messages -= 1;
            self.bytes -= i64::from(size);
        }
    }
}

/// What a message counts towards a session's bound.
fn size_of_entry(message: &Message) -> i64 {
    i64::try_from(message.size() as u64 + ENTRY_BYTES).unwrap_or(i64::MAX)
}

/// About what a number takes in a set.
const NUMBER_BYTES: i64 = 16;

/// The memory that goes with a place, and with the last one who needs the message.
fn let_go(body: &Body) -> i64 {
    body.drop_one();
    let content = if body.left() == 0 { size_of_entry(&body.message) } else { 0 };
    -content - ENTRY
}

/// What a place weighs.
const ENTRY: i64 = ENTRY_BYTES.cast_signed();

/// The net effect of some groups.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) sessions: Map<SessionId, Changes>,
    /// By topic: the retained message, or that there is none any more.
    pub(super) retained: Map<Box<str>, Option<Arc<Message>>>,
    /// About how much memory it takes, without the sessions' own entries.
    bytes: i64,
    /// When the last group was made.
    pub(super) now: Now,
    /// Sessions with lower numbers have been seen.
    pub(super) next_session: u64,
}

impl Delta {
    pub(super) fn new(seed: HashSeed) -> Self {
        Self { sessions: seed.map(), retained: seed.map(), bytes: 0, now: Now(0), next_session: 0 }
    }

    /// About how much memory it takes: of messages, their content once.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(0) + ENTRY_BYTES * self.sessions.len() as u64
    }

    /// Whether nothing has changed.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.retained.is_empty()
    }

    /// Takes in what a core asks for. `known` are the sessions that there are; what is asked for others is not needed.
    pub(super) fn apply(&mut self, batch: Batch, known: &mut Set<SessionId>) {
        self.now = self.now.max(batch.now);
        let Batch { ops, mut to, .. } = batch;
        for op in ops {
            self.apply_one(op, &mut to, known);
        }
    }

    fn apply_one(&mut self, op: PersistOp, all: &mut [Recipient], known: &mut Set<SessionId>) {
        match op {
            PersistOp::Nothing => {}
            PersistOp::Session(session) => {
                known.insert(session.id);
                self.next_session = self.next_session.max(session.id.0 + 1);
                let changes = self.sessions.entry(session.id).or_default();
                if changes.session.is_none() {
                    self.bytes += 2 * ENTRY;
                }
                changes.next_seq = changes.next_seq.max(session.next_seq);
                changes.session = Some(session);
            }
            PersistOp::End(session) => {
                if known.remove(&session) {
                    let changes = self.sessions.entry(session).or_default();
                    let bodies = changes.slots.drain(..).filter_map(|slot| slot.body);
                    self.bytes += bodies.map(|body| let_go(&body)).sum::<i64>();
                    *changes = Changes { ended: true, ..Changes::default() };
                }
            }
            PersistOp::Subscribe { session, filter, subscription } => {
                if let Some(changes) = self.changes(session, known) {
                    changes.subscriptions.insert(filter, Some(subscription));
                    self.bytes += ENTRY;
                }
            }
            PersistOp::Unsubscribe { session, filter } => {
                if let Some(changes) = self.changes(session, known) {
                    changes.subscriptions.insert(filter, None);
                    self.bytes += ENTRY;
                }
            }
            PersistOp::Message { message, to, inbound, instead_of, .. } => {
                if let Some(place) = instead_of {
                    self.done(place, known);
                }
                if let Some((session, id)) = inbound {
                    self.inbound(session, id, true, known);
                }
                self.message(message, &mut all[to.start as usize..to.end as usize], known);
            }
            PersistOp::Done(place) => self.done(place, known),
            PersistOp::Received(place) => {
                self.bytes += self.changes(place.session, known).map_or(0, |changes| changes.received(place));
            }
            PersistOp::Inbound { session, id } => self.inbound(session, id, true, known),
            PersistOp::Released { session, id } => self.inbound(session, id, false, known),
            PersistOp::Retain(message) => self.retain(message),
        }
    }

    /// What has changed of a session that there is.
    fn changes(&mut self, session: SessionId, known: &Set<SessionId>) -> Option<&mut Changes> {
        known.contains(&session).then(|| self.sessions.entry(session).or_default())
    }

    fn message(&mut self, message: Arc<Message>, to: &mut [Recipient], known: &Set<SessionId>) {
        let needs = |recipient: &Recipient| recipient.session.is_some_and(|session| known.contains(&session));
        let left = to.iter().filter(|recipient| needs(recipient)).count();
        if left == 0 {
            return;
        }
        self.bytes += size_of_entry(&message);
        let body = Arc::new(Body { message, left: AtomicU32::new(u32::try_from(left).unwrap_or(u32::MAX)) });
        for recipient in to.iter_mut().filter(|recipient| needs(recipient)) {
            let Some(session) = recipient.session else { continue };
            let taken = Recipient { ids: recipient.ids.take(), share: recipient.share.take(), ..*recipient };
            self.bytes += ENTRY;
            self.sessions.entry(session).or_default().put(taken, Arc::clone(&body));
        }
    }

    fn done(&mut self, place: Place, known: &Set<SessionId>) {
        self.bytes += self.changes(place.session, known).map_or(0, |changes| changes.done(place));
    }

    fn inbound(&mut self, session: SessionId, id: PacketId, used: bool, known: &Set<SessionId>) {
        if let Some(changes) = self.changes(session, known) {
            changes.inbound.insert(id, used);
        }
    }

    fn retain(&mut self, message: Arc<Message>) {
        let topic = message.topic().into();
        self.bytes += size_of_entry(&message);
        let value = (!message.payload().is_empty()).then_some(message);
        if let Some(Some(old)) = self.retained.insert(topic, value) {
            self.bytes -= size_of_entry(&old);
        }
    }

    /// The messages that are here for a session, with at least this number and `needless` ones left out: at most so many, in
    /// order.
    pub(super) fn owed(
        &self,
        session: SessionId,
        from: u64,
        max: usize,
        needless: &BTreeSet<u64>,
        into: &mut Vec<(Recipient, Arc<Message>)>,
    ) {
        let Some(changes) = self.sessions.get(&session) else { return };
        let begin = changes.slots.partition_point(|slot| slot.recipient.seq < from);
        let owed = changes.slots.range(begin..).filter_map(|slot| {
            let body = slot.body.as_ref()?;
            let needed = !needless.contains(&slot.recipient.seq);
            needed.then(|| (slot.recipient.clone(), Arc::clone(&body.message)))
        });
        into.extend(owed.take(max));
    }
}
