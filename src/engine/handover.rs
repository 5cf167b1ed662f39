//! What a session was owed through groups that it is in no more goes to other members, also where it lies in the store
//! alone: it is fetched back a batch at a time and handed on, while other work goes on.
//!
//! A session that ends lives on as that alone, until all has moved. It belongs to no client any more: who comes with the
//! same client id gets a session of its own. The store knows it by an expiry of zero, so that it ends again after a crash;
//! each message moves from the one to the other in one step, and is with somebody whenever that comes. A session that goes
//! on keeps what came through other subscriptions, and what is not looked at before a crash is when it is fetched.
//!
//! At the bound: [`RUNNING_MAX`] of them are worked at, others wait in the order of their beginning. Members take what they
//! have room for, and the operator's choice for full queues holds for the rest, except that nothing is held back.

use super::durable::{Asking, Waiter};
use super::publish::Outcome;
use super::{Effects, Engine, Fetch, Fetched, PersistOp, StoreState, StoredSession};
use crate::session::connect::Will;
use crate::session::{Presence, Queued, Session, Stored};
use crate::types::{HashSeed, Map, Now, QoS, SessionId, SessionKey, Span};
use std::collections::VecDeque;
use std::ops::Range;

/// So many are worked at, each with a batch in memory.
const RUNNING_MAX: usize = 4;
/// Messages and bytes that are fetched back at a time.
const BATCH_MESSAGES: u32 = 1_024;
const BATCH_BYTES: u64 = 256 << 10;
/// While the store takes nothing new, one batch moves in this time: what members take then makes room, and the reserve lasts
/// until what has moved is settled.
const TRICKLE: Span = Span::from_secs(1);

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// Messages with lower numbers than this count in the answer.
    Below(u64),
    /// The answer that comes is to a question of earlier.
    Earlier,
}

/// What is left of a session that has ended.
#[derive(Debug)]
struct Ended {
    /// Messages in memory of which it is not certain when the store has them.
    waiting: Vec<Queued>,
    sent: SentBefore,
}

/// Messages that a client may have been sent before the broker started.
#[derive(Clone, Copy, Debug)]
struct SentBefore {
    /// They have lower numbers.
    below: u64,
    /// So many of QoS 2 at most.
    exactly_once: u32,
}

impl SentBefore {
    fn of(session: &Session) -> Self {
        Self { below: session.unsent_from, exactly_once: session.sent_exactly_once }
    }

    /// Whether the client may have this one already, and nobody else may get it. [MQTT-4.8.2-5] To be asked in the order of
    /// sending.
    fn may_have(&mut self, qos: QoS, seq: u64) -> bool {
        let may = qos == QoS::ExactlyOnce && seq < self.below && self.exactly_once > 0;
        self.exactly_once -= u32::from(may);
        may
    }
}

#[derive(Debug)]
struct Handover {
    /// The session, or what it was.
    key: SessionKey,
    ended: Option<Ended>,
    /// Messages with these numbers are looked at, as far as they are in the store alone.
    range: Range<u64>,
    asked: Asked,
    /// How many of those that left it are not durable where they went.
    moving: usize,
    /// It is among those that are worked at one after the other.
    listed: bool,
}

/// All of a core.
#[derive(Debug)]
pub(super) struct Handovers {
    all: Map<SessionId, Handover>,
    order: VecDeque<SessionId>,
    /// When to go on while the store takes nothing new.
    resume_at: Now,
}

impl Handovers {
    pub(super) fn new(seed: HashSeed) -> Self {
        Self { all: seed.map(), order: VecDeque::new(), resume_at: Now(0) }
    }

    /// Whether a session that goes on may not ask the store for messages: it might get some that are leaving it.
    pub(super) fn is_busy(&self, id: SessionId) -> bool {
        !self.order.is_empty()
            && self
                .all
                .get(&id)
                .is_some_and(|handover| handover.moving > 0 || handover.asked != Asked::Nothing)
    }

