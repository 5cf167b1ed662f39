//! The groups of shared subscriptions: who is in them, on this core and on others, and whose turn it is. [MQTT 4.8.2]
//!
//! A group is known on every core, because whoever publishes has to choose: the publishing core chooses a core by how
//! many members it has, that core chooses the member. What a core knows of the others is what they announced.

use super::{Effects, Setup, interest::Interest};
use crate::topic::SubscriptionFlags;
use crate::types::{Balance, GroupKey, HashSeed, Map, SessionKey, ShardId, Slab};
use std::collections::VecDeque;

/// One session's part in a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) session: SessionKey,
    pub(super) flags: SubscriptionFlags,
    /// Subscription Identifier; 0 for none.
    pub(super) id: u32,
    /// Whether what it gets is kept in the store.
    pub(super) lasting: bool,
}

/// A core's part in a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) shard: ShardId,
    /// The group as that core knows it.
    pub(super) key: GroupKey,
    /// Members that are connected there.
    pub(super) online: u32,
    /// Members there in all; never 0.
    pub(super) members: u32,
    /// Whether one of them needs what it gets kept in the store.
    pub(super) lasting: bool,
}

/// The members of a group on this core.
///
/// Invariant: those that are connected come first, and `places` knows where each stands.
#[derive(Debug)]
pub(super) struct Members {
    list: Vec<Member>,
    online: usize,
    places: Map<SessionKey, usize>,
    /// How many need what they get kept in the store.
    lasting: usize,
    /// Whose turn it is among those that are connected.
    turn: usize,
}

impl Members {
    fn new(seed: HashSeed) -> Self {
        Self { list: Vec::new(), online: 0, places: seed.map(), lasting: 0, turn: 0 }
    }

    /// Whether nobody of this core is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Those that are connected.
    pub(super) fn online(&self) -> &[Member] {
        &self.list[..self.online]
    }

    /// Those that are not.
    pub(super) fn offline(&self) -> &[Member] {
        &self.list[self.online..]
    }

    /// Adds a member that is not connected, or replaces its options.
    fn put(&mut self, member: Member) {
        match self.places.get(&member.session) {
            Some(&place) => self.list[place] = member,
            None => {
                self.lasting += usize::from(member.lasting);
                self.places.insert(member.session, self.list.len());
                self.list.push(member);
            }
        }
    }

    fn remove(&mut self, session: SessionKey) -> bool {
        self.set_online(session, false);
        let Some(place) = self.places.remove(&session) else { return false };
        self.lasting -= usize::from(self.list.swap_remove(place).lasting);
        if let Some(moved) = self.list.get(place) {
            self.places.insert(moved.session, place);
        }
        true
    }

    fn set_online(&mut self, session: SessionKey, online: bool) {
        let Some(&place) = self.places.get(&session) else { return };
        if online == (place < self.online) {
            return;
        }
        // It changes places with the one at the border, which then moves.
        let border = if online { self.online } else { self.online - 1 };
        self.list.swap(place, border);
        self.places.insert(self.list[place].session, place);
        self.places.insert(session, border);
        self.online = if online { self.online + 1 } else { self.online - 1 };
    }

    /// Where to begin to look for a member that takes a message, among those that are connected.
    pub(super) fn begin(&mut self, balance: Balance, pick: Option<u32>) -> usize {
        match (balance, pick) {
            (_, Some(pick)) => pick as usize,
            (Balance::Sticky | Balance::Hash, None) => 0,
            (Balance::RoundRobin, None) => {
                let begin = if self.turn < self.online { self.turn } else { 0 };
                self.turn = begin + 1;
                begin
            }
        }
    }
}

/// The subscribers that share a filter under a name.
#[derive(Debug)]
pub(super) struct Group {
    /// In full, with `$share/` and the name.
    pub(super) filter: Box<str>,
    pub(super) members: Members,
    /// All cores that have members, this one too, by shard.
    parts: Vec<Part>,
    /// Whose turn it is among all that are connected, for what is published on this core.
    turn: u32,
    /// The announcement after which no core sends to this group here, while it has no members here.
    left: u64,
}

impl Group {
    /// Whether anybody is in it, on any core.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether a member is connected, on any core.
    pub(super) fn is_online(&self) -> bool {
        self.parts.iter().any(|part| part.online > 0)
    }

    /// The core whose turn it is, and which of its connected members, where the publisher decides that. Cores count by
    /// their connected members; when nobody is connected, by all.
    pub(super) fn choose(&mut self, balance: Balance, publisher: u64) -> Option<(Part, Option<u32>)> {
        let online: u32 = self.parts.iter().map(|part| part.online).sum();
        let weight = |part: &Part| if online > 0 { part.online } else { part.members };
        let sum: u32 = self.parts.iter().map(weight).sum();
        let mut slot = match balance {
            _ if sum == 0 => return None,
            Balance::Sticky => 0,
            Balance::Hash => u32::try_from(publisher % u64::from(sum)).unwrap_or(0),
            Balance::RoundRobin => {
                let slot = if self.turn < sum { self.turn } else { 0 };
                self.turn = slot + 1;
                slot
            }
        };
        for part in &self.parts {
            if slot < weight(part) {
                return Some((*part, (balance == Balance::Hash).then_some(slot)));
            }
            slot -= weight(part);
        }
        None
    }

    /// The core to try after `own`, in a round over all that began at `first`.
    pub(super) fn next_after(
        &self,
        own: ShardId,
        first: ShardId,
        shards: u16,
        suits: impl Fn(&Part) -> bool,
    ) -> Option<Part> {
        let distance = |to: ShardId| (to.0 + shards - own.0) % shards;
        let end = if first == own { shards } else { distance(first) };
        let ahead = self.parts.iter().filter(|part| (1..end).contains(&distance(part.shard)) && suits(part));
        ahead.min_by_key(|part| distance(part.shard)).copied()
    }

