//! 3.2: CONNACK.

use super::{clean, connect_of, kept, leaves};
use crate::conformance::on_each_layout;
use crate::support::{Connect, PINGREQ, PINGRESP, connack, publish, suback, subscribe, text};

#[test]
fn mqtt_3_2_0_1_connack_comes_before_anything_else() {
    on_each_layout(|broker| {
        let mut raw = kept(broker, "first", false);
        raw.subscribe("first", 1);
        leaves(raw);
        let mut publisher = clean(broker, "publisher");
        super::acknowledged(&mut publisher, "first", b"waits");
        let mut raw = broker.raw();
        let connect = Connect { clean: false, ..Connect::new("first") }.bytes();
        raw.send(&[connect, PINGREQ.to_vec(), subscribe(5, "first", 1)].concat());
        raw.expect(&connack(true, 0));
        // SUBACK may wait for other shards, and nothing waits for it.
        let got = [raw.packet(), raw.packet(), raw.packet()];
        for packet in [publish(2, "first", Some(1), b"waits"), PINGRESP.to_vec(), suback(5, 1)] {
            assert!(got.contains(&packet), "{got:02x?}");
        }
    });
}

#[test]
fn mqtt_3_2_2_1_a_clean_session_is_not_present() {
    on_each_layout(|broker| {
        drop(clean(broker, "fresh"));
        drop(kept(broker, "fresh", false));
        // It discards a session that is there.
        drop(clean(broker, "fresh"));
    });
}

#[test]
fn mqtt_3_2_2_2_a_session_that_was_kept_is_present() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three", "four"] {
            drop(kept(broker, id, false));
            kept(broker, id, true).send(&[0xe0, 0]);
            drop(kept(broker, id, true));
        }
    });
}

#[test]
fn mqtt_3_2_2_3_a_session_that_was_not_kept_is_not_present() {
    on_each_layout(|broker| {
        drop(kept(broker, "never-seen", false));
        drop(clean(broker, "was-clean"));
        drop(kept(broker, "was-clean", false));
    });
}

#[test]
fn mqtt_3_2_2_4_a_refusal_has_session_present_0() {
    on_each_layout(|broker| {
        // The session of 3.1.1 is there, and the level that is not spoken cannot see it.
        drop(kept(broker, "there", false));
        let mut raw = broker.raw();
        raw.send(&Connect { clean: false, level: 2, ..Connect::new("there") }.bytes());
        raw.expect(&connack(false, 1));
        let mut raw = broker.raw();
        raw.send(&Connect { clean: false, ..Connect::new("") }.bytes());
        raw.expect(&connack(false, 2));
    });
}

#[test]
fn mqtt_3_2_2_5_the_connection_is_closed_after_a_refusal() {
    on_each_layout(|broker| {
        for (connect, code) in [
            (Connect { clean: false, ..Connect::new("") }, 2),
            (Connect { level: 1, ..Connect::new("level") }, 1),
        ] {
            let mut raw = broker.raw();
            raw.send(&connect.bytes());
            raw.expect(&connack(false, code));
            raw.expect_closed();
        }
    });
}

#[test]
fn mqtt_3_2_2_6_where_no_code_fits_the_connection_is_closed_without_connack() {
    on_each_layout(|broker| {
        // There is no code for a will that can never be published.
        for topic in ["", "will/#", "+"] {
            let mut raw = broker.raw();
            raw.send(&connect_of(6, &[&text("id"), &text(topic), &text("message")]));
            raw.expect_closed();
        }
        broker.serves();
    });
}
