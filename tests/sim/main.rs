//! The deterministic simulator: several engines, links, sockets and random clients on one thread from one seed, checked
//! call by call against a shadow that does everything the slow obvious way.
//!
//! - `cargo test --test sim` runs a few hundred seeds and those of `seeds.txt`, which failed once.
//! - `SIM_SEED=7 cargo test --test sim` replays one seed and tells what happens in it.
//! - `SIM_RUNS=100000 cargo test --release --test sim` runs many.
//!
//! A failure prints its seed, what was wrong, and the last steps before it.

mod client;
mod dice;
mod faults;
mod misheard;
mod oracle;
mod shadow;
mod shard;
mod shares;
mod socket;
mod stored;
mod trace;
mod workload;
mod world;

use faults::Mutant;
use oracle::Verdict;
use shares::Shares;
use std::panic::{AssertUnwindSafe, catch_unwind};
use stored::{Bug, Stored};
use world::World;

/// Seeds under plain `cargo test`.
const SMOKE: u64 = 300;
/// The same of stores, each of which is many brokers.
const SMOKE_OF_STORES: u64 = 60;
/// Seeds within which a seeded bug has to be found.
const FOUND_WITHIN: u64 = 60;
/// Steps told of a failed run.
const TOLD: usize = 80;

/// Lives through a seed in one of the worlds; the story is what was told on the way.
type Run = fn(u64, Option<Mutant>, bool) -> (Verdict, Vec<String>);

/// Everything but shared subscriptions.
fn world(seed: u64, mutant: Option<Mutant>, loud: bool) -> (Verdict, Vec<String>) {
    let mut world = World::new(seed, mutant);
    world.loud = loud;
    (caught(|| world.run()), world.story)
}

/// Shared subscriptions.
fn shares(seed: u64, mutant: Option<Mutant>, loud: bool) -> (Verdict, Vec<String>) {
    let mut shares = Shares::new(seed, mutant);
    shares.loud = loud;
    (caught(|| shares.run()), shares.story)
}

/// Brokers that end and begin again, on one disk.
fn stored(seed: u64, bug: Option<Bug>, loud: bool) -> (Verdict, Vec<String>) {
    let mut story = Vec::new();
    let verdict = caught(|| {
        let mut stored = Stored::new(seed, bug)?;
        stored.loud = loud;
        let verdict = caught(|| stored.run());
        story = std::mem::take(&mut stored.story);
        verdict
    });
    (verdict, story)
}

/// The same without bugs.
fn lasting(seed: u64, _: Option<Mutant>, loud: bool) -> (Verdict, Vec<String>) {
    stored(seed, None, loud)
}

/// A panic is a verdict too.
fn caught(run: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref().map(|s: &&str| (*s).to_owned())).unwrap_or_default())
    })
}

/// Runs a seed and, if it fails, runs it once more to tell how that came about.
fn check(run: Run, seed: u64) {
    let (Err(wrong), _) = run(seed, None, false) else { return };
    let (_, story) = run(seed, None, true);
    let told = &story[story.len().saturating_sub(TOLD)..];
    panic!("{}\n\n{wrong}\n\nreplay with: SIM_SEED={seed} cargo test --test sim", told.join("\n"));
}

fn check_all(run: Run, smoke: u64) {
    if let Some(seed) = variable("SIM_SEED") {
        let (verdict, story) = run(seed, None, true);
        println!("{}", story.join("\n"));
        return verdict.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
    (0..variable("SIM_RUNS").unwrap_or(smoke)).for_each(|seed| check(run, seed));
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

#[test]
fn every_seed_holds() {
    check_all(world, SMOKE);
}

#[test]
fn every_seed_of_shared_subscriptions_holds() {
    check_all(shares, SMOKE);
}

#[test]
fn every_seed_of_stores_holds() {
    check_all(lasting, SMOKE_OF_STORES);
}

#[test]
fn seeds_that_failed_once_hold() {
    for (run, list) in [
        (world as Run, include_str!("seeds.txt")),
        (shares, include_str!("shares/seeds.txt")),
        (lasting, include_str!("stored/seeds.txt")),
    ] {
        let lines = list.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        lines.filter(|seed| !seed.is_empty()).for_each(|seed| check(run, seed.parse().expect("a seed")));
    }
}

#[test]
fn a_seed_always_tells_the_same_story() {
    for run in [world as Run, shares, lasting] {
        let told = |seed| run(seed, None, true).1;
        assert_eq!(told(3), told(3));
        assert_ne!(told(3), told(4));
    }
}

#[test]
fn every_seeded_bug_is_found() {
    for (run, mutants) in [(world as Run, &Mutant::ALL[..]), (shares, &Mutant::SHARED)] {
        for &mutant in mutants {
            let found = (0..FOUND_WITHIN).find(|&seed| run(seed, Some(mutant), false).0.is_err());
            assert!(found.is_some(), "{mutant:?} was not found within {FOUND_WITHIN} seeds");
        }
    }
}

#[test]
fn every_seeded_bug_of_the_store_is_found() {
    for bug in Bug::ALL {
        let found = (0..FOUND_WITHIN).find(|&seed| stored(seed, Some(bug), false).0.is_err());
        assert!(found.is_some(), "{bug:?} was not found within {FOUND_WITHIN} seeds");
    }
}
