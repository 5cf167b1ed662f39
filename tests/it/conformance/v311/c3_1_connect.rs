//! 3.1.0 to 3.1.2: CONNECT's variable header.

use super::{
    MARK, acknowledged, clean, closes, closes_at_once, connect_of, established, kept, latecomer,
    nothing_but_the_mark, retained, subscriber,
};
use crate::conformance::on_each_layout;
use crate::support::{Broker, Connect, PINGREQ, Raw, connack, packet, publish, subscribe, text};

/// A client with a will: QoS and RETAIN as given, topic "will", the client id as the message.
#[track_caller]
fn with_will(broker: &Broker, id: &str, qos: u8, retain: bool) -> Raw {
    let mut raw = broker.raw();
    raw.send(&Connect { will: Some(("will", id, qos, retain)), ..Connect::new(id) }.bytes());
    raw.expect(&connack(false, 0));
    raw
}

#[test]
fn mqtt_3_1_0_1_whatever_comes_before_connect_closes_the_connection() {
    on_each_layout(|broker| {
        for first in [publish(0, "a", None, b"x"), PINGREQ.to_vec(), subscribe(1, "a", 0), vec![0xe0, 0]] {
            closes_at_once(broker, &first);
            // Also when CONNECT follows at once.
            closes_at_once(broker, &[first, Connect::new("late").bytes()].concat());
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_0_2_a_second_connect_disconnects() {
    on_each_layout(|broker| {
        closes(broker, "twice", &Connect::new("twice").bytes());
        closes(broker, "twice", &Connect::new("another").bytes());
        closes(broker, "twice", &Connect::v5("twice").bytes());
    });
}

#[test]
fn mqtt_3_1_2_1_another_protocol_name_is_not_processed() {
    on_each_layout(|broker| {
        for name in ["", "MQT", "mqtt", "MQTTT", "MQIsd", "HTTP"] {
            closes_at_once(broker, &packet(0x10, &[&text(name), &[4, 2, 0, 0], &text("name")]));
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_2_2_a_level_that_is_not_supported_is_told_so() {
    on_each_layout(|broker| {
        for level in [0, 1, 2] {
            let mut raw = broker.raw();
            raw.send(&packet(0x10, &[&text("MQTT"), &[level, 2, 0, 0], &text("level")]));
            raw.expect(&connack(false, 1));
            raw.expect_closed();
        }
    });
}

#[test]
fn mqtt_3_1_2_3_the_reserved_flag_disconnects() {
    on_each_layout(|broker| {
        for flags in [0x01, 0x03] {
            closes_at_once(broker, &connect_of(flags, &[&text("reserved")]));
        }
        closes_at_once(broker, &connect_of(0x07, &[&text("reserved"), &text("will"), &text("x")]));
    });
}

#[test]
fn mqtt_3_1_2_4_a_session_is_resumed_with_its_subscriptions_or_created() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        for id in ["first", "second", "third"] {
            let mut raw = kept(broker, id, false);
            raw.subscribe("resumed", 0);
            drop(raw);
            let mut raw = kept(broker, id, true);
            publisher.send(&publish(0, "resumed", None, id.as_bytes()));
            raw.expect(&publish(0, "resumed", None, id.as_bytes()));
        }
    });
}

#[test]
fn mqtt_3_1_2_5_qos_1_and_2_are_stored_for_a_client_that_is_away() {
    on_each_layout(|broker| {
        let mut raw = kept(broker, "sleeper", false);
        raw.subscribe("one", 1);
        raw.subscribe("two", 2);
        raw.send(&[0xe0, 0]);
        raw.expect_closed();
        let mut publisher = clean(broker, "publisher");
        acknowledged(&mut publisher, "one", b"1");
        publisher.send(&publish(4, "two", Some(2), b"2"));
        publisher.expect(&[0x50, 2, 0, 2]);
        let mut raw = kept(broker, "sleeper", true);
        raw.expect(&publish(2, "one", Some(1), b"1"));
        raw.expect(&publish(4, "two", Some(2), b"2"));
    });
}

#[test]
fn mqtt_3_1_2_6_a_clean_session_begins_empty_and_leaves_nothing() {
    on_each_layout(|broker| {
        let mut raw = kept(broker, "cleaned", false);
        raw.subscribe("cleaned", 1);
        drop(raw);
        let mut publisher = clean(broker, "publisher");
        acknowledged(&mut publisher, "cleaned", b"waits");
        let mut raw = subscriber(broker, "cleaned", &[("of-the-clean-one", 1)]);
        acknowledged(&mut publisher, "cleaned", b"not subscribed any more");
        nothing_but_the_mark(&mut publisher, &mut raw);
        drop(raw);
        let mut raw = kept(broker, "cleaned", false);
        raw.subscribe(MARK, 0);
        acknowledged(&mut publisher, "of-the-clean-one", b"x");
        nothing_but_the_mark(&mut publisher, &mut raw);
    });
}

#[test]
fn mqtt_3_1_2_7_retained_messages_outlive_the_session_of_their_publisher() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        retained(&mut publisher, "outlives", b"x");
        publisher.send(&[0xe0, 0]);
        publisher.expect_closed();
        drop(clean(broker, "publisher"));
        let mut raw = clean(broker, "later");
        raw.subscribe("outlives", 0);
        raw.expect(&publish(1, "outlives", None, b"x"));
    });
}

#[test]
fn mqtt_3_1_2_8_a_will_is_published_however_the_connection_ends_without_disconnect() {
    on_each_layout(|broker| {
        let mut watcher = subscriber(broker, "watcher", &[("will", 0)]);
        drop(with_will(broker, "closed", 0, false));
        watcher.expect(&publish(0, "will", None, b"closed"));
        let mut violator = with_will(broker, "violator", 0, false);
        violator.send(&[0xf0, 0]);
        violator.expect_closed();
        watcher.expect(&publish(0, "will", None, b"violator"));
        let mut first = with_will(broker, "taken", 0, false);
        let _second = clean(broker, "taken");
        first.expect_closed();
        watcher.expect(&publish(0, "will", None, b"taken"));
        // Not while it lives.
        let mut alive = with_will(broker, "alive", 0, false);
        nothing_but_the_mark(&mut alive, &mut watcher);
    });
}

#[test]
fn mqtt_3_1_2_9_a_will_has_its_qos_and_retain_and_needs_topic_and_message() {
    on_each_layout(|broker| {
        closes_at_once(broker, &connect_of(6, &[&text("lacks")]));
        closes_at_once(broker, &connect_of(6, &[&text("lacks"), &text("will")]));
        for (id, qos, retain) in [("will-0", 0, false), ("will-1", 1, true), ("will-2", 2, false)] {
            let mut watcher = established(broker, "watcher", "will", 2);
            drop(with_will(broker, id, qos, retain));
            let packet_id = (qos > 0).then_some(2);
            watcher.expect(&publish(qos << 1, "will", packet_id, id.as_bytes()));
            let mut later = latecomer(broker, "later");
            later.subscribe("will", 2);
            let (qos, payload) = if retain { (qos, id) } else { (1, "earlier") };
            later.expect(&publish(qos << 1 | 1, "will", Some(1), payload.as_bytes()));
        }
    });
}

#[test]
fn mqtt_3_1_2_10_a_will_is_published_once_and_not_after_disconnect() {
    on_each_layout(|broker| {
        let mut watcher = subscriber(broker, "watcher", &[("will", 0)]);
        drop(with_will(broker, "once", 0, false));
        watcher.expect(&publish(0, "will", None, b"once"));
        // The same client, without a will now.
        drop(clean(broker, "once"));
        let mut polite = with_will(broker, "polite", 0, false);
        polite.send(&[0xe0, 0]);
        polite.expect_closed();
        drop(polite);
        for id in ["once", "polite"] {
            let mut back = clean(broker, id);
            nothing_but_the_mark(&mut back, &mut watcher);
        }
    });
}

#[test]
fn mqtt_3_1_2_11_without_the_will_flag_nothing_of_a_will_may_be_there() {
    on_each_layout(|broker| {
        for flags in [0x0a, 0x12, 0x22, 0x2a, 0x32] {
            closes_at_once(broker, &connect_of(flags, &[&text("no-will")]));
        }
        closes_at_once(broker, &connect_of(2, &[&text("no-will"), &text("will"), &text("message")]));
    });
}

#[test]
fn mqtt_3_1_2_12_without_a_will_nothing_is_published() {
    on_each_layout(|broker| {
        let mut watcher = subscriber(broker, "watcher", &[("#", 0)]);
        drop(clean(broker, "without"));
        let mut back = clean(broker, "without");
        nothing_but_the_mark(&mut back, &mut watcher);
    });
}

#[test]
fn mqtt_3_1_2_13_will_qos_without_the_will_flag_closes_the_connection() {
    on_each_layout(|broker| {
        for qos in 1..=3 {
            closes_at_once(broker, &connect_of(2 | qos << 3, &[&text("qos")]));
        }
    });
}

#[test]
fn mqtt_3_1_2_14_will_qos_3_closes_the_connection() {
    on_each_layout(|broker| {
        closes_at_once(broker, &connect_of(0x1e, &[&text("qos"), &text("will"), &text("x")]));
        closes_at_once(broker, &connect_of(0x3e, &[&text("qos"), &text("will"), &text("x")]));
    });
}

#[test]
fn mqtt_3_1_2_15_will_retain_without_the_will_flag_closes_the_connection() {
    on_each_layout(|broker| closes_at_once(broker, &connect_of(0x22, &[&text("retain")])));
}

#[test]
fn mqtt_3_1_2_16_a_will_without_will_retain_is_not_retained() {
    on_each_layout(|broker| {
        let mut watcher = subscriber(broker, "watcher", &[("will", 1)]);
        drop(with_will(broker, "passing", 1, false));
        watcher.expect(&publish(2, "will", Some(1), b"passing"));
        let mut later = latecomer(broker, "later");
        later.subscribe("will", 0);
        later.subscribe(MARK, 0);
        nothing_but_the_mark(&mut clean(broker, "publisher"), &mut later);
    });
}

#[test]
fn mqtt_3_1_2_17_a_will_with_will_retain_is_retained() {
    on_each_layout(|broker| {
        let mut watcher = established(broker, "watcher", "will", 0);
        drop(with_will(broker, "stays", 1, true));
        watcher.expect(&publish(0, "will", None, b"stays"));
        let mut later = latecomer(broker, "later");
        later.subscribe("will", 0);
        later.expect(&publish(1, "will", None, b"stays"));
    });
}

#[test]
fn mqtt_3_1_2_18_a_user_name_without_its_flag_closes_the_connection() {
    on_each_layout(|broker| closes_at_once(broker, &connect_of(2, &[&text("user"), &text("name")])));
}

#[test]
fn mqtt_3_1_2_19_the_user_name_flag_needs_a_user_name() {
    on_each_layout(|broker| {
        closes_at_once(broker, &connect_of(0x82, &[&text("user")]));
        let mut raw = broker.raw();
        raw.send(&connect_of(0x82, &[&text("user"), &text("name")]));
        raw.expect(&connack(false, 0));
    });
}

#[test]
fn mqtt_3_1_2_20_a_password_without_its_flag_closes_the_connection() {
    on_each_layout(|broker| {
        closes_at_once(broker, &connect_of(0x82, &[&text("user"), &text("name"), &text("password")]));
    });
}

#[test]
fn mqtt_3_1_2_21_the_password_flag_needs_a_password() {
    on_each_layout(|broker| {
        closes_at_once(broker, &connect_of(0xc2, &[&text("user"), &text("name")]));
        let mut raw = broker.raw();
        // Any bytes are a password.
        raw.send(&connect_of(0xc2, &[&text("user"), &text("name"), &[0, 2, 0xff, 0]]));
        raw.expect(&connack(false, 0));
    });
}

#[test]
fn mqtt_3_1_2_22_a_password_without_a_user_name_closes_the_connection() {
    on_each_layout(|broker| closes_at_once(broker, &connect_of(0x42, &[&text("user"), &text("password")])));
}

#[test]
fn mqtt_3_1_2_24_a_silent_client_is_disconnected_as_if_the_network_had_failed() {
    on_each_layout(|broker| {
        let mut watcher = subscriber(broker, "watcher", &[("silence", 0)]);
        let mut silent = broker.raw();
        let will = Some(("silence", "fell", 0, false));
        silent.send(&Connect { keep_alive: 1, will, ..Connect::new("silent") }.bytes());
        silent.expect(&connack(false, 0));
        silent.expect_closed();
        watcher.expect(&publish(0, "silence", None, b"fell"));
    });
}
