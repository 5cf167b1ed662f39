//! The sessions that subscribed to one filter, in order: a few for most filters, all clients of the core for some.
//!
//! A list of short sorted lists. One long list would be as quick to read, but when a hundred thousand clients of one
//! filter come or go, each would move half of the others.

use super::wants::Subscriber;
use crate::types::SessionKey;

/// Subscribers in one list at most: 8 KiB, about what moving costs as much as finding.
const LIST_MAX: usize = 512;

/// Invariant: `lists` is ordered by session through and through, each once; no list is empty or longer than
/// [`LIST_MAX`].
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    lists: Vec<Vec<Subscriber>>,
}

impl Subscribers {
    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// The only one there is.
    pub(super) fn single(&self) -> Option<Subscriber> {
        match self.lists.as_slice() {
            [list] if list.len() == 1 => Some(list[0]),
            _ => None,
        }
    }

    /// All of them, in order, list by list.
    pub(super) fn lists(&self) -> impl Iterator<Item = &[Subscriber]> {
        self.lists.iter().map(Vec::as_slice)
    }

    /// Adds a session, or replaces its options; whether it is new.
    pub(super) fn insert(&mut self, subscriber: Subscriber) -> bool {
        let Some(at) = self.list_of(subscriber.session) else {
            self.lists.reserve_exact(1);
            self.lists.push(vec![subscriber]);
            return true;
        };
        let list = &mut self.lists[at];
        match list.binary_search_by_key(&subscriber.session, |known| known.session) {
            Ok(known) => {
                list[known] = subscriber;
                false
            }
            Err(place) if list.len() < LIST_MAX => {
                list.insert(place, subscriber);
                true
            }
            // Sessions mostly come in order, and then the lists before are left full.
            Err(place) if place == LIST_MAX => {
                self.lists.insert(at + 1, vec![subscriber]);
                true
            }
            Err(_) => {
                let upper = list.split_off(LIST_MAX / 2);
                self.lists.insert(at + 1, upper);
                self.insert(subscriber)
            }
        }
    }

    /// Takes a session out; whether it was there.
    pub(super) fn remove(&mut self, session: SessionKey) -> bool {
        let Some(at) = self.list_of(session) else { return false };
        let list = &mut self.lists[at];
        let Ok(known) = list.binary_search_by_key(&session, |known| known.session) else { return false };
        list.remove(known);
        if list.is_empty() {
            self.lists.remove(at);
        } else if list.capacity() > 4 * list.len() + 16 {
            list.shrink_to(2 * list.len());
        }
        true
    }

    /// The list in which a session is, or belongs; `None` when there is no list.
    fn list_of(&self, session: SessionKey) -> Option<usize> {
        let last = self.lists.len().checked_sub(1)?;
        let ends_before =
            |list: &Vec<Subscriber>| list.last().is_some_and(|subscriber| subscriber.session < session);
        Some(self.lists.partition_point(ends_before).min(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::SubscriptionFlags;
    use crate::types::{QoS, Rng};
    use std::collections::BTreeMap;

    fn subscriber(slot: u32, subscription_id: u32) -> Subscriber {
        let session = SessionKey { slot, generation: 0 };
        Subscriber {
            session,
            options: SubscriptionFlags::new(QoS::AtMostOnce, false, false),
            subscription_id,
        }
    }

    fn check(subscribers: &Subscribers, expected: &BTreeMap<u32, u32>) {
        let all: Vec<_> =
            subscribers.lists().flatten().map(|s| (s.session.slot, s.subscription_id)).collect();
        assert!(all.iter().copied().eq(expected.iter().map(|(&slot, &id)| (slot, id))));
        assert!(subscribers.lists().all(|list| (1..=LIST_MAX).contains(&list.len())));
        assert_eq!(
            (subscribers.is_empty(), subscribers.single().is_some()),
            (all.is_empty(), all.len() == 1)
        );
    }

    #[test]
    fn sessions_that_come_in_order_fill_the_lists() {
        let mut subscribers = Subscribers::default();
        let slots = u32::try_from(10 * LIST_MAX).unwrap();
        assert!((0..slots).all(|slot| subscribers.insert(subscriber(slot, 0))));
        assert_eq!(subscribers.lists().count(), 10);
    }

    #[test]
    fn any_order_of_coming_and_going_agrees_with_a_map() {
        for seed in 0..10 {
            let mut rng = Rng::new(seed);
            let (mut subscribers, mut shadow) = (Subscribers::default(), BTreeMap::new());
            for (come, steps) in [(9, 8_000), (5, 2_000), (1, 12_000)] {
                for _ in 0..steps {
                    let slot = u32::try_from(rng.below(4_000)).unwrap();
                    if rng.chance(come, 10) {
                        let id = u32::try_from(rng.below(9)).unwrap();
                        let fresh = subscribers.insert(subscriber(slot, id));
                        assert_eq!(fresh, shadow.insert(slot, id).is_none(), "seed {seed}");
                    } else {
                        let known = subscribers.remove(SessionKey { slot, generation: 0 });
                        assert_eq!(known, shadow.remove(&slot).is_some(), "seed {seed}");
                    }
                }
                check(&subscribers, &shadow);
            }
            for slot in 0..4_000 {
                subscribers.remove(SessionKey { slot, generation: 0 });
            }
            assert!(subscribers.is_empty() && subscribers.lists.is_empty());
        }
    }
}
