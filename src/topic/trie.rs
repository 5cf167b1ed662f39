//! One core's subscriptions: who wants a message, on this core and on others, in one lookup.
//!
//! Filters without wildcards and filters with them are kept apart ([`exact`](super::exact), [`tree`](super::tree)): the
//! former are usually nearly all, and one hash of the whole name finds them. What a lookup costs depends on the name's
//! levels and on the filters that match, or at least begin to; never on the others.
//!
//! Rejected: a hash map of children in each node (several times the memory for a million filters, and one lookup per
//! level where one per name is enough).

use super::exact::ExactFilters;
use super::matches::{Matches, Scratch};
use super::tree::WildcardFilters;
use super::wants::{Subscriber, Wants};
use super::{TopicFilter, TopicName};
use crate::types::{GroupKey, HashSeed, SessionKey, ShardId};
use std::borrow::Cow;

/// What a subscription changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The session had not subscribed to this filter; otherwise its options were replaced. [MQTT-3.8.4-3]
    pub fresh: bool,
    /// No session of this core had subscribed to this filter: the other cores have to know.
    pub first_local: bool,
}

/// What an unsubscription changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribed {
    /// No session of this core has the filter any more: the other cores need not send for it.
    pub last_local: bool,
}

/// Filters, the sessions of this core that subscribed to each, and the other cores that want it.
///
/// The subscription of a group stands under the filter without the group's name; who is in the group is for the caller to
/// know.
#[derive(Debug)]
pub struct Trie {
    exact: ExactFilters,
    wildcard: WildcardFilters,
    subscriptions: usize,
}

impl Trie {
    /// A trie without filters.
    pub fn new(seed: HashSeed) -> Self {
        Self { exact: ExactFilters::new(seed), wildcard: WildcardFilters::new(seed), subscriptions: 0 }
    }

    /// Subscribes a session to a filter, or replaces the options of its subscription.
    pub fn subscribe(&mut self, filter: TopicFilter<'_>, subscriber: Subscriber) -> Subscribed {
        let change = self.entry(filter).subscribe(subscriber);
        self.subscriptions += usize::from(change.fresh);
        change
    }

    /// Ends a session's subscription to a filter; `None` when there was none.
    pub fn unsubscribe(&mut self, filter: TopicFilter<'_>, session: SessionKey) -> Option<Unsubscribed> {
        let change = self.update(filter, |wants| wants.unsubscribe(session))??;
        self.subscriptions -= 1;
        Some(change)
    }

    /// Notes that another core wants what the filter matches; false when that was known.
    pub fn add_peer(&mut self, filter: TopicFilter<'_>, peer: ShardId) -> bool {
        self.entry(filter).add_peer(peer)
    }

    /// Notes that another core no longer wants what the filter matches; false when it had not wanted it.
    pub fn remove_peer(&mut self, filter: TopicFilter<'_>, peer: ShardId) -> bool {
        self.update(filter, |wants| wants.remove_peer(peer)).unwrap_or(false)
    }

    /// Notes that a group wants what its filter matches. It must not have been noted before.
    pub fn add_group(&mut self, filter: TopicFilter<'_>, group: GroupKey) {
        self.entry(filter).add_group(group);
    }

    /// Notes that a group has no members any more.
    pub fn remove_group(&mut self, filter: TopicFilter<'_>, group: GroupKey) {
        self.update(filter, |wants| wants.remove_group(group));
    }

    /// Appends everybody who wants a message with this name. Two lookups into one result are not merged.
    pub fn matches(&self, name: TopicName<'_>, out: &mut Matches) {
        let mut scratch = out.scratch.take().unwrap_or_default();
        self.matches_with(name, out, &mut scratch);
        out.scratch = Some(scratch);
    }

    /// The same with memory of the caller's.
    pub(super) fn matches_with(&self, name: TopicName<'_>, out: &mut Matches, scratch: &mut Scratch) {
        out.visit();
        if let Some(wants) = self.exact.find(name.as_str()) {
            out.add(wants, scratch);
        }
        self.wildcard.matches(name, out, scratch);
        out.merge(scratch);
    }

