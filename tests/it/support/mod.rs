//! A broker to talk to, and raw bytes to talk with.

mod broker;
mod bytes;
mod raw;

pub(crate) use broker::Broker;
pub(crate) use bytes::{
    Connect, PINGREQ, PINGRESP, connack, packet, publish, publish_v5, suback, subscribe, subscribe_many, text,
};
pub(crate) use raw::Raw;

use std::time::{Duration, Instant};

/// How long anything may take. A bound for what never comes, not a measure of speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition holds that no socket announces.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}
