//! Chapter 2: the format of packets.

use crate::conformance::on_each_layout;
use crate::support::{packet, property, publish_v5, subscribe_v5, text, unsubscribe_v5};
use std::collections::BTreeSet;

/// Types that a client sends after CONNECT, all but PUBLISH, with the flags that they have.
const FLAGS: [(u8, u8); 10] = [
    (0x40, 0),
    (0x50, 0),
    (0x60, 2),
    (0x70, 0),
    (0x80, 2),
    (0xa0, 2),
    (0xc0, 0),
    (0xe0, 0),
    (0xf0, 0),
    // A type that does not exist, whatever its flags.
    (0x00, 0x10),
];

#[test]
fn mqtt_2_1_3_1_other_flags_than_the_listed_ones_end_the_connection() {
    on_each_layout(|broker| {
        for (kind, listed) in FLAGS {
            for flags in (0..16).filter(|&flags| flags != listed) {
                // Whatever the rest, the first byte is wrong.
                let first = kind | flags;
                broker.disconnects(&format!("flags-{first}"), &[first, 4, 0, 1, 0, 0], 0x81);
            }
        }
        for flags in 1..16 {
            let mut raw = broker.raw();
            raw.send(&[0x10 | flags, 14, 0, 4]);
            raw.send(b"MQTT\x05\x02\0\0\0\0\x01c");
            raw.expect_closed();
        }
        // The broker's own: SUBACK, PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK, PINGRESP.
        let mut client = broker.v5("client");
        client.subscribe_v5("t", 2);
        client.send(&publish_v5(4, "t", Some(1), &[], b""));
        client.send(&[0x50, 2, 0, 1, 0x62, 2, 0, 1]);
        let mut firsts: Vec<u8> = (0..4).map(|_| client.packet()[0]).collect();
        firsts.sort_unstable();
        assert_eq!(firsts, [0x34, 0x50, 0x62, 0x70]);
        client.send(&unsubscribe_v5(2, &["t"]));
        assert_eq!(client.packet()[0], 0xb0);
        client.lives();
        broker.serves();
    });
}

#[test]
fn mqtt_2_2_1_2_messages_of_qos_0_have_no_packet_identifier() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for granted in 0..3 {
            let mut subscriber = broker.v5(&format!("subscriber-{granted}"));
            subscriber.subscribe_v5("t", granted);
            publisher.send(&publish_v5(0, "t", None, &[], b"x"));
            subscriber.expect(&publish_v5(0, "t", None, &[], b"x"));
        }
        let mut subscriber = broker.v5("subscriber");
        subscriber.subscribe_v5("u", 0);
        publisher.publishes(0, "u", &[], b"of QoS 1");
        subscriber.expect(&publish_v5(0, "u", None, &[], b"of QoS 1"));
        // What looks like an identifier is the length of properties, and payload.
        publisher.send(&packet(0x30, &[&text("u"), &[0, 1], &[0], b"x"]));
        subscriber.expect(&publish_v5(0, "u", None, &[], b"\x01\0x"));
    });
}

#[test]
fn mqtt_2_2_1_3_packet_identifier_0_ends_the_connection() {
    on_each_layout(|broker| {
        let packets = [
            publish_v5(2, "t", Some(0), &[], b""),
            publish_v5(4, "t", Some(0), &[], b""),
            subscribe_v5(0, &[], &[("t", 0)]),
            unsubscribe_v5(0, &["t"]),
        ];
        for packet in packets {
            broker.disconnects("zero", &packet, 0x81);
        }
        // Both sides count on their own: the same identifier goes both ways at once.
        let mut client = broker.v5("client");
        client.subscribe_v5("t", 2);
        client.send(&publish_v5(4, "t", Some(1), &[], b"x"));
        let mut got = [client.packet(), client.packet()];
        got.sort();
        assert_eq!(got, [publish_v5(4, "t", Some(1), &[], b"x"), vec![0x50, 2, 0, 1]]);
        client.send(&[0x50, 2, 0, 1]);
        client.expect(&[0x62, 2, 0, 1]);
        client.send(&[0x62, 2, 0, 1]);
        client.expect(&[0x70, 2, 0, 1]);
        client.send(&[0x70, 2, 0, 1]);
        client.lives();
        broker.serves();
    });
}

