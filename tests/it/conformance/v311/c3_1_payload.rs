//! 3.1.3 and 3.1.4: CONNECT's payload, and what follows it.

use super::{
    MARK, acknowledged, clean, closes_at_once, connect_of, kept, leaves, nothing_but_the_mark, subscriber,
};
use crate::conformance::on_each_layout;
use crate::support::{Connect, PINGREQ, PINGRESP, binary, connack, packet, publish, suback, subscribe, text};

/// All characters that every server takes in a client id.
const LETTERS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

#[test]
fn mqtt_3_1_3_1_fields_are_read_in_their_order() {
    on_each_layout(|broker| {
        let mut watcher = subscriber(broker, "watcher", &[("topic", 0)]);
        let mut raw = broker.raw();
        raw.send(&connect_of(
            0xc6,
            &[&text("id"), &text("topic"), &text("message"), &text("name"), &text("password")],
        ));
        raw.expect(&connack(false, 0));
        drop(raw);
        watcher.expect(&publish(0, "topic", None, b"message"));
    });
}

#[test]
fn mqtt_3_1_3_2_state_belongs_to_the_client_id() {
    on_each_layout(|broker| {
        let ids: Vec<String> = (0..8).map(|n| format!("state-{n}")).collect();
        for id in &ids {
            let mut raw = kept(broker, id, false);
            raw.subscribe(id, 1);
            leaves(raw);
        }
        let mut publisher = clean(broker, "publisher");
        for id in &ids {
            acknowledged(&mut publisher, id, id.as_bytes());
        }
        for id in &ids {
            let mut raw = kept(broker, id, true);
            raw.expect(&publish(2, id, Some(1), id.as_bytes()));
            raw.expect_silence();
        }
        // Ids differ in each byte of theirs.
        kept(broker, "State-1", false);
        kept(broker, "state-1 ", false);
    });
}

#[test]
fn mqtt_3_1_3_3_a_connect_without_client_id_is_closed() {
    on_each_layout(|broker| {
        closes_at_once(broker, &connect_of(2, &[]));
        closes_at_once(broker, &connect_of(2, &[&[0]]));
        closes_at_once(broker, &connect_of(2, &[&[0, 3, b'a', b'b']]));
    });
}

#[test]
fn mqtt_3_1_3_4_a_client_id_that_is_not_utf_8_is_closed() {
    on_each_layout(|broker| {
        for bad in [&b"\xff"[..], b"\xed\xa0\x80", b"\xc3", b"a\0"] {
            closes_at_once(broker, &connect_of(2, &[&binary(bad)]));
        }
        drop(clean(broker, "größe/€/𝄞"));
    });
}

#[test]
fn mqtt_3_1_3_5_client_ids_of_1_to_23_letters_and_digits_are_taken() {
    on_each_layout(|broker| {
        for len in 1..=23 {
            drop(clean(broker, &LETTERS[..len]));
            drop(clean(broker, &LETTERS[LETTERS.len() - len..]));
        }
        drop(clean(broker, &LETTERS[20..43]));
    });
}

#[test]
fn mqtt_3_1_3_6_clients_without_an_id_get_sessions_of_their_own() {
    on_each_layout(|broker| {
        let mut several: Vec<_> = (0..10).map(|_| clean(broker, "")).collect();
        for raw in &mut several {
            raw.subscribe("nameless", 0);
        }
        // Nobody took another's place, and each has its subscription.
        acknowledged(&mut clean(broker, "publisher"), "nameless", b"x");
        for raw in &mut several {
            raw.expect(&publish(0, "nameless", None, b"x"));
            raw.expect_silence();
        }
    });
}

#[test]
fn mqtt_3_1_3_7_an_empty_client_id_is_for_clean_sessions() {
    on_each_layout(|broker| {
        drop(clean(broker, ""));
        let mut raw = broker.raw();
        raw.send(&Connect { clean: false, ..Connect::new("") }.bytes());
        assert_ne!(raw.packet()[3], 0);
    });
}

#[test]
fn mqtt_3_1_3_8_an_empty_client_id_with_a_session_to_keep_is_refused_with_2() {
    on_each_layout(|broker| {
        let mut raw = broker.raw();
        raw.send(&Connect { clean: false, ..Connect::new("") }.bytes());
        raw.expect(&connack(false, 2));
        raw.expect_closed();
    });
}

