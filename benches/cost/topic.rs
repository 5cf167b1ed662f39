//! Layer 1: the trie at several sizes, and the match cache before it.

use super::Scenario;
use pantala::topic::{
    CacheBounds, MatchCache, Matches, Subscriber, SubscriptionFlags, TopicFilter, TopicName, Trie,
};
use pantala::types::{HashSeed, QoS, SessionKey};
use std::hint::black_box;
use std::rc::Rc;

/// Topics that a scenario goes round.
const ROUND: usize = 256;
const SIZES: [usize; 3] = [10, 1_000, 100_000];

/// A shape of filter, by number, and a topic that it matches.
type Shape = (&'static str, fn(usize) -> String, fn(usize) -> String);

const SHAPES: [Shape; 3] = [
    (
        "exact",
        |i| format!("site/{}/device/{i}/state", i % 100),
        |i| format!("site/{}/device/{i}/state", i % 100),
    ),
    (
        "plus",
        |i| format!("site/{}/device/{i}/+/value", i % 100),
        |i| format!("site/{}/device/{i}/heat/value", i % 100),
    ),
    ("hash", |i| format!("device-{i}/#"), |i| format!("device-{i}/sensor/temperature")),
];

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::parse(text, 128).expect("a filter")
}

fn subscriber(i: usize) -> Subscriber {
    Subscriber {
        session: SessionKey { slot: u32::try_from(i).expect("few"), generation: 0 },
        options: SubscriptionFlags::new(QoS::AtLeastOnce, false, false),
        subscription_id: 0,
    }
}

fn trie((_, pattern, _): Shape, filters: usize) -> Trie {
    let mut trie = Trie::new(HashSeed(7));
    for i in 0..filters {
        trie.subscribe(filter(&pattern(i)), subscriber(i));
    }
    trie
}

/// Topics that are matched by filters from all over the trie.
fn topics((_, _, topic): Shape, filters: usize) -> Rc<[String]> {
    (0..ROUND).map(|i| topic(i * 7_919 % filters)).collect()
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for shape in SHAPES {
        for filters in SIZES {
            all.push(matching(shape, filters));
            all.push(inserting(shape, filters));
        }
        all.push(cached(shape, "hit", CacheBounds::default()));
        // Room for a quarter of the topics: each has gone when its turn comes again.
        all.push(cached(shape, "miss", CacheBounds { entries_max: ROUND / 4, bytes_max: 64 << 20 }));
        all.push(stale(shape));
    }
    all.push(Scenario::new("topic/match/nothing/1000".into(), 1, || {
        let (trie, mut matches) = (trie(SHAPES[1], 1_000), Matches::new());
        move || {
            trie.matches(TopicName::trusted(black_box("site/7/unknown/device/heat/value")), &mut matches);
            assert!(matches.is_empty(), "nobody subscribes to it");
        }
    }));
    all
}

fn matching(shape: Shape, filters: usize) -> Scenario {
    Scenario::new(format!("topic/match/{}/{filters}", shape.0), 1, move || {
        let (trie, topics, mut matches) = (trie(shape, filters), topics(shape, filters), Matches::new());
        let mut turn = (0..ROUND).cycle();
        move || {
            matches.clear();
            trie.matches(TopicName::trusted(&topics[turn.next().expect("endless")]), &mut matches);
            assert_eq!(matches.locals.len(), 1);
        }
    })
}

/// A filter comes and goes.
fn inserting(shape: Shape, filters: usize) -> Scenario {
    Scenario::new(format!("topic/insert-remove/{}/{filters}", shape.0), 1, move || {
        let mut trie = trie(shape, filters);
        let fresh: Vec<_> = (filters..filters + ROUND).map(shape.1).collect();
        let mut turn = (0..ROUND).cycle();
        move || {
            let i = turn.next().expect("endless");
            let filter = filter(&fresh[i]);
            black_box(trie.subscribe(filter, subscriber(i)));
            black_box(trie.unsubscribe(filter, subscriber(i).session));
        }
    })
}

fn cached(shape: Shape, name: &str, bounds: CacheBounds) -> Scenario {
    Scenario::new(format!("topic/cache-{name}/{}/1000", shape.0), 1, move || {
        let (trie, topics) = (trie(shape, 1_000), topics(shape, 1_000));
        let mut cache = MatchCache::new(HashSeed(7), bounds);
        let mut turn = (0..ROUND).cycle();
        move || {
            let name = TopicName::trusted(&topics[turn.next().expect("endless")]);
            assert_eq!(cache.lookup(&trie, name).locals.len(), 1);
        }
    })
}

/// A filter has changed that may concern the topic.
fn stale(shape: Shape) -> Scenario {
    Scenario::new(format!("topic/cache-stale/{}/1000", shape.0), 1, move || {
        let (trie, topics) = (trie(shape, 1_000), topics(shape, 1_000));
        let mut cache = MatchCache::new(HashSeed(7), CacheBounds::default());
        move || {
            cache.on_change(filter(black_box("changed/+")));
            assert_eq!(cache.lookup(&trie, TopicName::trusted(&topics[0])).locals.len(), 1);
        }
    })
}