    /// When to go on, if that is not whenever something happens.
    pub(super) fn deadline(&self, store: StoreState) -> Option<Now> {
        (store == StoreState::Refusing && !self.order.is_empty()).then_some(self.resume_at)
    }

    fn list(&mut self, id: SessionId) {
        if let Some(handover) = self.all.get_mut(&id)
            && !std::mem::replace(&mut handover.listed, true)
        {
            self.order.push_back(id);
        }
    }
}

impl Engine {
    /// A session that goes on has left a group, or its client has gone: hands on what it could not at once. All of it has
    /// numbers below the session's next one.
    pub(super) fn begin_handover(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(id) = session.stored else { return };
        session.strays = true;
        let range = session.queue.backlog().from..session.next_seq;
        let fresh =
            || Handover { key, ended: None, range: 0..0, asked: Asked::Nothing, moving: 0, listed: false };
        let handover = self.handovers.all.entry(id).or_insert_with(fresh);
        handover.range = range;
        if handover.asked != Asked::Nothing {
            handover.asked = Asked::Earlier;
        }
        self.handovers.list(id);
    }

    /// Ends a session that the store has, once nothing of it has to go to others.
    pub(super) fn end_stored(
        &mut self,
        now: Now,
        (key, id): (SessionKey, SessionId),
        mut session: Session,
        fx: &mut impl Effects,
    ) {
        let mark = ending(id, &session);
        let earlier = self.handovers.all.remove(&id);
        let asking = earlier.as_ref().map_or(Asked::Nothing, |handover| handover.asked);
        let asked =
            if session.queue.is_asking() || asking != Asked::Nothing { Asked::Earlier } else { asking };
        let looked_for = (session.shares > 0 || session.strays) && !self.groups.is_empty();
        let range = if looked_for { session.queue.backlog_range() } else { 0..0 };
        let mut ended = Ended { waiting: Vec::new(), sent: SentBefore::of(&session) };
        let mut leaving = session.outbound.take_shared();
        for queued in session.queue.take(|_| true) {
            if ended.sent.may_have(queued.qos, queued.seq) || queued.share.is_none() {
                continue;
            }
            let at_once = self.durable.is_certain(queued.stored);
            if at_once { &mut leaving } else { &mut ended.waiting }.push(queued);
        }
        let moves: Vec<Asking> =
            leaving.iter().map(|queued| self.hand_on(now, Some(id), queued, fx)).collect();
        // What this core asks for by itself is durable before the end is, or with it.
        let joint = moves.into_iter().filter(|moved| matches!(moved, Asking::Jointly(_)));
        let mut moving = earlier.as_ref().map_or(0, |handover| handover.moving);
        moving += joint.filter(|&moved| self.durable.wait_for(moved, Waiter::Moved(id))).count();
        let (will, unkept) = self.last_will(now, (key, id), &mut session, fx);
        moving += unkept;
        let listed = earlier.is_some_and(|handover| handover.listed);
        if range.is_empty() && ended.waiting.is_empty() && moving == 0 {
            self.durable.ask(PersistOp::End(id));
            self.handovers.order.retain(|&other| !listed || other != id);
            return;
        }
        let will = will.filter(|_| unkept > 0).map(|(will, due)| (will, Some(due)));
        self.durable.ask(PersistOp::Session(Box::new(StoredSession { will, ..mark })));
        let looks = !range.is_empty() || !ended.waiting.is_empty();
        let handover = Handover { key, ended: Some(ended), range, asked, moving, listed };
        self.handovers.all.insert(id, handover);
        if looks {
            self.handovers.list(id);
        }
    }

