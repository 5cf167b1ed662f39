//! Chapters 3.4 to 3.7: PUBACK, PUBREC, PUBREL and PUBCOMP.

use super::explains;
use crate::conformance::{on_each_layout, with_settings};
use crate::support::{Broker, Raw, packet, publish_v5};

/// Reason codes that PUBACK and PUBREC have.
const OF_RECEIVERS: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
/// Reason codes that PUBREL and PUBCOMP have.
const OF_THE_REST: [u8; 2] = [0x00, 0x92];

/// Shows which reason codes the broker takes in such a packet from a client: those that are listed.
fn takes_only(broker: &Broker, first: u8, listed: &[u8]) {
    for reason in 0..=0xff {
        let bytes = [first, 3, 0, 99, reason];
        if listed.contains(&reason) {
            let mut client = broker.v5("client");
            client.send(&bytes);
            // PUBREC and PUBREL of a message that nobody knows are answered.
            if first == 0x62 || first == 0x50 && reason < 0x80 {
                assert_eq!(client.packet()[2..5], [0, 99, 0x92]);
            }
            client.lives();
        } else {
            broker.disconnects("client", &bytes, 0x81);
        }
    }
}

/// What a PUBLISH with packet identifier 5 is answered with.
#[track_caller]
fn answer(client: &mut Raw, flags: u8, topic: &str) -> u8 {
    client.send(&publish_v5(flags, topic, Some(5), &[], b"x"));
    let answer = client.packet();
    let kind = if flags & 2 == 2 { 0x40 } else { 0x50 };
    assert_eq!((answer[0], &answer[2..4]), (kind, &[0, 5][..]), "{answer:02x?}");
    answer.get(4).copied().unwrap_or(0)
}

/// Has messages of this QoS answered with each reason that the broker has for it.
fn reasons(qos: u8) {
    // No room for what is to be retained.
    with_settings("[limits]\nretained_messages_max = 0", |broker| {
        let mut somebody = broker.v5("somebody");
        somebody.subscribe_v5("somebody", 0);
        let mut client = broker.v5("client");
        let mut told = Vec::new();
        for (topic, retain) in [("somebody", 0), ("nobody", 0), ("$SYS/broker", 0), ("kept", 1)] {
            told.push(answer(&mut client, qos << 1 | retain, topic));
            if qos == 2 && told.last().is_some_and(|&reason| reason < 0x80) {
                client.send(&[0x62, 2, 0, 5]);
                client.expect(&[0x70, 2, 0, 5]);
            }
        }
        assert_eq!(told, [0, 0x10, 0x87, 0x97]);
        assert!(told.iter().all(|reason| OF_RECEIVERS.contains(reason)));
    });
}

#[test]
fn mqtt_3_4_2_1_puback_has_a_reason_of_its_table() {
    reasons(1);
    on_each_layout(|broker| takes_only(broker, 0x40, &OF_RECEIVERS));
}

#[test]
fn mqtt_3_5_2_1_pubrec_has_a_reason_of_its_table() {
    reasons(2);
    on_each_layout(|broker| takes_only(broker, 0x50, &OF_RECEIVERS));
}

#[test]
fn mqtt_3_6_2_1_pubrel_has_a_reason_of_its_table() {
    on_each_layout(|broker| {
        takes_only(broker, 0x62, &OF_THE_REST);
        // The broker's own: of a message that it sent, and of one that it did not.
        let mut client = broker.v5("client");
        client.subscribe_v5("t", 2);
        client.send(&publish_v5(4, "t", Some(5), &[], b"x"));
        let mut firsts = [client.packet()[0], client.packet()[0]];
        firsts.sort_unstable();
        assert_eq!(firsts, [0x34, 0x50]);
        client.send(&[0x50, 2, 0, 1]);
        client.expect(&[0x62, 2, 0, 1]);
        client.send(&[0x50, 2, 0, 9]);
        let answer = client.packet();
        assert_eq!((answer[0], &answer[2..5]), (0x62, &[0, 9, 0x92][..]));
    });
}

#[test]
fn mqtt_3_7_2_1_pubcomp_has_a_reason_of_its_table() {
    on_each_layout(|broker| {
        takes_only(broker, 0x70, &OF_THE_REST);
        let mut client = broker.v5("client");
        client.subscribe_v5("t", 0);
        client.send(&publish_v5(4, "t", Some(5), &[], b"x"));
        let mut firsts = [client.packet()[0], client.packet()[0]];
        firsts.sort_unstable();
        assert_eq!(firsts, [0x30, 0x50]);
        client.send(&[0x62, 2, 0, 5]);
        client.expect(&[0x70, 2, 0, 5]);
        client.send(&[0x62, 2, 0, 5]);
        let answer = client.packet();
        assert_eq!((answer[0], &answer[2..5]), (0x70, &[0, 5, 0x92][..]));
    });
}

#[test]
fn mqtt_3_6_1_1_pubrel_with_other_flags_ends_the_connection() {
    on_each_layout(|broker| {
        for flags in (0..16).filter(|&flags| flags != 2) {
            let mut client = broker.v5("client");
            client.send(&publish_v5(4, "t", Some(5), &[], b"x"));
            client.expect(&[0x50, 3, 0, 5, 0x10]);
            client.send(&[0x60 | flags, 2, 0, 5]);
            client.expect_goodbye(0x81);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_4_2_2_a_reason_string_does_not_make_puback_too_large() {
    explains(&publish_v5(2, "$SYS/broker", Some(5), &[], b""), &[0x40, 3, 0, 5, 0x87], 5);
}

#[test]
fn mqtt_3_5_2_2_a_reason_string_does_not_make_pubrec_too_large() {
    explains(&publish_v5(4, "$SYS/broker", Some(5), &[], b""), &[0x50, 3, 0, 5, 0x87], 5);
}

#[test]
fn mqtt_3_6_2_2_a_reason_string_does_not_make_pubrel_too_large() {
    explains(&packet(0x50, &[&[0, 5]]), &[0x62, 3, 0, 5, 0x92], 5);
}

#[test]
fn mqtt_3_7_2_2_a_reason_string_does_not_make_pubcomp_too_large() {
    explains(&packet(0x62, &[&[0, 5]]), &[0x70, 3, 0, 5, 0x92], 5);
}
