//! What this core wants the store to keep, until it does: requests on their way, what may still be taken back of them, and
//! what waits for them.
//!
//! Requests are numbered. While the store has some, what is asked meanwhile gathers here, so that one write to the disk
//! serves many. A message that all of its recipients were sent may linger a moment longer: most acknowledge at once, and what
//! nobody needs any more is never written.
//!
//! A message for sessions of several cores is one request, of the core where it was published: the others tell it their
//! part ([`super::PeerMessage::Part`]) before it asks, so that it is kept for all of them or for none.

mod joint;

use super::persist::{Batch, PersistOp, Place, Recipient, StoreState};
use super::{Effects, PeerMessage, Setup};
use crate::session::{Queued, Stored};
use crate::types::{ConnKey, Map, Message, Now, PacketId, SessionId, SessionKey, Set, ShardId, Span};
use joint::Joint;
use std::collections::VecDeque;
use std::sync::Arc;

/// What waits for a request to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiter {
    /// One of the acknowledgements that a connection is owed.
    Ack(ConnKey, u64),
    /// PUBREL to a client that sent PUBREC.
    PubRel(ConnKey, PacketId),
    /// Whatever a connection was to be sent.
    Output(ConnKey),
    /// A core that has a part in a message of this one, by its number.
    Peer(ShardId, u64),
    /// The end of a connection whose client said goodbye.
    Close(ConnKey),
    /// A session whose will was published.
    Will(SessionKey, SessionId),
    /// A session, messages of which move to others.
    Moved(SessionId),
}

/// Who asks for a message that is being delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Asking {
    /// Nobody: it is not for the store.
    #[default]
    Nobody,
    /// This core; the request is not made before somebody needs it.
    Here,
    /// This core has, by this request.
    By(u64),
    /// This core, with parts of others.
    Jointly(u64),
    /// Another core, which gets our part.
    Elsewhere(ShardId, u64),
}

impl Asking {
    /// The number under which other cores tell their parts.
    pub(super) fn joint(self) -> Option<u64> {
        match self {
            Self::Jointly(number) => Some(number),
            _ => None,
        }
    }
}

/// How long a request may linger that may not be needed.
const LINGER: Span = Span::from_millis(5);

/// The requests of one turn.
#[derive(Debug, Default)]
struct Segment {
    batch: Batch,
    /// The number of the request before its first.
    before: u64,
    /// How many of them mean something.
    live: usize,
    /// Somebody waits for one that nothing but the disk can fulfil.
    urgent: bool,
    /// When its turn ended.
    since: Now,
}

impl Segment {
    fn last(&self) -> u64 {
        self.before + self.batch.ops.len() as u64
    }
}

/// The requests of one core.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) state: StoreState,
    /// What was not handed over yet.
    segments: VecDeque<Segment>,
    /// The last segment is that of the turn in hand.
    open: bool,
    /// Memory for the next one.
    spare: Batch,
    /// The number of the last request.
    last: u64,
    /// The number of the last request that was handed over, and of the last that is durable.
    handed: u64,
    kept: u64,
    waiting: VecDeque<(u64, Waiter)>,
    joints: Map<u64, Joint>,
    last_joint: u64,
    /// Messages with parts of other cores that are complete, and by which request, until that is durable.
    joined: Map<u64, u64>,
    /// The same in the order of the requests.
    joined_by: VecDeque<(u64, u64)>,
    /// Messages of other cores that have to be durable before clients of this one get them.
    theirs: Set<(ShardId, u64)>,
    /// The message of another core that is being delivered, and whether somebody here waits for it to be durable.
    arriving: Option<(ShardId, u64)>,
    awaited: bool,
    /// Our part in a message of another core.
    part: Vec<Recipient>,
    /// Sessions to look at once something more is durable.
    parked: Vec<SessionKey>,
    next_session: u64,
    shards: u64,
}

