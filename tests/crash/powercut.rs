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
fn what_was_acknowledged_is_there_although_syncs_of_the_journal_failed() {
    for seed in 1..=2 {
        let mut world = World::new(seed, "fsync");
        world.life();
        world.outlives_failed_syncs(4);
        world.life();
        world.outlives_failed_syncs(4);
        world.end();
        assert!(world.ledger.violations.is_empty(), "seed {seed}:\n{}", world.ledger.violations.join("\n"));
    }
}

#[test]
fn a_failed_sync_of_the_settled_state_ends_the_broker_and_what_was_acknowledged_is_there() {
    for (seed, of) in [(1, "/slabs/"), (2, "/metadata/log_"), (3, "/settled/position")] {
        let mut world = World::new(seed, "fsync");
        world.life();
        let (status, log) = world.dies_of_a_failed_sync(of);
        // EX_IOERR
        assert_eq!(status.code(), Some(74), "{of}: {log}");
        assert!(
            log.contains("the store has failed and the broker ends; what was acknowledged is kept"),
            "{log}"
        );
        world.end();
        assert!(world.ledger.violations.is_empty(), "{of}:\n{}", world.ledger.violations.join("\n"));
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
