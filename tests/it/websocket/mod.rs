//! MQTT over WebSocket, byte by byte and with real clients.

mod clients;
mod frames;
mod upgrade;

use crate::support::Broker;

/// A broker with two shards that listens on a WebSocket, with these settings, beside a plain listener.
fn broker(listener: &str) -> Broker {
    Broker::beside("ws", 2, "", listener)
}
