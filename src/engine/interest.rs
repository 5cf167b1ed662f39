//! Which core wants what: announcements to the others, and SUBACKs that wait until all have applied them.

use super::durable::Durable;
use super::groups::Part;
use super::retain::Retention;
use super::{Effects, PeerMessage, Setup};
use crate::types::{ConnKey, Map, SessionKey, ShardId};
use std::collections::VecDeque;

/// A session that waits for announcements.
#[derive(Debug)]
pub(super) struct Pending {
    /// Until all cores have applied those up to this one.
    announced: u64,
    /// And the store has this request.
    request: u64,
    pub(super) session: SessionKey,
    /// The SUBACK or UNSUBACK that leaves then; what follows it needs none.
    pub(super) answer: Option<(ConnKey, Box<[u8]>)>,
}

/// Announcements to the other cores and what they have applied of them, and theirs to us.
///
/// Invariant: `waiting` is in ascending order of `announced`.
#[derive(Debug)]
pub(super) struct Interest {
    own: ShardId,
    /// Announcements made.
    announced: u64,
    /// A retained message has come live since the last one, and may be on its way to the core that keeps it.
    unsettled: bool,
    /// By core: how many of them it has applied.
    applied: Box<[u64]>,
    waiting: VecDeque<Pending>,
    /// By filter: subscribers of this core that need what they get kept in the store. Not counted on a single core.
    lasting: Map<Box<str>, u32>,
    /// By core: its newest announcement that we applied, and the newest that we acknowledged.
    theirs: Box<[(u64, u64)]>,
    /// Acknowledgements that wait for our own retained messages to be stored.
    barriers: VecDeque<Barrier>,
}

#[derive(Debug)]
struct Barrier {
    to: ShardId,
    number: u64,
    /// By core: how many retained messages it must have stored.
    stored: Box<[u64]>,
}

impl Interest {
    pub(super) fn new(setup: &Setup) -> Self {
        let shards = usize::from(setup.shards);
        Self {
            own: setup.shard,
            announced: 0,
            unsettled: false,
            applied: vec![0; shards].into(),
            waiting: VecDeque::new(),
            lasting: setup.seed.map(),
            theirs: vec![(0, 0); shards].into(),
            barriers: VecDeque::new(),
        }
    }

    fn peers(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.own;
        (0..).map(ShardId).take(self.applied.len()).filter(move |&peer| peer != own)
    }

    /// Tells all cores that this one has its first subscriber to a filter.
    pub(super) fn add(&mut self, filter: &str, fx: &mut impl Effects) {
        self.announce_filter(filter, false, fx);
    }

    /// This core has one more subscriber to a filter that needs what it gets kept in the store: the others are told of the
    /// first.
    pub(super) fn add_lasting(&mut self, filter: &str, fx: &mut impl Effects) {
        if self.applied.len() == 1 {
            return;
        }
        if let Some(count) = self.lasting.get_mut(filter) {
            *count += 1;
        } else {
            self.lasting.insert(filter.into(), 1);
            self.announce_filter(filter, true, fx);
        }
    }

    /// One of them is no more.
    pub(super) fn remove_lasting(&mut self, filter: &str, fx: &mut impl Effects) {
        let Some(count) = self.lasting.get_mut(filter) else { return };
        *count -= 1;
        if *count == 0 {
            self.lasting.remove(filter);
            for peer in self.peers() {
                fx.peer(peer, PeerMessage::InterestRemove { filter: filter.into(), lasting: true });
            }
        }
    }

    fn announce_filter(&mut self, filter: &str, lasting: bool, fx: &mut impl Effects) {
        if self.applied.len() == 1 {
            return;
        }
        self.announce();
        let number = self.announced;
        for peer in self.peers() {
            fx.peer(peer, PeerMessage::InterestAdd { filter: filter.into(), number, lasting });
        }
    }

    /// A retained message has come live from another core.
    pub(super) fn came_live(&mut self) {
        self.unsettled = true;
    }

