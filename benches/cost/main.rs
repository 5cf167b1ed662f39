//! One scenario of layers 0 to 3, so many rounds, nothing else: what `benches/instructions` counts the instructions of.
//!
//! `cost SCENARIO` runs one, `cost --list` names all. Everything is the same on every run: hash seeds are fixed, there are no
//! clocks and no threads. What gets a scenario ready and its first rounds, after which all memory is there, are not counted.

mod codec;
mod engine;
#[path = "../support/message.rs"]
mod message;
#[path = "../support/packets.rs"]
mod packets;
mod session;
mod topic;
#[path = "../support/world.rs"]
mod world;

use std::hint::black_box;

/// Rounds that are counted. A multiple of what the scenarios go round, so that each of theirs has its turn as often.
const ROUNDS: u32 = 512;

/// A scenario that is ready: does its work once.
type Round = Box<dyn FnMut()>;

/// Work whose cost is of interest.
struct Scenario {
    name: String,
    /// How many deliveries, packets or lookups a round has: costs are given per one.
    operations: u32,
    ready: Box<dyn Fn() -> Round>,
}

impl Scenario {
    fn new<F: FnMut() + 'static>(name: String, operations: u32, ready: impl Fn() -> F + 'static) -> Self {
        Self { name, operations, ready: Box::new(move || Box::new(ready())) }
    }

    fn run(&self, rounds: u32) {
        let mut round = (self.ready)();
        // Memory grows and caches fill.
        (0..rounds).for_each(|_| round());
        counted_rounds(&mut round, rounds);
    }
}

/// What is counted: callgrind is told this name.
#[inline(never)]
fn counted_rounds(round: &mut Round, rounds: u32) {
    for _ in 0..rounds {
        black_box(&mut *round)();
    }
}

fn scenarios() -> Vec<Scenario> {
    [codec::scenarios(), topic::scenarios(), session::scenarios(), engine::scenarios()]
        .into_iter()
        .flatten()
        .collect()
}

fn main() {
    let scenarios = scenarios();
    match std::env::args().nth(1) {
        Some(word) if word == "--list" => {
            scenarios
                .iter()
                .for_each(|scenario| println!("{} {}", scenario.name, ROUNDS * scenario.operations));
        }
        Some(name) if !name.starts_with('-') => {
            let scenario = scenarios.iter().find(|scenario| scenario.name == name);
            scenario.unwrap_or_else(|| panic!("no scenario {name}")).run(ROUNDS);
        }
        // As criterion's benches do under `cargo test --benches`: everything once.
        _ => scenarios.iter().for_each(|scenario| scenario.run(1)),
    }
}