    /// Whether a member on another core than this one needs what it gets kept in the store.
    pub(super) fn lasts_elsewhere(&self, own: ShardId) -> bool {
        self.parts.iter().any(|part| part.lasting && part.shard != own)
    }

    /// Whether a member on any core needs what it gets kept in the store.
    pub(super) fn lasts(&self) -> bool {
        self.parts.iter().any(|part| part.lasting)
    }

    fn set_part(&mut self, part: Part) {
        let place = self.parts.binary_search_by_key(&part.shard, |known| known.shard);
        match (place, part.members) {
            (Ok(place), 0) => drop(self.parts.remove(place)),
            (Ok(place), _) => self.parts[place] = part,
            (Err(_), 0) => {}
            (Err(place), _) => self.parts.insert(place, part),
        }
    }
}

/// What a change of a group means for the trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It has its first member on any core.
    First,
    /// It has no member any more, on any core.
    Last,
}

/// All groups that this core knows.
///
/// Invariant: a group stays while it has members anywhere, and after that until no core can send to it any more.
#[derive(Debug)]
pub(super) struct Groups {
    own: ShardId,
    seed: HashSeed,
    slab: Slab<GroupKey, Group>,
    by_filter: Map<Box<str>, GroupKey>,
    /// Groups without members, to be forgotten in this order.
    leaving: VecDeque<GroupKey>,
}

impl Groups {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            own: setup.shard,
            seed: setup.seed,
            slab: Slab::new(),
            by_filter: setup.seed.map(),
            leaving: VecDeque::new(),
        }
    }

    /// Whether no group is known.
    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    pub(super) fn get(&self, key: GroupKey) -> Option<&Group> {
        self.slab.get(key)
    }

    pub(super) fn get_mut(&mut self, key: GroupKey) -> Option<&mut Group> {
        self.slab.get_mut(key)
    }

    pub(super) fn key_of(&self, filter: &str) -> Option<GroupKey> {
        self.by_filter.get(filter).copied()
    }

    fn key_for(&mut self, filter: &str) -> GroupKey {
        if let Some(key) = self.key_of(filter) {
            return key;
        }
        let members = Members::new(self.seed);
        let key =
            self.slab.insert(Group { filter: filter.into(), members, parts: Vec::new(), turn: 0, left: 0 });
        self.by_filter.insert(filter.into(), key);
        key
    }

    /// Adds a member of this core, or replaces its options.
    pub(super) fn join(
        &mut self,
        filter: &str,
        (member, online): (Member, bool),
        interest: &mut Interest,
        fx: &mut impl Effects,
    ) -> (GroupKey, Change) {
        let key = self.key_for(filter);
        let change = self.update(key, interest, fx, |members| {
            members.put(member);
            members.set_online(member.session, online);
        });
        (key, change)
    }

    /// Takes a member of this core out.
    pub(super) fn leave(
        &mut self,
        key: GroupKey,
        session: SessionKey,
        interest: &mut Interest,
        fx: &mut impl Effects,
    ) -> Change {
        self.update(key, interest, fx, |members| {
            members.remove(session);
        })
    }

    /// A member of this core comes or goes, and stays a member.
    pub(super) fn set_online(
        &mut self,
        key: GroupKey,
        session: SessionKey,
        online: bool,
        interest: &mut Interest,
        fx: &mut impl Effects,
    ) {
        self.update(key, interest, fx, |members| members.set_online(session, online));
    }

    /// Changes the members of this core, and tells the other cores how many there are if that changed.
    fn update(
        &mut self,
        key: GroupKey,
        interest: &mut Interest,
        fx: &mut impl Effects,
        change: impl FnOnce(&mut Members),
    ) -> Change {
        let Some(group) = self.slab.get_mut(key) else { return Change::None };
        let state = |members: &Members| (members.online, members.list.len(), members.lasting > 0);
        let before = state(&group.members);
        change(&mut group.members);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (online, members) = (count(group.members.online), count(group.members.list.len()));
        if before == state(&group.members) {
            return Change::None;
        }
        let part = Part { shard: self.own, key, online, members, lasting: group.members.lasting > 0 };
        interest.share(&group.filter, part, fx);
        if members == 0 {
            group.left = interest.announced();
        }
        self.set_part(key, part)
    }

    /// Another core has announced its part in a group.
    pub(super) fn learn(&mut self, filter: &str, part: Part) -> (GroupKey, Change) {
        let key = self.key_for(filter);
        (key, self.set_part(key, part))
    }

    fn set_part(&mut self, key: GroupKey, part: Part) -> Change {
        let Some(group) = self.slab.get_mut(key) else { return Change::None };
        let was_empty = group.is_empty();
        group.set_part(part);
        match (was_empty, group.is_empty()) {
            (true, false) => Change::First,
            (false, true) => {
                self.leaving.push_back(key);
                Change::Last
            }
            (true, true) => {
                self.leaving.push_back(key);
                Change::None
            }
            (false, false) => Change::None,
        }
    }

    /// Forgets groups without members that no core can send to any more.
    pub(super) fn sweep(&mut self, interest: &Interest) {
        while let Some(&key) = self.leaving.front() {
            match self.slab.get(key) {
                Some(group) if group.is_empty() && !interest.settled(group.left) => return,
                Some(group) if group.is_empty() => {
                    self.by_filter.remove(&group.filter);
                    self.slab.remove(key);
                }
                // It has members again, or is forgotten already.
                _ => {}
            }
            self.leaving.pop_front();
        }
    }
}
