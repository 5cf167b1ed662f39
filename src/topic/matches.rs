//! What a lookup found: each session of this core once, and the set of other cores.

use super::wants::{Subscriber, Wants};
use crate::types::{GroupKey, QoS, SessionKey, ShardSet};

/// One session that wants a message, all of its matching subscriptions merged into one delivery. [MQTT-3.3.4-2]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalMatch {
    /// Whose.
    pub session: SessionKey,
    /// The highest QoS of the matching subscriptions. [MQTT-3.3.4-2]
    pub qos: QoS,
    /// Every matching subscription has No Local: nothing of the session's own goes to it. [MQTT-3.8.3-3]
    pub no_local: bool,
    /// A matching subscription has Retain As Published. [MQTT-3.3.1-13]
    pub retain_as_published: bool,
    /// The highest QoS of those without No Local; `None` when there are none of them, which is what `no_local` says.
    pub qos_if_own: Option<QoS>,
    retain_as_published_if_own: bool,
    /// Where the Subscription Identifiers begin; those of subscriptions without No Local come first.
    ids_start: u32,
    ids_len: u32,
    ids_len_if_own: u32,
}

impl LocalMatch {
    /// The match for a message that the session itself published: only the subscriptions without No Local count.
    pub fn if_own(&self) -> Option<Self> {
        Some(Self {
            qos: self.qos_if_own?,
            retain_as_published: self.retain_as_published_if_own,
            ids_len: self.ids_len_if_own,
            ..*self
        })
    }
}

/// The result of a lookup: sessions, other cores, groups. Made to be reused: clearing keeps the memory.
#[derive(Debug, Default)]
pub struct Matches {
    /// The sessions of this core, each once, in ascending order within one lookup.
    pub locals: Vec<LocalMatch>,
    /// The other cores that want the message.
    pub peers: ShardSet,
    /// The groups of which one member each wants the message.
    pub groups: Vec<GroupKey>,
    ids: Vec<u32>,
    /// Filters and nodes of the tree that lookups looked at since the last clear.
    visited: u64,
    /// Here between calls of [`Trie::matches`](super::Trie::matches); a cache's entries have none.
    pub(super) scratch: Option<Box<Scratch>>,
}

/// What a lookup needs on its way. Kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Subscriptions found, in groups: each filter's are in order.
    pub(super) hits: Vec<Subscriber>,
    /// Filters that have subscribers among the hits.
    filters: u32,
    /// Nodes of the tree still to visit, with the offset of the level that their children stand for.
    pub(super) pending: Vec<(u32, usize)>,
}

impl Matches {
    /// An empty result.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything but its memory.
    pub fn clear(&mut self) {
        self.locals.clear();
        self.peers = ShardSet::EMPTY;
        self.groups.clear();
        self.ids.clear();
        self.visited = 0;
    }

    /// Whether nobody wants the message.
    pub fn is_empty(&self) -> bool {
        self.locals.is_empty() && self.peers.is_empty() && self.groups.is_empty()
    }

    /// The Subscription Identifiers of all matching subscriptions of a session, also if some are equal. [MQTT-3.3.4-3]
    pub fn subscription_ids(&self, local: &LocalMatch) -> &[u32] {
        &self.ids[local.ids_start as usize..][..local.ids_len as usize]
    }

    /// How many filters and nodes of the tree the lookups since the last clear looked at: what a lookup costs, without
    /// a clock.
    pub fn visited(&self) -> u64 {
        self.visited
    }

    /// Becomes a copy of another result without its scratch memory, in memory that is not much more than needed.
    pub(super) fn copy_from(&mut self, other: &Self) {
        copy_into(&mut self.locals, &other.locals);
        copy_into(&mut self.ids, &other.ids);
        copy_into(&mut self.groups, &other.groups);
        self.peers = other.peers;
        self.visited = other.visited;
    }

    /// Bytes of the result itself, without spare memory.
    pub(super) fn bytes_used(&self) -> usize {
        size_of_val(self.locals.as_slice())
            + size_of_val(self.ids.as_slice())
            + size_of_val(self.groups.as_slice())
    }

    /// Bytes of the result and of spare memory.
    pub(super) fn bytes_held(&self) -> usize {
        self.locals.capacity() * size_of::<LocalMatch>()
            + self.ids.capacity() * size_of::<u32>()
            + self.groups.capacity() * size_of::<GroupKey>()
    }

    pub(super) fn visit(&mut self) {
        self.visited += 1;
    }

    /// Notes everybody who wants what one filter matches.
    pub(super) fn add(&mut self, wants: &Wants, scratch: &mut Scratch) {
        wants.add_peers_to(&mut self.peers);
        self.groups.extend_from_slice(wants.groups());
        let before = scratch.hits.len();
        wants.locals().for_each(|list| scratch.hits.extend_from_slice(list));
        scratch.filters += u32::from(scratch.hits.len() > before);
    }

    /// Merges what the filters of one lookup contributed. No time is spent on sorting when it was one filter.
    pub(super) fn merge(&mut self, scratch: &mut Scratch) {
        let Scratch { hits, filters, .. } = scratch;
        if *filters > 1 {
            // A total order, so that the result depends on nothing but the subscriptions.
            hits.sort_unstable_by_key(|hit| (hit.session, hit.options.no_local(), hit.subscription_id));
        }
        self.locals.reserve(hits.len());
        for same in hits.chunk_by(|a, b| a.session == b.session) {
            self.push(same);
        }
        hits.clear();
        *filters = 0;
    }