    /// Publishes the will of a session that has ended. Returns the will that the store has to have until what was published is
    /// durable, with when it was due (a later session's is published after it, should both come again), and how much that
    /// waits for.
    fn last_will(
        &mut self,
        now: Now,
        (key, id): (SessionKey, SessionId),
        session: &mut Session,
        fx: &mut impl Effects,
    ) -> (Option<(Box<Will>, Now)>, usize) {
        let (earlier, missing) = session.published.take().unzip();
        let mut missing = missing.unwrap_or(0);
        let Presence::Away { will: Some((due, will)), .. } = &session.presence else {
            return (earlier.map(|will| (will, now)), missing);
        };
        let (due, will) = (now.min(*due), will.clone());
        let Outcome { asking, retained_by, .. } = self.route_will(now, key, &will, fx);
        let waiter = Waiter::Moved(id);
        missing += usize::from(matches!(asking, Asking::Jointly(_)) && self.durable.wait_for(asking, waiter));
        if let Some((keeper, number)) = retained_by {
            missing += usize::from(self.retention.wait(keeper, number, waiter));
        }
        (Some((will, due)), missing)
    }

    /// Something is durable where it went that a session was owed, or that its will became.
    pub(super) fn moved(&mut self, id: SessionId) {
        let Some(handover) = self.handovers.all.get_mut(&id) else { return };
        handover.moving -= 1;
        if handover.moving == 0
            && let Some(session) = self.sessions.get_mut(handover.key)
        {
            session.swept = self.durable.last();
        }
        if handover.moving == 0 && !handover.listed {
            self.handovers.all.remove(&id);
            self.durable.ask(PersistOp::End(id));
        }
    }

    /// At the end of a turn: goes on with some of them.
    pub(super) fn hand_over_more(&mut self, now: Now, fx: &mut impl Effects) {
        let running = match self.handovers.deadline(self.durable.state) {
            None => RUNNING_MAX,
            Some(at) if now < at => return,
            Some(_) => {
                self.handovers.resume_at = now + TRICKLE;
                1
            }
        };
        let mut at = 0;
        while at < running
            && let Some(&id) = self.handovers.order.get(at)
        {
            if self.is_handed_over(now, id, fx) {
                self.handovers.order.remove(at);
                let ended = self.handovers.all.remove(&id).is_some_and(|handover| handover.ended.is_some());
                if ended {
                    self.durable.ask(PersistOp::End(id));
                }
            } else {
                at += 1;
            }
        }
    }

    /// Does the next step, unless one is being done. True when there is none.
    fn is_handed_over(&mut self, now: Now, id: SessionId, fx: &mut impl Effects) -> bool {
        let Some(handover) = self.handovers.all.get_mut(&id) else { return true };
        if handover.moving > 0 || handover.asked != Asked::Nothing || self.stopping {
            return false;
        }
        let (key, until) = (handover.key, handover.range.end);
        let (certain, uncertain) = match &mut handover.ended {
            Some(ended) => {
                let durable = &self.durable;
                let certain = ended.waiting.extract_if(.., |queued| durable.is_certain(queued.stored));
                (certain.collect(), !ended.waiting.is_empty())
            }
            None => self.take_leaving(key, until),
        };
        if !certain.is_empty() {
            self.hand_on_batch(now, id, &certain, fx);
            return false;
        }
        // The client of a session that goes on is served first.
        self.tend_queue(key, fx);
        let Some(handover) = self.handovers.all.get_mut(&id) else { return true };
        if let Some(session) = self.sessions.get(key) {
            let lies = session.queue.backlog_range();
            handover.range.start = handover.range.start.max(lies.start);
            // Nor may the store give back what it is told to forget.
            if session.queue.is_asking() || !self.durable.has(session.swept) {
                return false;
            }
            if handover.range.start >= lies.end.min(until) {
                return !uncertain;
            }
            handover.asked = Asked::Below(lies.end.min(until));
        } else if handover.range.is_empty() {
            return !uncertain;
        } else {
            handover.asked = Asked::Below(until);
        }
        let (from, messages_max, bytes_max) = (handover.range.start, BATCH_MESSAGES, BATCH_BYTES);
        fx.fetch(Fetch { key, session: id, from, messages_max, bytes_max });
        false
    }