impl Durable {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            state: setup.store,
            segments: VecDeque::new(),
            open: false,
            spare: Batch::default(),
            last: 0,
            handed: 0,
            kept: 0,
            waiting: VecDeque::new(),
            joints: setup.seed.map(),
            last_joint: 0,
            joined: setup.seed.map(),
            joined_by: VecDeque::new(),
            theirs: setup.seed.set(),
            arriving: None,
            awaited: false,
            part: Vec::new(),
            parked: Vec::new(),
            next_session: setup.first_session + u64::from(setup.shard.0),
            shards: u64::from(setup.shards),
        }
    }

    /// Whether there is a store.
    pub(super) fn is_on(&self) -> bool {
        self.state != StoreState::Off
    }

    /// A number for a session that is new to the store.
    pub(super) fn new_session(&mut self) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += self.shards;
        id
    }

    /// Asks for something; returns the number of the request.
    pub(super) fn ask(&mut self, op: PersistOp) -> u64 {
        self.segment().urgent = true;
        self.ask_lazily(op)
    }

    /// The same for something that nobody waits for, or that may not be needed soon.
    fn ask_lazily(&mut self, op: PersistOp) -> u64 {
        let segment = self.segment();
        segment.batch.ops.push(op);
        segment.live += 1;
        self.last += 1;
        self.last
    }

    /// The number of the last request.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The segment of this turn.
    fn segment(&mut self) -> &mut Segment {
        if !self.open {
            self.open = true;
            let (batch, before) = (std::mem::take(&mut self.spare), self.last);
            self.segments.push_back(Segment { batch, before, ..Segment::default() });
        }
        self.segments.back_mut().expect("there is one now")
    }

    /// The segment of a request that was not handed over.
    fn segment_of(&mut self, request: u64) -> Option<&mut Segment> {
        let at = self.segments.partition_point(|segment| segment.last() < request);
        self.segments.get_mut(at).filter(|segment| segment.before < request)
    }

    /// Whether all requests up to this one are durable.
    pub(super) fn has(&self, request: u64) -> bool {
        request <= self.kept
    }

    /// Whether the store has a message.
    pub(super) fn is_kept(&self, stored: Stored) -> bool {
        match stored {
            Stored::Never | Stored::Yes => true,
            Stored::By(request) => self.has(request),
            Stored::Jointly(number) => {
                !self.joints.contains_key(&number) && !self.joined.contains_key(&number)
            }
            Stored::Elsewhere(shard, number) => {
                self.arriving != Some((shard, number)) && !self.theirs.contains(&(shard, number))
            }
        }
    }

    /// Whether it is known when the store has a message, if it does not yet: what is asked from now on is then not durable
    /// before that is.
    pub(super) fn is_certain(&self, stored: Stored) -> bool {
        match stored {
            Stored::Never | Stored::Yes | Stored::By(_) => true,
            Stored::Jointly(number) => !self.joints.contains_key(&number),
            Stored::Elsewhere(..) => self.is_kept(stored),
        }
    }

    /// Lets something wait for a request.
    pub(super) fn wait(&mut self, request: u64, waiter: Waiter) {
        // Nearly always it is for the last one.
        if self.waiting.back().is_none_or(|(last, _)| *last <= request) {
            return self.waiting.push_back((request, waiter));
        }
        let at = self.waiting.partition_point(|(known, _)| *known <= request);
        self.waiting.insert(at, (request, waiter));
    }

    /// The next thing that waits no more.
    pub(super) fn next_ready(&mut self) -> Option<Waiter> {
        self.waiting.pop_front_if(|(request, _)| *request <= self.kept).map(|(_, waiter)| waiter)
    }

    /// Connections that wait: for acknowledgements, or for anything.
    pub(super) fn held_up(&self) -> Vec<ConnKey> {
        let waiting = self.waiting.iter().map(|(_, waiter)| waiter);
        let waiting = waiting.chain(self.joints.values().flat_map(|joint| &joint.waiting));
        let mut conns: Vec<_> = waiting
            .filter_map(|waiter| match waiter {
                Waiter::Ack(conn, _) | Waiter::Output(conn) => Some(*conn),
                _ => None,
            })
            .collect();
        conns.sort_unstable();
        conns.dedup();
        conns
    }

    /// Looks at a session again once something more is durable.
    pub(super) fn park(&mut self, key: SessionKey) {
        self.parked.push(key);
    }

    pub(super) fn take_parked(&mut self) -> Vec<SessionKey> {
        std::mem::take(&mut self.parked)
    }

    /// Where the store will be with a message that a session is about to be owed.
    pub(super) fn stored_by(&self, asking: Asking) -> Stored {
        match asking {
            Asking::Nobody => Stored::Never,
            Asking::Here => Stored::By(self.last() + 1),
            Asking::By(request) => Stored::By(request),
            Asking::Jointly(number) => Stored::Jointly(number),
            Asking::Elsewhere(shard, number) => Stored::Elsewhere(shard, number),
        }
    }

    /// A session is owed a message, which may have been `sent` to it.
    pub(super) fn keep_for(
        &mut self,
        asking: &mut Asking,
        message: impl FnOnce() -> Arc<Message>,
        recipient: Recipient,
        sent: bool,
    ) {
        match *asking {
            Asking::Nobody => {}
            Asking::Here => {
                let segment = self.segment();
                segment.urgent |= !sent;
                let at = u32::try_from(segment.batch.to.len()).unwrap_or(u32::MAX);
                segment.batch.to.push(recipient);
                let (to, left) = (at..at + 1, 1);
                let op = PersistOp::Message { message: message(), to, left, inbound: None, instead_of: None };
                *asking = Asking::By(self.ask_lazily(op));
            }
            Asking::By(request) => {
                let segment = self.segment();
                segment.urgent |= !sent;
                segment.batch.to.push(recipient);
                if let Some(PersistOp::Message { to, left, .. }) = self.pending(request) {
                    to.end += 1;
                    *left += 1;
                }
            }
            Asking::Jointly(number) => {
                if let Some(joint) = self.joints.get_mut(&number) {
                    joint.to.push(recipient);
                }
            }
            Asking::Elsewhere(..) => self.part.push(recipient),
        }
    }

    /// A message was given to all of this core who are to get it. Returns what to wait for.
    pub(super) fn asked(
        &mut self,
        asking: Asking,
        message: impl FnOnce() -> Arc<Message>,
        inbound: Option<(SessionId, PacketId)>,
        instead_of: Option<Place>,
        fx: &mut impl Effects,
    ) -> Asking {
        match asking {
            Asking::Nobody | Asking::Here => match (inbound, instead_of) {
                (None, None) => Asking::Nobody,
                (Some((session, id)), None) => Asking::By(self.ask(PersistOp::Inbound { session, id })),
                (None, Some(place)) => Asking::By(self.ask(PersistOp::Done(place))),
                _ => {
                    let message = message();
                    let op = PersistOp::Message { message, to: 0..0, left: 0, inbound, instead_of };
                    Asking::By(self.ask(op))
                }
            },
            Asking::By(request) => {
                if let Some(PersistOp::Message { inbound: id, instead_of: place, .. }) = self.pending(request)
                {
                    (*id, *place) = (inbound, instead_of);
                }
                self.segment().urgent |= inbound.is_some() || instead_of.is_some();
                asking
            }
            Asking::Jointly(number) => {
                if let Some(joint) = self.joints.get_mut(&number) {
                    (joint.inbound, joint.instead_of) = (inbound, instead_of);
                }
                self.part_came(number, Vec::new());
                self.joined.get(&number).map_or(asking, |&request| Asking::By(request))
            }
            Asking::Elsewhere(shard, number) => {
                let to = std::mem::take(&mut self.part);
                let tell = self.awaited;
                if tell {
                    self.theirs.insert((shard, number));
                }
                self.arriving = None;
                fx.peer(shard, PeerMessage::Part { number, to, tell });
                asking
            }
        }
    }

    /// Lets something wait until a message is durable; false when there is nothing to wait for.
    pub(super) fn wait_for(&mut self, asking: Asking, waiter: Waiter) -> bool {
        match asking {
            Asking::By(request) if !self.has(request) => self.wait(request, waiter),
            Asking::Jointly(number) => match self.joints.get_mut(&number) {
                Some(joint) => joint.waiting.push(waiter),
                None => match self.joined.get(&number) {
                    Some(&request) => self.wait(request, waiter),
                    None => return false,
                },
            },
            _ => return false,
        }
        true
    }

    /// A session is not owed a message any more.
    pub(super) fn done(&mut self, session: SessionId, queued: &Queued, fx: &mut impl Effects) {
        let place = Place { session, seq: queued.seq, size: size_of_entry(queued) };
        match queued.stored {
            Stored::Never => {}
            Stored::Yes => self.leave(place),
            Stored::By(request) => self.take_back(request, place),
            Stored::Jointly(number) => self.taken(number, place),
            Stored::Elsewhere(shard, number) => fx.peer(shard, PeerMessage::Taken { number, place }),
        }
    }

    /// A session, of this core or of one that says so, is not owed a message any more that other cores have a part in.
    pub(super) fn taken(&mut self, number: u64, place: Place) {
        match (self.joints.get_mut(&number), self.joined.get(&number)) {
            (Some(joint), _) => {
                joint.to.iter_mut().filter(|to| is_at(to, place)).for_each(|to| to.session = None);
            }
            (None, Some(&request)) => self.take_back(request, place),
            (None, None) => self.leave(place),
        }
    }

    /// A session that the store has it for is not owed a message any more.
    pub(super) fn leave(&mut self, place: Place) {
        self.ask_lazily(PersistOp::Done(place));
    }

    /// Takes a recipient out of a request that was not handed over; otherwise it is done once the store has it.
    fn take_back(&mut self, request: u64, place: Place) {
        let Some(segment) = self.segment_of(request) else { return self.leave(place) };
        let at = usize::try_from(request - segment.before - 1).unwrap_or(usize::MAX);
        let Batch { ops, to: all, .. } = &mut segment.batch;
        let Some(op) = ops.get_mut(at) else { return };
        let PersistOp::Message { to, left, inbound, instead_of, .. } = op else { return };
        let Some(range) = all.get_mut(to.start as usize..to.end as usize) else { return };
        let Some(recipient) = range.iter_mut().find(|recipient| is_at(recipient, place)) else { return };
        recipient.session = None;
        *left -= 1;
        if *left == 0 && inbound.is_none() && instead_of.is_none() {
            *op = PersistOp::Nothing;
            segment.live -= 1;
        }
    }

    fn pending(&mut self, request: u64) -> Option<&mut PersistOp> {
        let segment = self.segment_of(request)?;
        let at = usize::try_from(request - segment.before - 1).ok()?;
        segment.batch.ops.get_mut(at)
    }

    /// Whether nothing is asked for that is not durable.
    pub(super) fn is_idle(&self) -> bool {
        self.kept == self.handed && self.segments.iter().all(|segment| segment.live == 0)
    }

    /// The moment by which what lingers is to be handed over.
    pub(super) fn deadline(&self) -> Option<Now> {
        let first = self.segments.front().filter(|_| self.kept == self.handed)?;
        Some(first.since + LINGER)
    }

    /// The store has everything up to a request.
    pub(super) fn kept(&mut self, until: u64) {
        self.kept = until;
        while let Some((_, number)) = self.joined_by.pop_front_if(|(request, _)| *request <= until) {
            self.joined.remove(&number);
        }
    }

    /// At the end of a turn: hands over what gathered, if the store is done with what it has. True when something counts as
    /// durable because it is not needed any more.
    pub(super) fn hand_over(&mut self, now: Now, fx: &mut impl Effects) -> bool {
        if std::mem::take(&mut self.open)
            && let Some(segment) = self.segments.back_mut()
        {
            segment.since = now;
        }
        if self.kept < self.handed {
            return false;
        }
        let needless = self.handed;
        while let Some(segment) = self.segments.pop_front_if(|segment| segment.live == 0) {
            self.handed = segment.last();
            self.spare = segment.batch;
            self.spare.ops.clear();
            self.spare.to.clear();
        }
        if self.handed > needless {
            self.kept(self.handed);
            return true;
        }
        let urgent = self.segments.iter().any(|segment| segment.urgent);
        while let Some(segment) =
            self.segments.pop_front_if(|segment| urgent || segment.since + LINGER <= now)
        {
            self.handed = segment.last();
            fx.persist(Batch { until: self.handed, now, ..segment.batch });
        }
        false
    }
}

/// What a message counts towards a session's bound in bytes.
pub(super) fn size_of_entry(queued: &Queued) -> u32 {
    u32::try_from(queued.size()).unwrap_or(u32::MAX)
}

fn is_at(recipient: &Recipient, place: Place) -> bool {
    recipient.session == Some(place.session) && recipient.seq == place.seq
}
