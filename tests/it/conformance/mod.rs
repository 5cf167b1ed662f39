//! Conformance, statement by statement.
//!
//! Every numbered statement of the standards that binds a server has a test whose name begins with its number:
//! `mqtt_3_3_1_13_...` in `v5` for [MQTT-3.3.1-13] of 5.0, in `v311` for 3.1.1's. Bytes in, bytes out, and each exchange on
//! brokers of one, two and four shards: whether sessions live together or apart must not show. The statements are in
//! `v5.txt` and `v311.txt`; [`statements`] compares them with the tests and keeps `TABLE.md`.

mod statements;
mod v311;
mod v5;
mod violations;

use crate::support::Broker;
use std::thread;

/// How many shards an exchange runs on: all that the clients share, what a message has to cross, and more of it.
const LAYOUTS: [u16; 3] = [1, 2, 4];

/// Runs an exchange on a broker of each layout.
pub(super) fn on_each_layout(test: impl Fn(&Broker) + Sync) {
    with_settings("", test);
}

/// Runs an exchange on a broker of each layout with these settings.
pub(super) fn with_settings(settings: &str, test: impl Fn(&Broker) + Sync) {
    thread::scope(|scope| {
        for shards in LAYOUTS {
            let test = &test;
            // A panic tells the thread's name, and with it the layout.
            thread::Builder::new()
                .name(format!("{shards} shards"))
                .spawn_scoped(scope, move || test(&Broker::sharded(shards, settings)))
                .expect("a thread");
        }
    });
}