    /// Adds one session's subscriptions, those without No Local first.
    fn push(&mut self, same: &[Subscriber]) {
        let own = &same[..same.partition_point(|hit| !hit.options.no_local())];
        let Some(qos) = highest(same) else { return };
        let ids_start = as_offset(self.ids.len());
        self.keep_ids(own);
        let ids_len_if_own = as_offset(self.ids.len()) - ids_start;
        self.keep_ids(&same[own.len()..]);
        self.locals.push(LocalMatch {
            session: same[0].session,
            qos,
            no_local: own.is_empty(),
            retain_as_published: as_published(same),
            qos_if_own: highest(own),
            retain_as_published_if_own: as_published(own),
            ids_start,
            ids_len: as_offset(self.ids.len()) - ids_start,
            ids_len_if_own,
        });
    }

    fn keep_ids(&mut self, hits: &[Subscriber]) {
        self.ids.extend(hits.iter().map(|hit| hit.subscription_id).filter(|&id| id != 0));
    }
}

fn highest(hits: &[Subscriber]) -> Option<QoS> {
    hits.iter().map(|hit| hit.options.qos()).max()
}

fn as_published(hits: &[Subscriber]) -> bool {
    hits.iter().any(|hit| hit.options.retain_as_published())
}

fn as_offset(len: usize) -> u32 {
    u32::try_from(len).expect("fewer than 2^32 subscription identifiers in one result")
}

fn copy_into<T: Copy>(to: &mut Vec<T>, from: &[T]) {
    to.clear();
    if to.capacity() > 2 * from.len() + 8 {
        to.shrink_to(from.len());
    }
    to.reserve_exact(from.len());
    to.extend_from_slice(from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{SubscriptionFlags, TopicFilter, TopicName, Trie};
    use crate::types::HashSeed;

    fn key(slot: u32) -> SessionKey {
        SessionKey { slot, generation: 0 }
    }

    /// Subscriptions as (session, filter, QoS, No Local, Retain As Published, identifier).
    fn matches(subscriptions: &[(u32, &str, QoS, bool, bool, u32)], name: &str) -> Matches {
        let mut trie = Trie::new(HashSeed(1));
        for &(slot, filter, qos, no_local, as_published, subscription_id) in subscriptions {
            let options = SubscriptionFlags::new(qos, no_local, as_published);
            let subscriber = Subscriber { session: key(slot), options, subscription_id };
            trie.subscribe(TopicFilter::trusted(filter), subscriber);
        }
        let mut out = Matches::new();
        trie.matches(TopicName::trusted(name), &mut out);
        out
    }

    #[test]
    fn overlapping_subscriptions_are_one_delivery_mqtt_3_3_4_2() {
        let found = matches(
            &[
                (1, "a/b", QoS::AtMostOnce, false, false, 30),
                (1, "a/+", QoS::ExactlyOnce, false, false, 10),
                (2, "a/+", QoS::AtLeastOnce, false, false, 0),
                (1, "#", QoS::AtLeastOnce, false, true, 30),
            ],
            "a/b",
        );
        let [one, two] = found.locals.as_slice() else { panic!("two sessions: {found:?}") };
        assert_eq!((one.session, one.qos, one.retain_as_published), (key(1), QoS::ExactlyOnce, true));
        assert_eq!(found.subscription_ids(one), [10, 30, 30], "equal identifiers are all sent");
        assert_eq!((two.session, two.qos, two.retain_as_published), (key(2), QoS::AtLeastOnce, false));
        assert_eq!(found.subscription_ids(two), [0; 0]);
        assert_eq!(two.if_own(), Some(*two));
    }

    #[test]
    fn only_subscriptions_without_no_local_count_for_a_session_s_own_messages_mqtt_3_8_3_3() {
        let found = matches(
            &[
                (1, "a", QoS::ExactlyOnce, true, true, 1),
                (1, "+", QoS::AtLeastOnce, false, false, 3),
                (1, "#", QoS::AtMostOnce, false, false, 2),
                (2, "a", QoS::ExactlyOnce, true, false, 9),
                (2, "+", QoS::ExactlyOnce, true, false, 0),
            ],
            "a",
        );
        let [mixed, never] = found.locals.as_slice() else { panic!("two sessions: {found:?}") };
        assert_eq!(
            (mixed.qos, mixed.no_local, mixed.qos_if_own),
            (QoS::ExactlyOnce, false, Some(QoS::AtLeastOnce))
        );
        assert_eq!(found.subscription_ids(mixed), [2, 3, 1]);
        let own = mixed.if_own().unwrap();
        assert_eq!((own.qos, own.retain_as_published), (QoS::AtLeastOnce, false));
        assert_eq!(found.subscription_ids(&own), [2, 3]);
        assert_eq!((never.no_local, never.qos_if_own, never.if_own()), (true, None, None));
        assert_eq!(found.subscription_ids(never), [9]);
    }

    #[test]
    fn a_second_lookup_appends_and_clearing_keeps_the_memory() {
        let mut trie = Trie::new(HashSeed(1));
        for (slot, filter) in [(1, "a"), (2, "b"), (2, "+")] {
            let options = SubscriptionFlags::new(QoS::AtMostOnce, false, false);
            let subscriber = Subscriber { session: key(slot), options, subscription_id: slot };
            trie.subscribe(TopicFilter::trusted(filter), subscriber);
        }
        let mut out = Matches::new();
        trie.matches(TopicName::trusted("a"), &mut out);
        trie.matches(TopicName::trusted("b"), &mut out);
        assert_eq!(out.locals.iter().map(|local| local.session.slot).collect::<Vec<_>>(), [1, 2, 2]);
        assert_eq!(out.subscription_ids(&out.locals[2]), [2, 2]);
        let held = out.bytes_held();
        out.clear();
        assert!(out.is_empty() && out.visited() == 0 && out.bytes_held() == held);
    }
}
