//! Random operations on the trie, its cache and the retained index, beside a shadow that keeps plain lists and compares
//! texts level by level. A failure prints its seed; `TOPIC_SEED=7 cargo test --lib topic::tests` replays one.

use super::{
    CacheBounds, LocalMatch, MatchCache, Matches, Retained, Stint, Subscribed, Subscriber, SubscriptionFlags,
    TopicFilter, TopicName, Trie, Unsubscribed,
};
use crate::types::{Delivery, HashSeed, Message, Now, QoS, Rng, SessionKey, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

const SEEDS: u64 = 100;
const STEPS: usize = 400;

/// Few words, so that filters and names meet; with neighbours of `/` in byte order, and one too long for a short text.
const WORDS: [&str; 12] =
    ["", "a", "b", "a-", "a.b", "a0", "A", "$a", "é", "日本", "\u{1}", "a level of more than fourteen bytes"];

fn replay(run: impl Fn(u64)) {
    let seeds = match std::env::var("TOPIC_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("TOPIC_SEED is a number"),
        Err(_) => 0..SEEDS,
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("replay with TOPIC_SEED={seed} cargo test --lib topic::tests");
            std::panic::resume_unwind(panic);
        }
    }
}

fn name(rng: &mut Rng) -> String {
    let levels = if rng.chance(1, 20) { 1 + rng.below(40) } else { 1 + rng.below(5) };
    let words: Vec<_> = (0..levels).map(|_| *rng.pick(&WORDS)).collect();
    let text = words.join("/");
    if text.is_empty() { "/".to_owned() } else { text }
}

/// A filter that matches the name, mostly.
fn filter(rng: &mut Rng, name: &str) -> String {
    let mut levels: Vec<_> = name.split('/').collect();
    for level in &mut levels {
        match rng.below(20) {
            0..5 => *level = "+",
            5 => *level = *rng.pick(&WORDS[..]),
            _ => {}
        }
    }
    match rng.below(8) {
        0 => levels.push("#"),
        1 | 2 => *levels.last_mut().expect("one level at least") = "#",
        _ => {}
    }
    let text = levels.join("/");
    if text.is_empty() { "+".to_owned() } else { text }
}

/// [MQTT 4.7] in the words of the standard.
fn matches(filter: &str, name: &str) -> bool {
    fn levels_match(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            (["#"], _) | ([], []) => true,
            ([wanted, filter @ ..], [given, name @ ..]) => {
                (*wanted == "+" || wanted == given) && levels_match(filter, name)
            }
            _ => false,
        }
    }
    let hidden = name.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#'));
    !hidden && levels_match(&filter.split('/').collect::<Vec<_>>(), &name.split('/').collect::<Vec<_>>())
}

#[test]
fn filters_match_what_the_standard_says() {
    replay(|seed| {
        let mut rng = Rng::new(seed);
        for _ in 0..STEPS {
            let name = name(&mut rng);
            let filter = filter(&mut rng, &name);
            let parsed = TopicFilter::parse(&filter, 128).unwrap();
            let matched = parsed.matches(TopicName::parse(&name, 128).unwrap());
            assert_eq!(matched, matches(&filter, &name), "{filter:?} against {name:?}");
            assert_eq!(TopicFilter::trusted(&filter), parsed);
        }
    });
}

#[derive(Default)]
struct ShadowTrie {
    subscriptions: Vec<(String, Subscriber)>,
    peers: BTreeSet<(String, ShardId)>,
}

/// A session's delivery, as a test can compare it.
#[derive(Debug, PartialEq, Eq)]
struct Gets {
    session: SessionKey,
    qos: QoS,
    retain_as_published: bool,
    ids: Vec<u32>,
}

impl ShadowTrie {
    fn others_with(&self, filter: &str, session: SessionKey) -> usize {
        self.subscriptions.iter().filter(|(text, s)| text == filter && s.session != session).count()
    }

    fn subscribe(&mut self, filter: &str, subscriber: Subscriber) -> Subscribed {
        let fresh = self.unsubscribe(filter, subscriber.session).is_none();
        let others = self.others_with(filter, subscriber.session);
        self.subscriptions.push((filter.to_owned(), subscriber));
        Subscribed { fresh, first_local: fresh && others == 0 }
    }

    fn unsubscribe(&mut self, filter: &str, session: SessionKey) -> Option<Unsubscribed> {
        let at = self.subscriptions.iter().position(|(text, s)| text == filter && s.session == session)?;
        self.subscriptions.remove(at);
        Some(Unsubscribed { last_local: self.others_with(filter, session) == 0 })
    }

    fn filters(&self) -> BTreeSet<&str> {
        let local = self.subscriptions.iter().map(|(text, _)| text.as_str());
        local.chain(self.peers.iter().map(|(text, _)| text.as_str())).collect()
    }

