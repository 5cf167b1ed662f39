//! 4.3 and 4.4: the three qualities of service, and what is sent again.

use super::{acknowledged, clean, kept, nothing_but_the_mark, subscriber};
use crate::conformance::on_each_layout;
use crate::support::publish;

#[test]
fn mqtt_4_3_1_1_qos_0_comes_once_and_is_not_answered() {
    on_each_layout(|broker| {
        let mut subscriber = subscriber(broker, "subscriber", &[("once", 2)]);
        let mut publisher = clean(broker, "publisher");
        publisher.send(&publish(0, "once", None, b"x"));
        publisher.expect_silence();
        subscriber.expect(&publish(0, "once", None, b"x"));
        nothing_but_the_mark(&mut publisher, &mut subscriber);
    });
}

#[test]
fn mqtt_4_3_2_1_qos_1_is_open_until_puback() {
    on_each_layout(|broker| {
        let mut raw = kept(broker, "open", false);
        raw.subscribe("open", 1);
        let mut publisher = clean(broker, "publisher");
        for payload in [b"1", b"2"] {
            acknowledged(&mut publisher, "open", payload);
        }
        raw.expect(&publish(2, "open", Some(1), b"1"));
        raw.expect(&publish(2, "open", Some(2), b"2"));
        // Answers that do not belong to it, and one that does.
        raw.send(&[0x50, 2, 0, 1]);
        raw.packet();
        raw.send(&[0x70, 2, 0, 1]);
        raw.send(&[0x40, 2, 0, 2]);
        raw.expect_silence();
        drop(raw);
        let mut raw = kept(broker, "open", true);
        raw.expect(&publish(0xa, "open", Some(1), b"1"));
        raw.send(&[0x40, 2, 0, 1]);
        raw.expect_silence();
        drop(raw);
        kept(broker, "open", true).expect_silence();
    });
}

#[test]
fn mqtt_4_3_2_2_after_puback_the_packet_id_means_a_new_message() {
    on_each_layout(|broker| {
        let mut subscriber = subscriber(broker, "subscriber", &[("new", 1)]);
        let mut publisher = clean(broker, "publisher");
        for id in 1..=3 {
            acknowledged(&mut publisher, "new", b"same id, same bytes");
            subscriber.expect(&publish(2, "new", Some(id), b"same id, same bytes"));
        }
        // Also with DUP: the broker knows of no earlier one.
        publisher.send(&publish(0xa, "new", Some(7), b"again"));
        publisher.expect(&[0x40, 2, 0, 7]);
        subscriber.expect(&publish(2, "new", Some(4), b"again"));
    });
}

#[test]
fn mqtt_4_3_3_1_pubrel_follows_pubrec_and_is_open_until_pubcomp() {
    on_each_layout(|broker| {
        let mut raw = kept(broker, "exactly", false);
        raw.subscribe("exactly", 2);
        let mut publisher = clean(broker, "publisher");
        for id in 1..=3 {
            publisher.send(&publish(4, "exactly", Some(id), b"x"));
            raw.expect(&publish(4, "exactly", Some(id), b"x"));
        }
        raw.send(&[0x50, 2, 0, 1, 0x50, 2, 0, 2]);
        raw.expect(&[0x62, 2, 0, 1, 0x62, 2, 0, 2]);
        raw.send(&[0x70, 2, 0, 2]);
        raw.expect_silence();
        drop(raw);
        let mut raw = kept(broker, "exactly", true);
        // After PUBREC it is PUBREL that is sent again and never the message.
        raw.expect(&[0x62, 2, 0, 1]);
        raw.expect(&publish(0xc, "exactly", Some(3), b"x"));
        raw.send(&[0x70, 2, 0, 1, 0x50, 2, 0, 3]);
        raw.expect(&[0x62, 2, 0, 3]);
        raw.send(&[0x70, 2, 0, 3]);
        raw.expect_silence();
        drop(raw);
        kept(broker, "exactly", true).expect_silence();
    });
}

#[test]
fn mqtt_4_3_3_2_until_pubrel_the_packet_id_means_the_same_message() {
    on_each_layout(|broker| {
        let mut subscriber = subscriber(broker, "subscriber", &[("same", 2)]);
        let mut publisher = kept(broker, "publisher", false);
        let message = |dup: u8, id| publish(4 | dup, "same", Some(id), b"x");
        publisher.send(&message(0, 5));
        publisher.expect(&[0x50, 2, 0, 5]);
        for dup in [8, 0] {
            publisher.send(&message(dup, 5));
            publisher.expect(&[0x50, 2, 0, 5]);
        }
        drop(publisher);
        let mut publisher = kept(broker, "publisher", true);
        publisher.send(&message(8, 5));
        publisher.expect(&[0x50, 2, 0, 5]);
        // Another id is another message.
        publisher.send(&message(0, 6));
        publisher.expect(&[0x50, 2, 0, 6]);
        for id in [5, 6, 5u8] {
            publisher.send(&[0x62, 2, 0, id]);
            publisher.expect(&[0x70, 2, 0, id]);
        }
        subscriber.expect(&message(0, 1));
        subscriber.expect(&message(0, 2));
        nothing_but_the_mark(&mut publisher, &mut subscriber);
        // Released, the id is free for the next message.
        publisher.send(&message(0, 5));
        publisher.expect(&[0x50, 2, 0, 5]);
        subscriber.expect(&message(0, 3));
    });
}

#[test]
fn mqtt_4_4_0_1_what_is_unacknowledged_is_sent_again_when_the_client_returns_and_not_before() {
    on_each_layout(|broker| {
        let mut raw = kept(broker, "returns", false);
        raw.subscribe("returns", 2);
        let mut publisher = clean(broker, "publisher");
        acknowledged(&mut publisher, "returns", b"1");
        publisher.send(&publish(4, "returns", Some(2), b"2"));
        publisher.expect(&[0x50, 2, 0, 2]);
        raw.expect(&publish(2, "returns", Some(1), b"1"));
        raw.expect(&publish(4, "returns", Some(2), b"2"));
        raw.send(&[0x50, 2, 0, 2]);
        raw.expect(&[0x62, 2, 0, 2]);
        raw.expect_silence();
        for _ in 0..3 {
            drop(raw);
            raw = kept(broker, "returns", true);
            raw.expect(&publish(0xa, "returns", Some(1), b"1"));
            raw.expect(&[0x62, 2, 0, 2]);
            raw.expect_silence();
        }
    });
}