#[test]
fn mqtt_2_2_1_4_new_messages_get_identifiers_that_are_free_and_not_0() {
    const BATCH: u16 = 500;
    on_each_layout(|broker| {
        let mut subscriber = broker.v5("subscriber");
        subscriber.subscribe_v5("t", 1);
        let mut publisher = broker.v5("publisher");
        let batch: Vec<u8> = (1..=BATCH).flat_map(|id| publish_v5(2, "t", Some(id), &[], b"")).collect();
        // These stay unacknowledged, while the identifiers come round to them.
        let mut held = BTreeSet::new();
        for round in 0..65_536 / u32::from(BATCH) + 2 {
            publisher.send(&batch);
            let mut answers = Vec::new();
            for number in 0..BATCH {
                let id = subscriber.publication().id.expect("QoS 1");
                assert_ne!(id, 0);
                assert!(!held.contains(&id), "identifier {id} is in use");
                if round == 0 && number % 100 == 0 {
                    held.insert(id);
                } else {
                    answers.extend([&[0x40, 2][..], &id.to_be_bytes()].concat());
                }
            }
            subscriber.send(&answers);
            (0..BATCH).for_each(|_| drop(publisher.packet()));
        }
        assert_eq!(held.len(), 5);
    });
}

#[test]
fn mqtt_2_2_1_5_acknowledgements_carry_the_identifier_of_their_publish() {
    on_each_layout(|broker| {
        let mut subscriber = broker.v5("subscriber");
        subscriber.subscribe_v5("t", 2);
        let mut publisher = broker.v5("publisher");
        for id in [1, 255, 256, 32_768, 65_535_u16] {
            let [high, low] = id.to_be_bytes();
            publisher.send(&publish_v5(2, "t", Some(id), &[], b""));
            publisher.expect(&[0x40, 2, high, low]);
            publisher.send(&publish_v5(4, "t", Some(id), &[], b""));
            publisher.expect(&[0x50, 2, high, low]);
            publisher.send(&[0x62, 2, high, low]);
            publisher.expect(&[0x70, 2, high, low]);
            let [high, low] = subscriber.publication().id.expect("QoS 1").to_be_bytes();
            subscriber.send(&[0x40, 2, high, low]);
            let [high, low] = subscriber.publication().id.expect("QoS 2").to_be_bytes();
            subscriber.send(&[0x50, 2, high, low]);
            subscriber.expect(&[0x62, 2, high, low]);
            subscriber.send(&[0x70, 2, high, low]);
        }
        subscriber.lives();
    });
}

#[test]
fn mqtt_2_2_1_6_suback_and_unsuback_carry_the_identifier_of_what_they_answer() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        for id in [1, 255, 256, 32_768, 65_535_u16] {
            let [high, low] = id.to_be_bytes();
            client.send(&subscribe_v5(id, &[], &[("t", 0)]));
            client.expect(&[0x90, 4, high, low, 0, 0]);
            client.send(&unsubscribe_v5(id, &["t"]));
            client.expect(&[0xb0, 4, high, low, 0, 0]);
        }
    });
}

#[test]
fn mqtt_2_2_2_1_where_there_are_no_properties_their_length_is_0() {
    on_each_layout(|broker| {
        // Of the broker's packets: SUBACK, PUBLISH, UNSUBACK. Acknowledgements end before the length when all is well.
        let mut client = broker.v5("client");
        client.send(&packet(0x82, &[&[0, 1], &[0], &text("t"), &[1]]));
        client.expect(&[0x90, 4, 0, 1, 0, 1]);
        client.send(&packet(0x30, &[&text("t"), &[0], b"payload"]));
        client.expect(&packet(0x30, &[&text("t"), &[0], b"payload"]));
        client.send(&packet(0xa2, &[&[0, 1], &[0], &text("t")]));
        client.expect(&[0xb0, 4, 0, 1, 0, 0]);
        // Without the length nothing is what it seems, and packets end too early.
        let lacking = [
            packet(0x30, &[&text("t")]),
            packet(0x82, &[&[0, 1], &text("t"), &[1]]),
            packet(0xa2, &[&[0, 1], &text("t")]),
            packet(0xa2, &[&[0, 1]]),
        ];
        for bytes in lacking {
            broker.disconnects("lacking", &bytes, 0x81);
        }
        broker.turns_away(&packet(0x10, &[&text("MQTT"), &[5, 2, 0, 0], &text("c")]), 0x81);
        // Nor may the length say more, or less, than there is.
        let user = property::pair("a", "b");
        for len in [6, 8, 100] {
            let bytes = packet(0x82, &[&[0, 1], &[len], &user, &text("t"), &[0]]);
            broker.disconnects("wrong", &bytes, 0x81);
        }
        broker.serves();
    });
}