#[test]
fn mqtt_3_1_3_9_a_client_id_that_is_refused_gets_2() {
    on_each_layout(|broker| {
        // In 3.1, whose CONNACK is the same, no client id may be empty.
        for connect in
            [Connect { level: 3, ..Connect::new("") }, Connect { clean: false, ..Connect::new("") }]
        {
            let mut raw = broker.raw();
            raw.send(&connect.bytes());
            raw.expect(&connack(false, 2));
            raw.expect_closed();
        }
    });
}

#[test]
fn mqtt_3_1_3_10_a_will_topic_that_is_not_utf_8_is_closed() {
    on_each_layout(|broker| {
        for bad in [&b"\xff"[..], b"\xed\xa0\x80", b"\xc3", b"a\0"] {
            closes_at_once(broker, &connect_of(6, &[&text("will"), &binary(bad), &text("x")]));
        }
    });
}

#[test]
fn mqtt_3_1_3_11_a_user_name_that_is_not_utf_8_is_closed() {
    on_each_layout(|broker| {
        for bad in [&b"\xff"[..], b"\xed\xa0\x80", b"\xc3", b"a\0"] {
            closes_at_once(broker, &connect_of(0x82, &[&text("user"), &binary(bad)]));
        }
    });
}

#[test]
fn mqtt_3_1_4_1_a_connect_that_is_cut_or_too_long_is_closed_without_connack() {
    on_each_layout(|broker| {
        let fields = [text("id"), text("topic"), text("message"), text("name"), text("password")].concat();
        let body = [text("MQTT"), vec![4, 0xc6, 0, 0], fields].concat();
        for len in 0..body.len() {
            closes_at_once(broker, &packet(0x10, &[&body[..len]]));
        }
        closes_at_once(broker, &packet(0x10, &[&body, &[0]]));
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_4_2_a_second_connection_disconnects_the_first() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        for number in 0..6 {
            let id = format!("taken-{number}");
            let mut first = kept(broker, &id, false);
            first.subscribe(&id, 0);
            let mut second = kept(broker, &id, true);
            first.expect_closed();
            acknowledged(&mut publisher, &id, b"to the second");
            second.expect(&publish(0, &id, None, b"to the second"));
        }
    });
}

#[test]
fn mqtt_3_1_4_3_a_second_connection_takes_the_session_or_cleans_it() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        let mut first = kept(broker, "taken", false);
        first.subscribe("taken", 1);
        let mut second = kept(broker, "taken", true);
        first.expect_closed();
        acknowledged(&mut publisher, "taken", b"still subscribed");
        second.expect(&publish(2, "taken", Some(1), b"still subscribed"));
        let mut third = clean(broker, "taken");
        second.expect_closed();
        third.subscribe(MARK, 0);
        acknowledged(&mut publisher, "taken", b"not any more");
        nothing_but_the_mark(&mut publisher, &mut third);
    });
}

#[test]
fn mqtt_3_1_4_4_an_accepted_connect_is_answered_with_0() {
    on_each_layout(|broker| {
        for clean in [true, false] {
            let mut raw = broker.raw();
            raw.send(&Connect { clean, ..Connect::new("accepted") }.bytes());
            raw.expect(&[0x20, 2, 0, 0]);
        }
    });
}

#[test]
fn mqtt_3_1_4_5_what_follows_a_refused_connect_is_not_processed() {
    on_each_layout(|broker| {
        let mut watcher = subscriber(broker, "watcher", &[("refused", 0)]);
        let then = [publish(0, "refused", None, b"x"), subscribe(1, "refused", 0), PINGREQ.to_vec()].concat();
        let mut raw = broker.raw();
        raw.send(&[Connect { clean: false, ..Connect::new("") }.bytes(), then.clone()].concat());
        raw.expect(&connack(false, 2));
        raw.expect_closed();
        let mut publisher = clean(broker, "publisher");
        nothing_but_the_mark(&mut publisher, &mut watcher);
        // While an accepted one may go on without waiting for CONNACK.
        let mut raw = broker.raw();
        raw.send(&[Connect::new("hasty").bytes(), then].concat());
        raw.expect(&connack(false, 0));
        watcher.expect(&publish(0, "refused", None, b"x"));
        // SUBACK may wait for other shards, and nothing waits for it.
        let got = [raw.packet(), raw.packet()];
        assert!(got.contains(&suback(1, 0)) && got.contains(&PINGRESP.to_vec()), "{got:02x?}");
    });
}
