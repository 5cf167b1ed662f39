//! 4.1: session state.

use super::{acknowledged, clean, kept, leaves};
use crate::conformance::{on_each_layout, with_settings};
use crate::support::{Connect, connack, publish};

#[test]
fn mqtt_4_1_0_1_all_that_makes_a_session_outlives_its_connections() {
    on_each_layout(|broker| {
        let mut raw = kept(broker, "state", false);
        raw.subscribe("state/#", 2);
        // A QoS 2 message of the client's own that is not released, to see that its id is remembered.
        raw.send(&publish(4, "own", Some(77), b"x"));
        raw.expect(&[0x50, 2, 0, 77]);
        let mut publisher = clean(broker, "publisher");
        acknowledged(&mut publisher, "state/1", b"sent");
        raw.expect(&publish(2, "state/1", Some(1), b"sent"));
        publisher.send(&publish(4, "state/2", Some(2), b"received"));
        publisher.expect(&[0x50, 2, 0, 2]);
        raw.expect(&publish(4, "state/2", Some(2), b"received"));
        raw.send(&[0x50, 2, 0, 2]);
        raw.expect(&[0x62, 2, 0, 2]);
        leaves(raw);
        let mut watcher = clean(broker, "watcher");
        watcher.subscribe("own", 0);
        for round in 0..3u16 {
            acknowledged(&mut publisher, "state/3", b"waits");
            let mut raw = kept(broker, "state", true);
            // Sent, received, and waiting, in this order, and again and again.
            raw.expect(&publish(0xa, "state/1", Some(1), b"sent"));
            raw.expect(&[0x62, 2, 0, 2]);
            for earlier in 0..round {
                raw.expect(&publish(0xa, "state/3", Some(3 + earlier), b"waits"));
            }
            raw.expect(&publish(2, "state/3", Some(3 + round), b"waits"));
            raw.send(&publish(0xc, "own", Some(77), b"x"));
            raw.expect(&[0x50, 2, 0, 77]);
            leaves(raw);
        }
        // The message was taken before the watcher came, and its repetitions are not messages.
        acknowledged(&mut publisher, "own", b"new");
        watcher.expect(&publish(0, "own", None, b"new"));
    });
}

#[test]
fn mqtt_4_1_0_2_a_session_lasts_as_long_as_its_connection() {
    // Kept for as short a time as can be without a connection.
    with_settings("[session]\nexpiry_max_s = 1", |broker| {
        let mut with_clean = clean(broker, "clean");
        let mut with_kept = kept(broker, "kept", false);
        with_clean.subscribe("lasts", 1);
        with_kept.subscribe("lasts", 1);
        // One and a half seconds go by until this one is disconnected.
        let mut silent = broker.raw();
        silent.send(&Connect { keep_alive: 1, ..Connect::new("silent") }.bytes());
        silent.expect(&connack(false, 0));
        silent.expect_closed();
        acknowledged(&mut clean(broker, "publisher"), "lasts", b"x");
        with_clean.expect(&publish(2, "lasts", Some(1), b"x"));
        with_kept.expect(&publish(2, "lasts", Some(1), b"x"));
    });
}
