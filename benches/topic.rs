//! Subscriptions and retained messages of one core: the trie at four sizes, the match cache, the retained index.
//!
//! Prints memory per filter first. Under `cargo test --benches` everything runs once with few filters.

#[path = "support/suite.rs"]
mod suite;

use criterion::measurement::{Measurement, WallTime};
use criterion::{BatchSize, BenchmarkId, Criterion};
use pantala::topic::{
    CacheBounds, MatchCache, Matches, Retained, Stint, Subscriber, SubscriptionFlags, TopicFilter, TopicName,
    Trie,
};
use pantala::types::{Delivery, HashSeed, Message, Now, QoS, Rng, SessionKey};
use std::hint::black_box;
use std::time::Duration;

const LEVELS_MAX: u16 = 128;
const SITES: usize = 100;
/// Topics that a benchmark goes round, so that the memory of one filter is not always at hand.
const ROUND: usize = 4_096;

/// `cargo bench` says `--bench`; anything else is criterion's test mode.
fn quick() -> bool {
    std::env::args().all(|arg| arg != "--bench")
}

fn sizes() -> &'static [usize] {
    if quick() { &[10, 1_000] } else { &[10, 1_000, 100_000, 1_000_000] }
}

/// What is asked of the retained messages, and how they are named.
const WALKS: [(&str, &str); 4] = [
    ("all", "#"),
    ("one-site", "site/7/+/+/state"),
    ("plus-first", "+/7/#"),
    ("plus-inside", "site/+/device/7/state"),
];

/// Of a walk through retained messages.
const CHUNK: Stint = Stint { visits_max: 64, looks_max: usize::MAX };

/// What each of the filters of a trie looks like.
#[derive(Clone, Copy)]
enum Shape {
    Exact,
    Wildcard,
    Below,
}

impl Shape {
    const ALL: [Self; 3] = [Self::Exact, Self::Wildcard, Self::Below];

    fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Wildcard => "plus",
            Self::Below => "hash",
        }
    }

    fn filter(self, i: usize) -> String {
        let site = i % SITES;
        match self {
            Self::Exact => format!("site/{site}/device/{i}/state"),
            Self::Wildcard => format!("site/{site}/device/{i}/+/value"),
            Self::Below => format!("device-{i}/#"),
        }
    }

    fn topic(self, i: usize) -> String {
        let site = i % SITES;
        match self {
            Self::Exact => format!("site/{site}/device/{i}/state"),
            Self::Wildcard => format!("site/{site}/device/{i}/temperature/value"),
            Self::Below => format!("device-{i}/sensor/temperature"),
        }
    }

    fn trie(self, filters: usize) -> Trie {
        let mut trie = Trie::new(HashSeed(7));
        for i in 0..filters {
            trie.subscribe(filter(&self.filter(i)), subscriber(i));
        }
        trie
    }

    fn topics(self, filters: usize) -> Vec<String> {
        let mut rng = Rng::new(1);
        (0..ROUND)
            .map(|_| self.topic(usize::try_from(rng.below(filters as u64)).expect("below a usize")))
            .collect()
    }
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::parse(text, LEVELS_MAX).expect("a filter")
}

fn subscriber(i: usize) -> Subscriber {
    Subscriber {
        session: SessionKey { slot: u32::try_from(i).expect("few sessions"), generation: 0 },
        options: SubscriptionFlags::new(QoS::AtLeastOnce, false, false),
        subscription_id: 0,
    }
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<usize>().ok()).expect("proc(5)");
    pages * 4_096
}

/// Each trie is loaded in a process of its own: memory that one gave back would hide what the next one takes.
fn report_memory() {
    let program = std::env::current_exe().expect("this program");
    for shape in Shape::ALL {
        let mut child = std::process::Command::new(&program);
        let quick = if quick() { "--test" } else { "--bench" };
        let status = child.args([quick, "--memory", shape.name()]).status().expect("this program runs again");
        assert!(status.success(), "a million filters load");
    }
}

fn report_memory_of(shape: Shape) {
    let filters = if quick() { 10_000 } else { 1_000_000 };
    let before = resident();
    let trie = shape.trie(filters);
    let bytes = resident().saturating_sub(before) / trie.len();
    let mut matches = Matches::new();
    trie.matches(TopicName::trusted(&shape.topic(0)), &mut matches);
    let (name, visited) = (shape.name(), matches.visited());
    println!("memory {name}: {bytes} bytes per filter at {filters}; a lookup visits {visited} nodes");
}

