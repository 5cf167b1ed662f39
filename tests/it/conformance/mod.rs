//! Conformance, statement by statement.
//!
//! Every numbered statement of the standards that binds a server has a test whose name begins with its number:
//! `mqtt_3_3_1_13_...` in `v5` for [MQTT-3.3.1-13] of 5.0, in `v311` for 3.1.1's. Bytes in, bytes out, and each exchange on
//! brokers of one, two and four shards, and through TLS, WebSocket and both: whether sessions live together or apart, and
//! what carries the bytes, must not show. The statements are in `v5.txt` and `v311.txt`; [`statements`] compares them with
//! the tests and keeps `TABLE.md`.

mod statements;
mod v311;
mod v5;
mod violations;

use crate::support::{Broker, Transport};
use std::thread;

/// What an exchange runs on. Shards: all that the clients share, what a message has to cross, and more of it.
const LAYOUTS: [(Transport, u16); 6] = [
    (Transport::Tcp, 1),
    (Transport::Tcp, 2),
    (Transport::Tcp, 4),
    (Transport::Tls, 2),
    (Transport::Ws, 2),
    (Transport::Wss, 2),
];

/// Runs an exchange on a broker of each layout.
pub(super) fn on_each_layout(test: impl Fn(&Broker) + Sync) {
    with_settings("", test);
}

/// Runs an exchange on a broker of each layout with these settings.
pub(super) fn with_settings(settings: &str, test: impl Fn(&Broker) + Sync) {
    thread::scope(|scope| {
        for (transport, shards) in LAYOUTS {
            let test = &test;
            // A panic tells the thread's name, and with it the layout.
            thread::Builder::new()
                .name(format!("{shards} shards, {}", transport.scheme()))
                .spawn_scoped(scope, move || test(&Broker::through(transport, shards, settings)))
                .expect("a thread");
        }
    });
}

/// Runs an exchange on brokers of every number of shards that listen on a WebSocket beside their plain listener.
pub(super) fn beside_websocket(test: impl Fn(&Broker)) {
    for shards in [1, 2, 4] {
        test(&Broker::beside("ws", shards, "", ""));
    }
}
