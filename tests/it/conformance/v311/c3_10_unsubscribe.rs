//! 3.10: UNSUBSCRIBE.

use super::{acknowledged, clean, closes, kept, nothing_but_the_mark, subscriber, unsubscribe};
use crate::conformance::on_each_layout;
use crate::support::{binary, packet, publish, text};

#[test]
fn mqtt_3_10_1_1_flags_of_unsubscribe_are_2_or_the_connection_is_closed() {
    on_each_layout(|broker| {
        for flags in (0..16).filter(|&flags| flags != 2) {
            closes(broker, "flags", &packet(0xa0 | flags, &[&[0, 1], &text("flags")]));
        }
    });
}

#[test]
fn mqtt_3_10_3_1_filters_that_are_not_utf_8_close_the_connection() {
    on_each_layout(|broker| {
        for bad in [&b"\xff"[..], b"\xed\xa0\x80", b"\xc3", b"a\0"] {
            closes(broker, "utf-8", &packet(0xa2, &[&[0, 1], &binary(bad)]));
            closes(broker, "utf-8", &packet(0xa2, &[&[0, 1], &text("a"), &binary(bad)]));
        }
    });
}

#[test]
fn mqtt_3_10_3_2_unsubscribe_without_a_filter_closes_the_connection() {
    on_each_layout(|broker| closes(broker, "empty", &packet(0xa2, &[&[0, 1]])));
}

#[test]
fn mqtt_3_10_4_1_only_the_very_same_filter_is_removed() {
    on_each_layout(|broker| {
        let mut raw = subscriber(broker, "subscriber", &[("a/+", 0), ("a/b", 0)]);
        let mut publisher = clean(broker, "publisher");
        // All of them match the same topics, or look the same, and are others.
        raw.send(&unsubscribe(1, &["a/#", "A/b", "a/b/", "/a/b", "#", "+/b", "a/B", "a/c"]));
        raw.expect(&[0xb0, 2, 0, 1]);
        acknowledged(&mut publisher, "a/b", b"x");
        raw.expect(&publish(0, "a/b", None, b"x"));
        acknowledged(&mut publisher, "a/c", b"x");
        raw.expect(&publish(0, "a/c", None, b"x"));
        raw.send(&unsubscribe(2, &["a/+"]));
        raw.expect(&[0xb0, 2, 0, 2]);
        acknowledged(&mut publisher, "a/c", b"not any more");
        acknowledged(&mut publisher, "a/b", b"x");
        raw.expect(&publish(0, "a/b", None, b"x"));
    });
}

#[test]
fn mqtt_3_10_4_2_nothing_new_comes_after_unsuback() {
    on_each_layout(|broker| {
        let mut raw = subscriber(broker, "subscriber", &[("ended/0", 0), ("ended/1", 1), ("ended/2", 2)]);
        raw.send(&unsubscribe(1, &["ended/0", "ended/1", "ended/2"]));
        raw.expect(&[0xb0, 2, 0, 1]);
        let mut publisher = clean(broker, "publisher");
        for topic in ["ended/0", "ended/1", "ended/2"] {
            publisher.send(&publish(4, topic, Some(1), b"x"));
            publisher.expect(&[0x50, 2, 0, 1]);
            publisher.send(&[0x62, 2, 0, 1]);
            publisher.expect(&[0x70, 2, 0, 1]);
        }
        nothing_but_the_mark(&mut publisher, &mut raw);
    });
}

#[test]
fn mqtt_3_10_4_3_deliveries_that_began_are_completed() {
    on_each_layout(|broker| {
        let mut raw = kept(broker, "subscriber", false);
        raw.subscribe("began", 2);
        let mut publisher = clean(broker, "publisher");
        publisher.send(&publish(4, "began", Some(1), b"2"));
        publisher.expect(&[0x50, 2, 0, 1]);
        acknowledged(&mut publisher, "began", b"1");
        raw.expect(&publish(4, "began", Some(1), b"2"));
        raw.expect(&publish(2, "began", Some(2), b"1"));
        raw.send(&unsubscribe(1, &["began"]));
        raw.expect(&[0xb0, 2, 0, 1]);
        drop(raw);
        let mut raw = kept(broker, "subscriber", true);
        raw.expect(&publish(0xc, "began", Some(1), b"2"));
        raw.expect(&publish(0xa, "began", Some(2), b"1"));
        raw.send(&[0x50, 2, 0, 1]);
        raw.expect(&[0x62, 2, 0, 1]);
    });
}

#[test]
fn mqtt_3_10_4_4_unsubscribe_is_answered_with_its_packet_id() {
    on_each_layout(|broker| {
        let mut raw = subscriber(broker, "subscriber", &[("a", 0)]);
        raw.send(&unsubscribe(0xabcd, &["a"]));
        raw.expect(&[0xb0, 2, 0xab, 0xcd]);
    });
}

#[test]
fn mqtt_3_10_4_5_unsubscribe_is_answered_when_nothing_was_removed() {
    on_each_layout(|broker| {
        let mut raw = clean(broker, "subscriber");
        for filter in ["never/subscribed", "#", "not#valid", ""] {
            raw.send(&unsubscribe(1, &[filter]));
            raw.expect(&[0xb0, 2, 0, 1]);
        }
    });
}

#[test]
fn mqtt_3_10_4_6_several_filters_have_one_answer() {
    on_each_layout(|broker| {
        let mut raw = subscriber(broker, "subscriber", &[("a", 0), ("b", 0), ("c", 0), ("d", 0)]);
        raw.send(&unsubscribe(5, &["a", "other", "c", "d", "a"]));
        raw.expect(&[0xb0, 2, 0, 5]);
        raw.expect_silence();
        let mut publisher = clean(broker, "publisher");
        for topic in ["a", "b", "c", "d"] {
            publisher.send(&publish(0, topic, None, b"x"));
        }
        raw.expect(&publish(0, "b", None, b"x"));
        nothing_but_the_mark(&mut publisher, &mut raw);
    });
}