    /// Who gets a message; of its own messages a session gets those for subscriptions without No Local.
    fn deliveries(&self, name: &str, own: bool) -> Vec<Gets> {
        let mut deliveries = BTreeMap::<SessionKey, Gets>::new();
        for (filter, subscriber) in &self.subscriptions {
            let Subscriber { session, options, subscription_id } = *subscriber;
            if !matches(filter, name) || (own && options.no_local()) {
                continue;
            }
            let nothing = Gets { session, qos: QoS::AtMostOnce, retain_as_published: false, ids: Vec::new() };
            let delivery = deliveries.entry(session).or_insert(nothing);
            delivery.qos = delivery.qos.max(options.qos());
            delivery.retain_as_published |= options.retain_as_published();
            delivery.ids.extend(Some(subscription_id).filter(|&id| id != 0));
            delivery.ids.sort_unstable();
        }
        deliveries.into_values().collect()
    }

    fn check(&self, name: &str, found: &Matches) {
        let delivery = |local: LocalMatch| {
            let mut ids = found.subscription_ids(&local).to_vec();
            ids.sort_unstable();
            let LocalMatch { session, qos, retain_as_published, .. } = local;
            Gets { session, qos, retain_as_published, ids }
        };
        let others: Vec<_> = found.locals.iter().copied().map(delivery).collect();
        assert_eq!(others, self.deliveries(name, false), "deliveries of {name:?}");
        let own: Vec<_> = found.locals.iter().filter_map(LocalMatch::if_own).map(delivery).collect();
        assert_eq!(own, self.deliveries(name, true), "deliveries of one's own {name:?}");
        assert!(found.locals.iter().all(|local| local.no_local == local.qos_if_own.is_none()));
        let wanted: BTreeSet<_> =
            self.peers.iter().filter(|(text, _)| matches(text, name)).map(|p| p.1).collect();
        assert_eq!(found.peers.iter().collect::<BTreeSet<_>>(), wanted, "cores that want {name:?}");
    }
}

fn subscriber(rng: &mut Rng) -> Subscriber {
    let session = SessionKey {
        slot: rng.pick(&[0, 1, 2, 3, 70_000]).to_owned(),
        generation: rng.pick(&[0, 1]).to_owned(),
    };
    let qos = *rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
    let options = SubscriptionFlags::new(qos, rng.chance(1, 3), rng.chance(1, 3));
    Subscriber { session, options, subscription_id: rng.pick(&[0, 0, 1, 2, 268_435_455]).to_owned() }
}

#[test]
fn the_trie_and_its_cache_agree_with_comparing_every_filter() {
    replay(|seed| {
        let mut rng = Rng::new(seed);
        let mut trie = Trie::new(HashSeed(seed));
        let mut shadow = ShadowTrie::default();
        let small = usize::try_from(seed % 20).unwrap();
        let bounds = CacheBounds { entries_max: 1 + small, bytes_max: 3_000 + 1_000 * small };
        let mut cache = MatchCache::new(HashSeed(seed), bounds);
        let mut found = Matches::new();
        // Filters and names come again, or hardly anything would ever be replaced, removed or found.
        let names: Vec<_> = (0..30).map(|_| name(&mut rng)).collect();
        let filters: Vec<_> = names.iter().cycle().take(60).map(|name| filter(&mut rng, name)).collect();
        for _ in 0..STEPS {
            let text = rng.pick(&filters).clone();
            let filter = TopicFilter::parse(&text, 128).unwrap();
            let peer = ShardId(rng.pick(&[0, 1, 63, 64, 255]).to_owned());
            match rng.below(10) {
                0..2 => {
                    let subscriber = subscriber(&mut rng);
                    assert_eq!(trie.subscribe(filter, subscriber), shadow.subscribe(&text, subscriber));
                }
                2 => {
                    let session = subscriber(&mut rng).session;
                    assert_eq!(trie.unsubscribe(filter, session), shadow.unsubscribe(&text, session));
                }
                3 => {
                    assert_eq!(trie.add_peer(filter, peer), shadow.peers.insert((text.clone(), peer)));
                }
                4 => {
                    assert_eq!(trie.remove_peer(filter, peer), shadow.peers.remove(&(text.clone(), peer)));
                }
                _ => {
                    let name = rng.pick(&names);
                    found.clear();
                    trie.matches(TopicName::trusted(name), &mut found);
                    shadow.check(name, &found);
                    shadow.check(name, cache.lookup(&trie, TopicName::trusted(name)));
                    assert!(cache.len() <= bounds.entries_max && cache.bytes() <= bounds.bytes_max);
                    continue;
                }
            }
            cache.on_change(filter);
            assert_eq!(
                (trie.len(), trie.subscriptions()),
                (shadow.filters().len(), shadow.subscriptions.len())
            );
        }
        let local: BTreeSet<_> = trie.local_filters().map(String::from).collect();
        assert_eq!(local, shadow.subscriptions.iter().map(|(text, _)| text.clone()).collect());
        for (text, subscriber) in &shadow.subscriptions {
            assert!(trie.unsubscribe(TopicFilter::trusted(text), subscriber.session).is_some());
        }
        for (text, peer) in &shadow.peers {
            assert!(trie.remove_peer(TopicFilter::trusted(text), *peer));
        }
        assert!(trie.is_empty() && trie.subscriptions() == 0);
    });
}