    /// The filters that sessions of this core have subscribed to, for a core that joins.
    pub fn local_filters(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let exact = self.exact.iter().map(|(filter, wants)| (Cow::Borrowed(filter), wants));
        let wildcard = self.wildcard.iter().map(|(filter, wants)| (Cow::Owned(filter), wants));
        exact.chain(wildcard).filter(|(_, wants)| wants.has_locals()).map(|(filter, _)| filter)
    }

    /// How many different filters there are, on this core or wanted by others.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len()
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many subscriptions the sessions of this core have.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    fn entry(&mut self, filter: TopicFilter<'_>) -> &mut Wants {
        if filter.has_wildcard() {
            self.wildcard.entry(filter.as_str())
        } else {
            self.exact.entry(filter.as_str())
        }
    }

    fn update<R>(&mut self, filter: TopicFilter<'_>, change: impl FnOnce(&mut Wants) -> R) -> Option<R> {
        if filter.has_wildcard() {
            self.wildcard.update(filter.as_str(), change)
        } else {
            self.exact.update(filter.as_str(), change)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::SubscriptionFlags;
    use crate::types::QoS;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::parse(text, u16::MAX).unwrap()
    }

    fn subscriber(slot: u32) -> Subscriber {
        let session = SessionKey { slot, generation: 0 };
        Subscriber {
            session,
            options: SubscriptionFlags::new(QoS::AtMostOnce, false, false),
            subscription_id: 0,
        }
    }

    fn lookup(trie: &Trie, name: &str) -> Matches {
        let mut out = Matches::new();
        trie.matches(TopicName::parse(name, u16::MAX).unwrap(), &mut out);
        out
    }

    fn slots(trie: &Trie, name: &str) -> Vec<u32> {
        lookup(trie, name).locals.iter().map(|local| local.session.slot).collect()
    }

    #[test]
    fn changes_say_what_other_cores_have_to_know() {
        let mut trie = Trie::new(HashSeed(1));
        for text in ["a/b", "a/+", "a/#"] {
            let filter = filter(text);
            assert_eq!(trie.subscribe(filter, subscriber(1)), Subscribed { fresh: true, first_local: true });
            assert_eq!(
                trie.subscribe(filter, subscriber(1)),
                Subscribed { fresh: false, first_local: false }
            );
            assert_eq!(trie.subscribe(filter, subscriber(2)), Subscribed { fresh: true, first_local: false });
            let one = subscriber(1).session;
            assert_eq!(trie.unsubscribe(filter, one), Some(Unsubscribed { last_local: false }));
            assert_eq!(trie.unsubscribe(filter, one), None);
        }
        assert_eq!((trie.len(), trie.subscriptions()), (3, 3));
        assert_eq!(
            trie.unsubscribe(filter("a/+"), subscriber(2).session),
            Some(Unsubscribed { last_local: true })
        );
        assert_eq!((trie.len(), trie.subscriptions()), (2, 2));
    }

    #[test]
    fn one_lookup_finds_sessions_and_cores_together() {
        let mut trie = Trie::new(HashSeed(1));
        trie.subscribe(filter("a/b"), subscriber(3));
        trie.subscribe(filter("a/+"), subscriber(1));
        assert!(trie.add_peer(filter("a/b"), ShardId(4)) && trie.add_peer(filter("#"), ShardId(9)));
        assert!(trie.add_peer(filter("b"), ShardId(7)) && !trie.add_peer(filter("b"), ShardId(7)));
        let found = lookup(&trie, "a/b");
        assert_eq!(found.peers.iter().map(|peer| peer.0).collect::<Vec<_>>(), [4, 9]);
        assert_eq!(slots(&trie, "a/b"), [1, 3]);
        assert!(trie.remove_peer(filter("#"), ShardId(9)) && !trie.remove_peer(filter("#"), ShardId(9)));
        assert!(!trie.remove_peer(filter("x/#"), ShardId(9)));
        assert_eq!(lookup(&trie, "a/b").peers.iter().count(), 1);
    }

    #[test]
    fn groups_are_found_by_their_filter_and_are_not_this_core_s_to_announce() {
        let mut trie = Trie::new(HashSeed(1));
        let group = |slot| GroupKey { slot, generation: 0 };
        trie.add_group(filter("$share/g/a/+"), group(1));
        trie.add_group(filter("$share/h/a/b"), group(2));
        trie.subscribe(filter("a/b"), subscriber(5));
        let found = lookup(&trie, "a/b");
        assert_eq!((found.groups, found.locals.len()), (vec![group(2), group(1)], 1));
        assert_eq!(lookup(&trie, "a/c").groups, [group(1)]);
        assert_eq!(trie.local_filters().collect::<Vec<_>>(), ["a/b"]);
        trie.remove_group(filter("$share/g/a/+"), group(1));
        trie.remove_group(filter("$share/h/a/b"), group(2));
        assert!(lookup(&trie, "a/c").is_empty() && trie.len() == 1);
    }

    #[test]
    fn filters_that_only_other_cores_want_are_not_this_core_s() {
        let mut trie = Trie::new(HashSeed(1));
        trie.add_peer(filter("peer"), ShardId(1));
        trie.add_peer(filter("peer/#"), ShardId(1));
        trie.add_peer(filter("both/+"), ShardId(1));
        for text in ["both/+", "own", "own/#", "#"] {
            trie.subscribe(filter(text), subscriber(1));
        }
        let mut filters: Vec<_> = trie.local_filters().collect();
        filters.sort_unstable();
        assert_eq!(filters, ["#", "both/+", "own", "own/#"]);
        assert_eq!(trie.len(), 6);
    }

    #[test]
    fn filters_that_do_not_match_cost_nothing() {
        let name = "site/7/device/7/temperature/value";
        let mut visited = Vec::new();
        for filters in [10, 100, 10_000, 100_000] {
            let mut trie = Trie::new(HashSeed(1));
            for i in 0..filters {
                trie.subscribe(filter(&format!("site/{}/device/{i}/+/value", i % 10)), subscriber(i));
                trie.subscribe(filter(&format!("site/{}/device/{i}/temperature", i % 10)), subscriber(i));
                trie.subscribe(filter(&format!("device-{i}/#")), subscriber(i));
            }
            let found = lookup(&trie, name);
            assert_eq!(found.locals.len(), 1);
            visited.push(found.visited());
        }
        // The exact filters' table, the root, and one node for each of six levels.
        assert_eq!(visited, [8; 4]);
    }

    #[test]
    fn the_deepest_filters_are_matched_without_recursion() {
        // 32,768 empty levels: the most for which a filter of `+` alone fits into 65,535 bytes.
        let name = "/".repeat(32_767);
        let texts = [
            name.clone(),
            name.replace('/', "+/") + "+",
            name.clone() + "#",
            "+".to_owned() + &name,
            name.clone() + "a",
        ];
        let mut trie = Trie::new(HashSeed(1));
        for (slot, text) in (0..).zip(&texts) {
            trie.subscribe(filter(text), subscriber(slot));
        }
        assert_eq!(slots(&trie, &name), [0, 1, 2, 3]);
        for (slot, text) in (0..).zip(&texts) {
            assert!(trie.unsubscribe(filter(text), subscriber(slot).session).is_some());
        }
        assert!(trie.is_empty() && slots(&trie, &name).is_empty());
    }

    #[test]
    fn every_mix_of_wildcards_of_the_same_levels_is_found_once() {
        let mut trie = Trie::new(HashSeed(1));
        let levels = 8;
        for mix in 0..1u32 << levels {
            let text: Vec<_> =
                (0..levels).map(|level| if mix >> level & 1 == 1 { "+" } else { "a" }).collect();
            trie.subscribe(filter(&text.join("/")), subscriber(mix));
        }
        assert_eq!(slots(&trie, "a/a/a/a/a/a/a/a"), (0..1 << levels).collect::<Vec<_>>());
        assert_eq!(slots(&trie, "a/a/a/a/a/a/a/b").len(), 1 << (levels - 1));
        assert!(slots(&trie, "a/a/a/a/a/a/a").is_empty());
    }
}
