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
use crate::types::{HashSeed, SessionKey, ShardId};
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
/// The group of a shared subscription is not looked at: filters must come without one.
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
        exact.chain(wildcard).filter(|(_, wants)| !wants.locals().is_empty()).map(|(filter, _)| filter)
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
        debug_assert!(
            filter.share_group().is_none(),
            "a group's filter is not a filter of each of its members"
        );
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