fn trie(c: &mut Criterion) {
    for shape in Shape::ALL {
        for &filters in sizes() {
            let mut trie = shape.trie(filters);
            let topics = shape.topics(filters);
            let names: Vec<_> = topics.iter().map(|text| TopicName::trusted(text)).collect();
            let mut matches = Matches::new();
            let mut turn = (0..ROUND).cycle();
            c.bench_with_input(
                BenchmarkId::new(format!("topic/match/{}", shape.name()), filters),
                &names,
                |b, names| {
                    b.iter(|| {
                        matches.clear();
                        trie.matches(names[turn.next().expect("endless")], &mut matches);
                        matches.locals.len()
                    });
                },
            );
            changes(c, shape, filters, &mut trie);
        }
    }
    let filters = *sizes().last().expect("several sizes");
    let mut group = c.benchmark_group("topic/load");
    group.sample_size(10);
    for shape in Shape::ALL {
        group.bench_function(BenchmarkId::new(shape.name(), filters), |b| {
            b.iter_batched(|| (), |()| shape.trie(filters), BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Filters that come and go, a few at a time so that the trie keeps its size; the clock stands while they go the other way.
fn changes(c: &mut Criterion, shape: Shape, filters: usize, trie: &mut Trie) {
    const AT_ONCE: usize = 16;
    let fresh: Vec<_> = (filters..filters + ROUND).map(|i| shape.filter(i)).collect();
    for (name, timed) in [("insert", Change::Comes), ("remove", Change::Goes)] {
        let id = format!("topic/{name}/{}/{filters}", shape.name());
        let mut rounds = fresh.chunks(AT_ONCE).cycle();
        c.bench_function(&id, |b| {
            b.iter_custom(|count| {
                let (mut left, mut spent) = (usize::try_from(count).expect("few"), Duration::ZERO);
                while left > 0 {
                    let some = rounds.next().expect("endless");
                    let some = &some[..left.min(AT_ONCE)];
                    left -= some.len();
                    for change in [Change::Comes, Change::Goes] {
                        let took = WallTime.start();
                        some.iter().enumerate().for_each(|(i, text)| change.apply(trie, text, i));
                        if change == timed {
                            spent += WallTime.end(took);
                        }
                    }
                }
                spent
            });
        });
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Change {
    Comes,
    Goes,
}

impl Change {
    fn apply(self, trie: &mut Trie, text: &str, i: usize) {
        match self {
            Self::Comes => _ = black_box(trie.subscribe(filter(text), subscriber(i))),
            Self::Goes => _ = black_box(trie.unsubscribe(filter(text), subscriber(i).session)),
        }
    }
}

fn no_match(c: &mut Criterion) {
    for &filters in sizes() {
        let trie = Shape::Wildcard.trie(filters);
        let name = TopicName::trusted("site/7/unknown/device/temperature/value");
        let mut matches = Matches::new();
        c.bench_function(&format!("topic/match/nothing/{filters}"), |b| {
            b.iter(|| {
                trie.matches(black_box(name), &mut matches);
                matches.is_empty()
            });
        });
    }
}

fn cache(c: &mut Criterion) {
    let filters = *sizes().last().expect("several sizes");
    for shape in [Shape::Exact, Shape::Wildcard] {
        let trie = shape.trie(filters);
        let topics = shape.topics(filters);
        let names: Vec<_> = topics.iter().map(|text| TopicName::trusted(text)).collect();
        let mut cache = MatchCache::new(HashSeed(7), CacheBounds::default());
        c.bench_function(&format!("topic/cache-hit-one/{}/{filters}", shape.name()), |b| {
            b.iter(|| cache.lookup(&trie, black_box(names[0])).locals.len());
        });
        let mut turn = (0..ROUND).cycle();
        c.bench_function(&format!("topic/cache-hit-{ROUND}/{}/{filters}", shape.name()), |b| {
            b.iter(|| cache.lookup(&trie, names[turn.next().expect("endless")]).locals.len());
        });
        let change = filter("changed/+");
        c.bench_function(&format!("topic/cache-stale-one/{}/{filters}", shape.name()), |b| {
            b.iter(|| {
                cache.on_change(change);
                cache.lookup(&trie, black_box(names[0])).locals.len()
            });
        });
        let mut small =
            MatchCache::new(HashSeed(7), CacheBounds { entries_max: ROUND / 4, bytes_max: 64 << 20 });
        c.bench_function(&format!("topic/cache-miss-{ROUND}/{}/{filters}", shape.name()), |b| {
            b.iter(|| small.lookup(&trie, names[turn.next().expect("endless")]).locals.len());
        });
    }
}

fn retained(c: &mut Criterion) {
    for &messages in sizes() {
        let delivery = Delivery { qos: QoS::AtMostOnce, retain: true, received: Now(0), expiry: None };
        let message = |text: &str| Message::new(text, b"", &[0; 64], delivery);
        let mut retained = Retained::new();
        for i in 0..messages {
            let topic = Shape::Exact.topic(i);
            retained.set(TopicName::trusted(&topic), message(&topic));
        }
        let topics = Shape::Exact.topics(messages);
        let mut turn = (0..ROUND).cycle();
        c.bench_function(&format!("topic/retained-exact/{messages}"), |b| {
            b.iter(|| {
                let name = TopicName::trusted(&topics[turn.next().expect("endless")]);
                retained.exact(name).map(Message::size)
            });
        });
        c.bench_function(&format!("topic/retained-set/{messages}"), |b| {
            b.iter_batched(
                || {
                    turn.next()
                        .map(|i| (TopicName::trusted(&topics[i]), message(&topics[i])))
                        .expect("endless")
                },
                |(name, message)| retained.set(name, message),
                BatchSize::SmallInput,
            );
        });
        for (name, pattern) in WALKS {
            c.bench_function(&format!("topic/retained-walk-64/{name}/{messages}"), |b| {
                b.iter(|| {
                    let mut bytes = 0;
                    let visit = &mut |_: &str, message: &Message| bytes += message.size();
                    let after =
                        retained.walk_some(filter(black_box(pattern)), None, CHUNK, visit).map(str::len);
                    (after, bytes)
                });
            });
        }
    }
}

fn main() {
    if let Some(name) = std::env::args().skip_while(|arg| arg != "--memory").nth(1) {
        return Shape::ALL.into_iter().filter(|shape| shape.name() == name).for_each(report_memory_of);
    }
    report_memory();
    let mut criterion = suite::criterion();
    trie(&mut criterion);
    no_match(&mut criterion);
    cache(&mut criterion);
    retained(&mut criterion);
    criterion.final_summary();
}
