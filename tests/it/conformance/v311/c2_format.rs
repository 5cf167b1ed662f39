//! 2: fixed header and packet identifiers.

use super::{acknowledged, clean, closes, closes_at_once, kept, subscriber, unsubscribe};
use crate::conformance::on_each_layout;
use crate::support::{Connect, PINGREQ, packet, publish, suback, subscribe, text};

/// Packets of a client whose flags are reserved, as they should be.
fn reserved() -> Vec<Vec<u8>> {
    vec![
        vec![0x40, 2, 0, 1],
        vec![0x50, 2, 0, 1],
        vec![0x62, 2, 0, 1],
        vec![0x70, 2, 0, 1],
        subscribe(1, "flags", 0),
        unsubscribe(1, &["flags"]),
        PINGREQ.to_vec(),
        vec![0xe0, 0],
    ]
}

/// The same packet with all other flags.
fn with_other_flags(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let right = packet[0] & 0xf;
    (0..16).filter(move |&flags| flags != right).map(move |flags| {
        let mut packet = packet.to_vec();
        packet[0] = packet[0] & 0xf0 | flags;
        packet
    })
}

#[test]
fn mqtt_2_2_2_1_the_server_s_own_packets_have_the_listed_flags() {
    on_each_layout(|broker| {
        let mut raw = broker.raw();
        raw.send(&Connect::new("flags").bytes());
        assert_eq!(raw.packet()[0], 0x20);
        raw.send(&subscribe(1, "flags", 2));
        assert_eq!(raw.packet()[0], 0x90);
        raw.send(&publish(2, "nobody", Some(1), b"x"));
        assert_eq!(raw.packet()[0], 0x40);
        raw.send(&publish(4, "nobody", Some(2), b"x"));
        assert_eq!(raw.packet()[0], 0x50);
        raw.send(&[0x62, 2, 0, 2]);
        assert_eq!(raw.packet()[0], 0x70);
        raw.send(&unsubscribe(3, &["other"]));
        assert_eq!(raw.packet()[0], 0xb0);
        raw.send(&PINGREQ);
        assert_eq!(raw.packet()[0], 0xd0);
        acknowledged(&mut clean(broker, "publisher"), "flags", b"x");
        raw.expect(&publish(2, "flags", Some(1), b"x"));
        raw.send(&[0x50, 2, 0, 1]);
        assert_eq!(raw.packet()[0], 0x62);
    });
}

#[test]
fn mqtt_2_2_2_2_other_flags_close_the_connection() {
    on_each_layout(|broker| {
        for packet in reserved() {
            for bytes in with_other_flags(&packet) {
                closes(broker, "flags", &bytes);
            }
        }
        for bytes in with_other_flags(&Connect::new("flags").bytes()) {
            closes_at_once(broker, &bytes);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_2_3_1_1_packet_id_0_closes_the_connection_and_is_never_sent() {
    on_each_layout(|broker| {
        closes(broker, "zero", &publish(2, "zero", Some(0), b"x"));
        closes(broker, "zero", &publish(4, "zero", Some(0), b"x"));
        closes(broker, "zero", &subscribe(0, "zero", 0));
        closes(broker, "zero", &unsubscribe(0, &["zero"]));
        // All ids once round, and then some.
        let mut subscriber = subscriber(broker, "subscriber", &[("zero", 1)]);
        let mut publisher = clean(broker, "publisher");
        let some = 1..=200u16;
        let published: Vec<u8> = some.clone().flat_map(|id| publish(2, "zero", Some(id), b"")).collect();
        let acknowledged: Vec<u8> =
            some.clone().flat_map(|id| [&[0x40, 2][..], &id.to_be_bytes()].concat()).collect();
        for _ in 0..=u16::MAX / some.end() {
            publisher.send(&published);
            for _ in some.clone() {
                let &[0x32, 8, .., high, low] = &subscriber.packet()[..] else { panic!("not the message") };
                assert_ne!([high, low], [0, 0]);
                subscriber.send(&[0x40, 2, high, low]);
            }
            publisher.expect(&acknowledged);
        }
    });
}

#[test]
fn mqtt_2_3_1_4_the_server_uses_free_packet_ids_and_keeps_them_when_it_sends_again() {
    on_each_layout(|broker| {
        let mut subscriber = kept(broker, "subscriber", false);
        subscriber.subscribe("free", 1);
        let mut publisher = clean(broker, "publisher");
        for payload in [b"1", b"2", b"3"] {
            acknowledged(&mut publisher, "free", payload);
        }
        let mut sent: Vec<Vec<u8>> = (0..3).map(|_| subscriber.packet()).collect();
        let id = |packet: &[u8]| packet[8..10].to_vec();
        assert!(id(&sent[0]) != id(&sent[1]) && id(&sent[1]) != id(&sent[2]) && id(&sent[0]) != id(&sent[2]));
        drop(subscriber);
        let mut subscriber = kept(broker, "subscriber", true);
        for packet in &mut sent {
            packet[0] |= 8;
            subscriber.expect(packet);
        }
        // One of the three is free again, the others are not.
        subscriber.send(&[&[0x40, 2], &id(&sent[1])[..]].concat());
        acknowledged(&mut publisher, "free", b"4");
        let fourth = subscriber.packet();
        assert!(id(&fourth) != id(&sent[0]) && id(&fourth) != id(&sent[2]));
    });
}

#[test]
fn mqtt_2_3_1_5_qos_0_has_no_packet_id() {
    on_each_layout(|broker| {
        let mut subscriber = subscriber(broker, "subscriber", &[("none", 0)]);
        let mut publisher = clean(broker, "publisher");
        // What looks like an id is the payload's beginning.
        publisher.send(&publish(0, "none", None, &[0, 9, b'x']));
        subscriber.expect(&packet(0x30, &[&text("none"), &[0, 9, b'x']]));
        acknowledged(&mut publisher, "none", b"y");
        subscriber.expect(&packet(0x30, &[&text("none"), b"y"]));
    });
}

#[test]
fn mqtt_2_3_1_6_acknowledgements_carry_the_packet_id_of_their_publish() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        for id in [1u16, 0x00ff, 0x0100, 0x1234, 0xfffe, 0xffff] {
            let [high, low] = id.to_be_bytes();
            publisher.send(&publish(2, "nobody", Some(id), b"x"));
            publisher.expect(&[0x40, 2, high, low]);
            publisher.send(&publish(4, "nobody", Some(id), b"x"));
            publisher.expect(&[0x50, 2, high, low]);
            publisher.send(&[0x62, 2, high, low]);
            publisher.expect(&[0x70, 2, high, low]);
        }
        let mut subscriber = subscriber(broker, "subscriber", &[("rel", 2)]);
        publisher.send(&publish(4, "rel", Some(0x4321), b"x"));
        let &[0x34, .., high, low, b'x'] = &subscriber.packet()[..] else { panic!("not the message") };
        subscriber.send(&[0x50, 2, high, low]);
        subscriber.expect(&[0x62, 2, high, low]);
    });
}

#[test]
fn mqtt_2_3_1_7_suback_and_unsuback_carry_the_packet_id_of_what_they_answer() {
    on_each_layout(|broker| {
        let mut raw = clean(broker, "ids");
        for id in [1u16, 0x00ff, 0x0100, 0x1234, 0xffff] {
            let [high, low] = id.to_be_bytes();
            raw.send(&subscribe(id, "ids", 1));
            raw.expect(&suback(id, 1));
            raw.send(&unsubscribe(id, &["ids"]));
            raw.expect(&[0xb0, 2, high, low]);
        }
    });
}