    /// Lets a subscriber to a filter that is announced already wait until what came live before it is stored: it gets that
    /// with the retained messages. One announcement is enough for all that came until then.
    pub(super) fn settle(&mut self, filter: &str, fx: &mut impl Effects) {
        if self.unsettled {
            self.add(filter, fx);
        }
    }

    fn announce(&mut self) {
        self.announced += 1;
        self.unsettled = false;
    }

    /// Tells all cores that this one has no subscriber to a filter any more.
    pub(super) fn remove(&self, filter: &str, fx: &mut impl Effects) {
        for peer in self.peers() {
            fx.peer(peer, PeerMessage::InterestRemove { filter: filter.into(), lasting: false });
        }
    }

    /// Tells all cores how many members of a group this one has. Counts as an announcement: SUBACK waits for it.
    pub(super) fn share(&mut self, filter: &str, part: Part, fx: &mut impl Effects) {
        if self.applied.len() == 1 {
            return;
        }
        self.announce();
        let Part { key: group, online, members, lasting, .. } = part;
        for peer in self.peers() {
            let (filter, number) = (filter.into(), self.announced);
            fx.peer(peer, PeerMessage::ShareMembers { filter, group, online, members, lasting, number });
        }
    }

    /// How many announcements were made.
    pub(super) fn announced(&self) -> u64 {
        self.announced
    }

    /// Whether all cores have applied announcements up to `number`.
    pub(super) fn settled(&self, number: u64) -> bool {
        self.peers().all(|peer| self.applied[peer.index()] >= number)
    }

    /// Keeps a SUBACK or UNSUBACK until all cores know the filters that were announced so far, and the store has a request.
    pub(super) fn hold(&mut self, request: u64, conn: ConnKey, session: SessionKey, bytes: &[u8]) {
        let announced = self.announced;
        let answer = Some((conn, bytes.into()));
        self.waiting.push_back(Pending { announced, request, session, answer });
    }

    /// Lets a session with a subscription to a filter wait until everything has come that other cores sent here so far.
    /// Returns the announcement that says so.
    pub(super) fn catch_up(&mut self, session: SessionKey, filter: &str, fx: &mut impl Effects) -> u64 {
        self.add(filter, fx);
        let announced = self.announced;
        self.waiting.push_back(Pending { announced, request: 0, session, answer: None });
        announced
    }

    /// A core has applied our announcements up to `number`.
    pub(super) fn applied(&mut self, by: ShardId, number: u64) {
        self.applied[by.index()] = number;
    }

    /// The next of them that may leave.
    pub(super) fn next_ready(&mut self, durable: &Durable) -> Option<Pending> {
        let first = self.waiting.front()?;
        let ready = self.settled(first.announced) && durable.has(first.request);
        if ready { self.waiting.pop_front() } else { None }
    }

    /// We have applied another core's announcement.
    pub(super) fn learned(&mut self, from: ShardId, number: u64) {
        self.theirs[from.index()].0 = number;
    }

    /// At the end of a turn: acknowledges what was learned, once for all of a core's announcements. An acknowledgement
    /// waits until the retained messages that we sent out earlier are stored, so that whoever asks for retained messages
    /// after its SUBACK finds all that were not sent to it live.
    pub(super) fn acknowledge(&mut self, retention: &Retention, fx: &mut impl Effects) {
        for peer in self.peers() {
            let (learned, acknowledged) = &mut self.theirs[peer.index()];
            if learned > acknowledged {
                *acknowledged = *learned;
                self.barriers.push_back(Barrier {
                    to: peer,
                    number: *learned,
                    stored: retention.sent().into(),
                });
            }
        }
        while let Some(first) = self.barriers.front()
            && retention.all_stored(&first.stored)
        {
            fx.peer(first.to, PeerMessage::InterestAck { number: first.number });
            self.barriers.pop_front();
        }
    }
}