    /// Takes out what is to leave a session that goes on, and may; and whether more is to.
    fn take_leaving(&mut self, key: SessionKey, until: u64) -> (Vec<Queued>, bool) {
        let Self { sessions, groups, durable, gauges, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return (Vec::new(), false) };
        let Session { queue, subscriptions, presence, unsent_from, .. } = session;
        let away = matches!(presence, Presence::Away { .. });
        let leaves = |queued: &Queued| {
            let Some(group) = queued.share.filter(|_| queued.seq < until) else { return false };
            let moves = groups
                .get(group)
                .is_none_or(|group| !subscriptions.contains_key(&group.filter) || away && group.is_online());
            moves && !is_doubtful(queued, *unsent_from)
        };
        let certain = queue.take(|queued| leaves(queued) && durable.is_certain(queued.stored));
        gauges.queued_messages -= certain.len() as u64;
        gauges.queued_bytes -= certain.iter().map(Queued::size).sum::<u64>();
        let more = queue.in_memory().any(leaves);
        (certain, more)
    }

    /// Hands messages of a session on, and waits until they are durable where they go.
    pub(super) fn hand_on_batch(&mut self, now: Now, id: SessionId, batch: &[Queued], fx: &mut impl Effects) {
        let (mut moving, mut last) = (0, Asking::Nobody);
        for queued in batch {
            match self.hand_on(now, Some(id), queued, fx) {
                moved @ Asking::Jointly(_) => {
                    moving += usize::from(self.durable.wait_for(moved, Waiter::Moved(id)));
                }
                moved => last = moved,
            }
        }
        moving += usize::from(self.durable.wait_for(last, Waiter::Moved(id)));
        if let Some(handover) = self.handovers.all.get_mut(&id) {
            handover.moving += moving;
        }
    }

    /// Takes what the store gave back, if it is for here; returns it otherwise.
    pub(super) fn handed_back(
        &mut self,
        now: Now,
        fetched: Fetched,
        fx: &mut impl Effects,
    ) -> Option<Fetched> {
        let id = fetched.session;
        let Some(handover) = self.handovers.all.get_mut(&id) else { return Some(fetched) };
        let below = match std::mem::replace(&mut handover.asked, Asked::Nothing) {
            Asked::Nothing => return Some(fetched),
            Asked::Earlier => return None,
            Asked::Below(end) => end,
        };
        let last = fetched.messages.last().map_or(below, |(to, _)| to.seq + 1);
        handover.range.start = last.min(below);
        let Self { sessions, groups, gauges, .. } = self;
        let mut session = sessions.get_mut(handover.key).filter(|session| session.stored == Some(id));
        let mut batch = Vec::new();
        for (to, message) in fetched.messages.into_iter().take_while(|(to, _)| to.seq < below) {
            let stays = match (&mut handover.ended, &session) {
                (Some(ended), _) => ended.sent.may_have(to.qos, to.seq),
                (None, Some(session)) => {
                    to.share.as_ref().is_none_or(|filter| session.subscriptions.contains_key(filter))
                }
                (None, None) => true,
            };
            let Some(filter) = to.share.filter(|_| !stays) else { continue };
            let share = groups.key_of(&filter);
            let (seq, qos, retain, ids, stored) = (to.seq, to.qos, to.retain, to.ids, Stored::Yes);
            let queued = Queued { message, seq, qos, retain, ids, share, stored };
            if let Some(session) = &mut session {
                if is_doubtful(&queued, session.unsent_from) {
                    continue;
                }
                session.queue.take_out(queued.size());
                gauges.queued_messages -= 1;
                gauges.queued_bytes -= queued.size();
            }
            batch.push(queued);
        }
        self.hand_on_batch(now, id, &batch, fx);
        None
    }
}

/// Whether a message that waits may be with its client already, and is to go to nobody else. [MQTT-4.8.2-5]
pub(super) fn is_doubtful(queued: &Queued, unsent_from: u64) -> bool {
    queued.qos == QoS::ExactlyOnce && queued.seq < unsent_from
}

/// A session that is about to end, for the store.
fn ending(id: SessionId, session: &Session) -> StoredSession {
    StoredSession {
        id,
        client_id: session.client_id.clone(),
        expiry: Some(Span(0)),
        away: None,
        will: None,
        next_seq: session.next_seq,
        unsent_from: session.unsent_known(),
    }
}