fn message(topic: &str, payload: &str) -> Message {
    let delivery = Delivery { qos: QoS::AtMostOnce, retain: true, received: Now(0), expiry: None };
    Message::new(topic, b"", payload.as_bytes(), delivery)
}

#[test]
fn retained_messages_agree_with_comparing_every_topic() {
    replay(|seed| {
        let mut rng = Rng::new(seed);
        let mut retained = Retained::new();
        let mut shadow = BTreeMap::<String, Message>::new();
        let names: Vec<_> = (0..10 + rng.below(150)).map(|_| name(&mut rng)).collect();
        for step in 0..STEPS {
            let text = rng.pick(&names);
            let name = TopicName::parse(text, 128).unwrap();
            match rng.below(10) {
                0..5 => {
                    let message = message(text, &step.to_string());
                    let change = retained.set(name, message.clone());
                    let old = shadow.insert(text.clone(), message.clone());
                    assert_eq!(
                        (change.old_size, change.new_size),
                        (old.map(|old| old.size()), message.size())
                    );
                }
                5..7 => assert_eq!(retained.remove(name), shadow.remove(text)),
                _ => walk(&mut rng, &retained, &shadow, text),
            }
            assert_eq!(retained.exact(name), shadow.get(text));
            assert_eq!(retained.len(), shadow.len());
            assert_eq!(retained.bytes(), shadow.values().map(|message| message.size() as u64).sum::<u64>());
        }
    });
}

/// Walks in pieces of any size and compares everything seen with the whole.
fn walk(rng: &mut Rng, retained: &Retained, shadow: &BTreeMap<String, Message>, name: &str) {
    let text = filter(rng, name);
    let mut expected = shadow.iter().filter(|(name, _)| matches(&text, name));
    let visits_max = usize::try_from(1 + rng.below(5)).unwrap();
    let bounded = rng.chance(1, 2);
    let mut after: Option<String> = None;
    loop {
        let looks_max = if bounded { usize::try_from(1 + rng.below(20)).unwrap() } else { usize::MAX };
        let mut visits = 0;
        let visit = &mut |name: &str, message: &Message| {
            assert_eq!(expected.next(), Some((&name.to_owned(), message)), "walk of {text:?}");
            visits += 1;
        };
        let stint = Stint { visits_max, looks_max };
        let filter = TopicFilter::parse(&text, 128).unwrap();
        after = retained.walk_some(filter, after.as_deref(), stint, visit).map(str::to_owned);
        assert!(visits <= visits_max);
        if after.is_none() {
            return assert_eq!(expected.next(), None, "all of {text:?}");
        }
        assert!(bounded || visits == visits_max, "a piece is whole unless it is the last");
    }
}

#[test]
fn a_walk_between_changes_sees_all_that_was_there_throughout() {
    replay(|seed| {
        let mut rng = Rng::new(seed);
        let mut names: Vec<_> = (0..100).map(|_| name(&mut rng)).collect();
        names.sort_unstable();
        names.dedup();
        let (steady, fickle): (Vec<_>, Vec<_>) = names.iter().partition(|_| rng.chance(1, 2));
        let mut retained = Retained::new();
        for name in &names {
            retained.set(TopicName::trusted(name), message(name, ""));
        }
        let like: String = rng.pick(&names).clone();
        let text = filter(&mut rng, &like);
        let mut seen: Vec<String> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let stint = Stint { visits_max: 3, looks_max: usize::try_from(5 + rng.below(50)).unwrap() };
            let visit = &mut |name: &str, _: &Message| seen.push(name.to_owned());
            let filter = TopicFilter::trusted(&text);
            after = retained.walk_some(filter, after.as_deref(), stint, visit).map(str::to_owned);
            if after.is_none() {
                break;
            }
            for _ in 0..rng.below(if fickle.is_empty() { 1 } else { 10 }) {
                let name = rng.pick(&fickle);
                if retained.remove(TopicName::trusted(name)).is_none() {
                    retained.set(TopicName::trusted(name), message(name, ""));
                }
            }
        }
        assert!(seen.is_sorted_by(|a, b| a < b), "each at most once, in order");
        assert!(seen.iter().all(|name| matches(&text, name)));
        for name in steady.iter().filter(|name| matches(&text, name)) {
            assert!(seen.contains(name), "{name:?} was there throughout the walk of {text:?}");
        }
    });
}
