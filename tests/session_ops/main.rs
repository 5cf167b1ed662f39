//! Sequences of operations on sessions, from pseudo-random bytes: what the fuzz target `session_ops` does, so that every
//! run of the tests does some of it.
//!
//! `OPS_RUNS=1000000 cargo test --release --test session_ops` does more, `OPS_SEED=7` one alone.

mod ops;
mod watcher;

use pantala::types::Rng;

/// Inputs under plain `cargo test`.
const INPUTS: u64 = 2_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn bytes(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let len = 100 + rng.below(5_000);
    (0..len).map(|_| rng.next_u64().to_le_bytes()[0]).collect()
}

/// Tells the seed when what it makes panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with: OPS_SEED={} cargo test --test session_ops", self.0);
        }
    }
}

#[test]
fn no_sequence_of_operations_makes_an_engine_do_what_it_may_not() {
    let seeds = match variable("OPS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("OPS_RUNS").unwrap_or(INPUTS),
    };
    for seed in seeds {
        let _told = Seed(seed);
        ops::run(&bytes(seed));
    }
}

#[test]
fn no_input_is_too_short() {
    (0..64).for_each(|len| ops::run(&vec![0xff; len]));
    ops::run(&[]);
}
