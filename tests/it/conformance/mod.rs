//! The standards, statement by statement, each exchange on brokers of one, two and four shards.

mod v311;

use crate::support::Broker;
use std::thread;

/// How many shards the brokers have.
const LAYOUTS: [u16; 3] = [1, 2, 4];

/// Runs a test against a broker of each layout.
pub(super) fn on_each_layout(test: impl Fn(&Broker) + Sync) {
    with_settings("", test);
}

/// The same with these settings.
pub(super) fn with_settings(settings: &str, test: impl Fn(&Broker) + Sync) {
    thread::scope(|scope| {
        for shards in LAYOUTS {
            let test = &test;
            scope.spawn(move || test(&Broker::sharded(shards, settings)));
        }
    });
}
