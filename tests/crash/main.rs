//! The crash oracle: what a broker acknowledged is there after SIGKILL, whenever that comes.
//!
//! Publishers (QoS 1 and 2, retained messages that replace and clear each other), persistent subscribers that come and go,
//! and clients with wills talk to the real program over real sockets, 3.1.1 and 5.0, all driven by one seed. The program
//! is killed at random moments in the middle of it and started again on the same folder, with another number of shards
//! perhaps. Clients come back to their sessions and send again what was not acknowledged. [`ledger`] keeps the books:
//!
//! - A message that was acknowledged (PUBACK, PUBREC) reaches everybody whose subscription was acknowledged before it was
//!   sent: QoS 1 at least once, QoS 2 exactly once, in the order of each publisher and topic.
//! - The same for a group that shares a subscription, whose members come and go for good: it reaches one of them, QoS 2
//!   only one.
//! - What expired while it waited does not come, and what has not does, with the time that it has left.
//! - The retained message of a topic is the last one acknowledged or a later one; what was cleared stays cleared.
//! - Sessions are there whose CONNACK came, with their subscriptions; what was unsubscribed and who was forgotten
//!   stays so. Wills of clients that vanished are published.
//! - Who has acknowledged everything gets nothing again.
//!
//! ```text
//! cargo test --test crash                                                           a few kills
//! CRASH_KILLS=1000 CRASH_SEED=7 cargo test --test crash sigkill -- --nocapture      many
//! CRASH_CUTS=1000 CRASH_SEED=7 cargo test --test crash power_cut -- --nocapture     with the power cut at each kill
//! CRASH_STORE=none, os or fsync (the default)                                       what the broker promises
//! CRASH_EVENTS=2000                                                                 what clients say and hear in one life
//! CRASH_TRACE=1                                                                     tells all of it
//! ```
//!
//! What a client does depends on the seed alone, when the broker answers does not: a seed gives similar runs, not equal
//! ones. So a violation is told with the history of its message and the end of the broker's log.
//!
//! The oracle is tested as well: a broker that forgets has to fail it, and one that is not killed has to pass.

#![expect(clippy::disallowed_methods, reason = "tests bound how long they wait")]

mod audit;
mod broker;
mod ledger;
mod link;
mod mourned;
mod power;
mod publisher;
mod run;
mod subscriber;
mod wire;

use broker::Keeps;
use run::{Outcome, Plan, run};
use std::time::Duration;

/// How long anything may take. A bound for what never comes, not a measure of speed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Kills under plain `cargo test`.
const SMOKE: u64 = 5;
/// The seed under plain `cargo test`.
const SEED: u64 = 1;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn keeps() -> Keeps {
    match std::env::var("CRASH_STORE").as_deref() {
        Err(_) | Ok("fsync") => Keeps::Store("fsync"),
        Ok("os") => Keeps::Store("os"),
        Ok("none") => Keeps::Nothing,
        Ok(other) => panic!("CRASH_STORE={other} is neither fsync, os nor none"),
    }
}

fn plan(kills: u64, keeps: Keeps) -> Plan {
    let (seed, events) = (variable("CRASH_SEED").unwrap_or(SEED), variable("CRASH_EVENTS").unwrap_or(2_000));
    Plan { seed, kills, keeps, power: false, events }
}

fn holds(plan: Plan) {
    println!("seed {}", plan.seed);
    let Outcome { counts, told } = run(plan);
    println!("{counts:?}");
    assert!(counts.losses == 0 && counts.violations == 0, "seed {}: {counts:?}\n{told}", plan.seed);
    assert!(counts.acknowledged > 0 && counts.delivered > 0, "nothing happened: {counts:?}");
}

#[test]
fn nothing_acknowledged_is_lost_to_sigkill() {
    holds(plan(variable("CRASH_KILLS").unwrap_or(SMOKE), keeps()));
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let kills = variable("CRASH_CUTS").unwrap_or(SMOKE);
    holds(Plan { power: true, ..plan(kills, Keeps::Store("fsync")) });
}

#[test]
fn a_broker_that_is_not_killed_passes() {
    holds(plan(0, Keeps::Nothing));
}

#[test]
fn a_broker_that_forgets_fails() {
    let Outcome { counts, told } = run(plan(3, Keeps::Nothing));
    assert!(counts.losses > 0, "{counts:?}\n{told}");
}
