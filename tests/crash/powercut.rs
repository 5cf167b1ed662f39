//! Power cuts under the real broker: whatever it acknowledged is there afterwards.
//!
//! A publisher sends QoS 1, QoS 2 and retained messages to clients with lasting sessions. In the middle of it the broker is
//! killed, its folder becomes what a disk would have without power (see [`power`]), and it starts again on that.
//!
//! - `cargo test --test powercut` cuts a few times.
//! - `POWER_CUTS=1000 POWER_SEED=7 cargo test --test powercut -- --nocapture` cuts often, and prints what was lost.

#[path = "powercut/client.rs"]
mod client;
#[path = "powercut/ledger.rs"]
mod ledger;
mod power;
#[path = "powercut/world.rs"]
mod world;

use std::time::Duration;
use world::World;

/// How long anything may take. A bound for what never comes, not a measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Cuts under plain `cargo test`.
const FEW: u64 = 5;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut() {
    let (cuts, seed) = (number("POWER_CUTS").unwrap_or(FEW), number("POWER_SEED").unwrap_or(1));
    let mut world = World::new(seed, "fsync");
    for _ in 0..cuts {
        world.life();
    }
    world.end();
    println!("seed {seed}: {world}");
    assert!(world.ledger.violations.is_empty(), "seed {seed}:\n{}", world.ledger.violations.join("\n"));
}

#[test]
fn a_store_that_was_just_made_survives_a_power_cut() {
    for seed in 1..=12 {
        let mut world = World::new(seed, "fsync");
        world.life();
        assert!(world.ledger.violations.is_empty(), "seed {seed}:\n{}", world.ledger.violations.join("\n"));
    }
}

#[test]
fn acknowledgements_without_a_sync_are_found_out() {
    // durability = "os" promises nothing for power cuts.
    let found = (1..=20).any(|seed| {
        let mut world = World::new(seed, "os");
        (0..FEW).for_each(|_| world.life());
        world.end();
        !world.ledger.violations.is_empty()
    });
    assert!(found, "20 brokers that do not sync lost nothing");
}

#[test]
fn everything_that_the_broker_does_to_its_files_is_recorded() {
    let mut world = World::new(3, "fsync");
    world.life();
    assert_eq!(world.stop(), Vec::<String>::new());
}
