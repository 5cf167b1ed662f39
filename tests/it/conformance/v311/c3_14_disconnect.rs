//! 3.14: DISCONNECT.

use super::{clean, closes, kept, nothing_but_the_mark, subscriber};
use crate::conformance::on_each_layout;
use crate::support::{Connect, connack, publish};

#[test]
fn mqtt_3_14_1_1_reserved_bits_of_disconnect_disconnect_as_a_violation() {
    on_each_layout(|broker| {
        let mut watcher = subscriber(broker, "watcher", &[("will", 0)]);
        for flags in 1..16 {
            closes(broker, "flags", &[0xe0 | flags, 0]);
            // It is not taken for a DISCONNECT: the will is published.
            let mut raw = broker.raw();
            let will = Some(("will", "rude", 0, false));
            raw.send(&Connect { will, ..Connect::new("with-will") }.bytes());
            raw.expect(&connack(false, 0));
            raw.send(&[0xe0 | flags, 0]);
            raw.expect_closed();
            watcher.expect(&publish(0, "will", None, b"rude"));
        }
    });
}

#[test]
fn mqtt_3_14_4_3_disconnect_discards_the_will() {
    on_each_layout(|broker| {
        let mut watcher = subscriber(broker, "watcher", &[("will", 0)]);
        for (id, clean) in [("clean", true), ("kept", false)] {
            let mut raw = broker.raw();
            let will = Some(("will", "never", 0, false));
            raw.send(&Connect { will, clean, ..Connect::new(id) }.bytes());
            raw.expect(&connack(false, 0));
            raw.send(&[0xe0, 0]);
            raw.expect_closed();
        }
        // The same client comes back, on the same shard: whatever it left behind was published by now.
        let mut back = kept(broker, "kept", true);
        nothing_but_the_mark(&mut back, &mut watcher);
        let mut back = clean(broker, "clean");
        nothing_but_the_mark(&mut back, &mut watcher);
    });
}
