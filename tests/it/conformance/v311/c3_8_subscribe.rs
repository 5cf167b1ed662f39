//! 3.8: SUBSCRIBE.

use super::{acknowledged, clean, closes, kept, nothing_but_the_mark, retained, subscriber};
use crate::conformance::{on_each_layout, with_settings};
use crate::support::{binary, packet, publish, suback, subscribe, subscribe_many, text};

#[test]
fn mqtt_3_8_1_1_flags_of_subscribe_are_2_or_the_connection_is_closed() {
    on_each_layout(|broker| {
        for flags in (0..16).filter(|&flags| flags != 2) {
            closes(broker, "flags", &packet(0x80 | flags, &[&[0, 1], &text("flags"), &[0]]));
        }
    });
}

#[test]
fn mqtt_3_8_3_1_filters_that_are_not_utf_8_close_the_connection() {
    on_each_layout(|broker| {
        for bad in [&b"\xff"[..], b"\xed\xa0\x80", b"\xc3", b"a\0"] {
            closes(broker, "utf-8", &packet(0x82, &[&[0, 1], &binary(bad), &[0]]));
            closes(broker, "utf-8", &packet(0x82, &[&[0, 1], &text("a"), &[0], &binary(bad), &[0]]));
        }
    });
}

#[test]
fn mqtt_3_8_3_2_without_wildcards_filters_that_have_them_are_refused() {
    with_settings("[mqtt]\nwildcard_subscriptions = false", |broker| {
        let mut raw = clean(broker, "wildcards");
        raw.send(&subscribe_many(1, &[("a/+", 0), ("a", 1), ("#", 2)]));
        raw.expect(&packet(0x90, &[&[0, 1, 0x80, 1, 0x80]]));
    });
}

#[test]
fn mqtt_3_8_3_3_subscribe_without_a_filter_closes_the_connection() {
    on_each_layout(|broker| closes(broker, "empty", &packet(0x82, &[&[0, 1]])));
}

#[test]
fn mqtt_3_8_3_4_reserved_bits_and_qos_3_close_the_connection() {
    on_each_layout(|broker| {
        for options in [3, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xfe] {
            closes(broker, "options", &subscribe(1, "options", options));
            closes(broker, "options", &subscribe_many(1, &[("good", 1), ("options", options)]));
        }
    });
}

#[test]
fn mqtt_3_8_4_1_subscribe_is_answered_by_suback() {
    on_each_layout(|broker| {
        let mut raw = clean(broker, "answered");
        for filter in ["a", "a/b", "+", "#", "/", "a/+/b/#", "$SYS/#"] {
            raw.send(&subscribe(1, filter, 0));
            while raw.packet()[0] != 0x90 {}
        }
    });
}

#[test]
fn mqtt_3_8_4_2_suback_has_the_packet_id_of_its_subscribe() {
    on_each_layout(|broker| {
        let mut raw = clean(broker, "ids");
        // Several at once, too.
        let sent: Vec<u8> = (1..=300).flat_map(|id| subscribe(id, &format!("ids/{id}"), 0)).collect();
        raw.send(&sent);
        (1..=300).for_each(|id| raw.expect(&suback(id, 0)));
    });
}

#[test]
fn mqtt_3_8_4_3_the_same_filter_replaces_and_sends_retained_messages_again() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        retained(&mut publisher, "same/topic", b"kept");
        let mut raw = clean(broker, "subscriber");
        for (number, qos) in (1..).zip([2, 0, 0, 1]) {
            raw.send(&subscribe(number, "same/+", qos));
            raw.expect(&suback(number, qos));
            let retained = raw.packet();
            assert_eq!(retained[0], 0x31 | qos.min(1) << 1);
            // One subscription, with the new QoS.
            publisher.send(&publish(4, "same/topic", Some(number), b"live"));
            let live = raw.packet();
            assert_eq!(live[0], 0x30 | qos << 1);
            raw.expect_silence();
        }
    });
}

#[test]
fn mqtt_3_8_4_4_several_filters_count_as_several_subscriptions() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        retained(&mut publisher, "several/1", b"kept");
        let mut raw = clean(broker, "subscriber");
        // The last of two for the same filter holds.
        raw.send(&subscribe_many(9, &[("several/2", 0), ("several/1", 0), ("several/2", 1)]));
        raw.expect(&packet(0x90, &[&[0, 9, 0, 0, 1]]));
        raw.expect(&publish(1, "several/1", None, b"kept"));
        acknowledged(&mut publisher, "several/2", b"x");
        raw.expect(&publish(2, "several/2", Some(1), b"x"));
        acknowledged(&mut publisher, "several/1", b"x");
        raw.expect(&publish(0, "several/1", None, b"x"));
        raw.expect_silence();
    });
}

#[test]
fn mqtt_3_8_4_5_each_filter_has_its_code() {
    on_each_layout(|broker| {
        let mut raw = clean(broker, "codes");
        raw.send(&subscribe_many(1, &[("a", 2), ("a/#/b", 1), ("b", 1), ("", 0), ("c", 0), ("d+", 2)]));
        raw.expect(&packet(0x90, &[&[0, 1, 2, 0x80, 1, 0x80, 0, 0x80]]));
    });
}

#[test]
fn mqtt_3_8_4_6_messages_come_with_the_lower_of_both_qos() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        for granted in 0..=2 {
            let mut raw = kept(broker, &format!("granted-{granted}"), false);
            raw.subscribe("lower", granted);
            for published in 0..=2u8 {
                publisher.send(&publish(published << 1, "lower", (published > 0).then_some(9), b"x"));
                assert_eq!(raw.packet()[0], 0x30 | granted.min(published) << 1);
                match published {
                    1 => publisher.expect(&[0x40, 2, 0, 9]),
                    2 => {
                        publisher.expect(&[0x50, 2, 0, 9]);
                        publisher.send(&[0x62, 2, 0, 9]);
                        publisher.expect(&[0x70, 2, 0, 9]);
                    }
                    _ => {}
                }
            }
            raw.send(&super::unsubscribe(2, &["lower"]));
            raw.expect(&[0xb0, 2, 0, 2]);
        }
        let mut other = subscriber(broker, "other", &[]);
        nothing_but_the_mark(&mut publisher, &mut other);
    });
}
