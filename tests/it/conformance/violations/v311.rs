//! Violations of 3.1.1.

use super::Reaction::{Closed, Refused, Suback};
use super::{Case, first, then};
use crate::support::{Connect, binary, packet, publish, subscribe, subscribe_many, text};

/// Strings that are none, with the clause that says so.
pub(super) const BAD_STRINGS: [(&str, &[u8]); 6] = [
    ("1.5.3-1 a lone continuation byte", b"a\x80"),
    ("1.5.3-1 an overlong encoding", b"\xc0\xaf"),
    ("1.5.3-1 a high surrogate", b"a\xed\xa0\x80"),
    ("1.5.3-1 a surrogate pair", b"\xed\xa0\x80\xed\xb0\x80"),
    ("1.5.3-1 a sequence that is cut", b"a\xe2\x82"),
    ("1.5.3-2 U+0000", b"a\0b"),
];

pub(super) fn cases() -> Vec<Case> {
    [
        first_packets(),
        connects(),
        connect_strings(),
        headers(),
        publishes(),
        acks(),
        subscribes(),
        unsubscribes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One packet of each type, well-formed for 3.1.1 where the type exists.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("packet type 0", vec![0x00, 0]),
        ("CONNACK", vec![0x20, 2, 0, 0]),
        ("PUBLISH", publish(0, "a", None, b"x")),
        ("PUBACK", vec![0x40, 2, 0, 1]),
        ("PUBREC", vec![0x50, 2, 0, 1]),
        ("PUBREL", vec![0x62, 2, 0, 1]),
        ("PUBCOMP", vec![0x70, 2, 0, 1]),
        ("SUBSCRIBE", subscribe(1, "a", 0)),
        ("SUBACK", vec![0x90, 3, 0, 1, 0]),
        ("UNSUBSCRIBE", packet(0xa2, &[&[0, 1], &text("a")])),
        ("UNSUBACK", vec![0xb0, 2, 0, 1]),
        ("PINGREQ", vec![0xc0, 0]),
        ("PINGRESP", vec![0xd0, 0]),
        ("DISCONNECT", vec![0xe0, 0]),
        ("packet type 15", vec![0xf0, 0]),
    ]
}

fn first_packets() -> Vec<Case> {
    packets()
        .into_iter()
        .map(|(what, bytes)| first(format!("MQTT-3.1.0-1 {what} before CONNECT"), bytes, Closed))
        .collect()
}

/// A CONNECT of 3.1.1 with these flags and this payload.
fn connect(flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &[&text("MQTT"), &[4, flags, 0, 0], &payload.concat()])
}

/// A CONNECT of this protocol name and level.
fn named(name: &str, level: u8) -> Vec<u8> {
    packet(0x10, &[&text(name), &[level, 2, 0, 0], &text("named")])
}

fn connects() -> Vec<Case> {
    let [id, topic, message, name, password] = ["id", "topic", "message", "name", "password"].map(text);
    let whole = [&text("MQTT")[..], &[4, 0xc6, 0, 0], &id, &topic, &message, &name, &password].concat();
    let mut cases = vec![
        first("MQTT-3.1.2-1 the protocol name in lower case", named("mqtt", 4), Closed),
        first("MQTT-3.1.2-1 an empty protocol name", named("", 4), Closed),
        first("MQTT-3.1.2-1 a protocol name of another protocol", named("AMQP", 4), Closed),
        first("MQTT-3.1.2-2 level 0", named("MQTT", 0), Refused(1)),
        first("MQTT-3.1.2-2 level 2", named("MQTT", 2), Refused(1)),
        first("MQTT-3.1.2-2 3.1's level with this name", named("MQTT", 3), Refused(1)),
        first("MQTT-3.1.2-2 this level with 3.1's name", named("MQIsdp", 4), Refused(1)),
        first("MQTT-3.1.2-3 the reserved flag", connect(0x03, &[&id]), Closed),
        first("MQTT-3.1.2-9 a will without its message", connect(0x06, &[&id, &topic]), Closed),
        first("MQTT-3.1.2-9 a will without its topic", connect(0x06, &[&id]), Closed),
        first("MQTT-3.1.2-11 a will without its flag", connect(0x02, &[&id, &topic, &message]), Closed),
        first("MQTT-3.1.2-13 Will QoS 1 without a will", connect(0x0a, &[&id]), Closed),
        first("MQTT-3.1.2-13 Will QoS 2 without a will", connect(0x12, &[&id]), Closed),
        first("MQTT-3.1.2-13 Will QoS 3 without a will", connect(0x1a, &[&id]), Closed),
        first("MQTT-3.1.2-14 Will QoS 3", connect(0x1e, &[&id, &topic, &message]), Closed),
        first("MQTT-3.1.2-15 Will Retain without a will", connect(0x22, &[&id]), Closed),
        first("MQTT-3.1.2-18 a user name without its flag", connect(0x02, &[&id, &name]), Closed),
        first("MQTT-3.1.2-19 no user name with its flag", connect(0x82, &[&id]), Closed),
        first("MQTT-3.1.2-20 a password without its flag", connect(0x82, &[&id, &name, &password]), Closed),
        first("MQTT-3.1.2-21 no password with its flag", connect(0xc2, &[&id, &name]), Closed),
        first("MQTT-3.1.2-22 a password without a user name", connect(0x42, &[&id, &password]), Closed),
        first("MQTT-3.1.3-3 no client id", connect(0x02, &[]), Closed),
        first("MQTT-3.1.3-8 an empty client id with CleanSession 0", connect(0x00, &[&text("")]), Refused(2)),
        first(
            "MQTT-4.7.1-1 a wildcard in the will's topic",
            connect(0x06, &[&id, &text("a/#"), &message]),
            Closed,
        ),
        first("MQTT-4.7.3-1 an empty will topic", connect(0x06, &[&id, &text(""), &message]), Closed),
        first("MQTT-3.1.4-1 a byte after CONNECT's last field", packet(0x10, &[&whole, &[0]]), Closed),
        first(
            "MQTT 2.2.3 a CONNECT with a length of five digits",
            vec![0x10, 0xff, 0xff, 0xff, 0xff, 1],
            Closed,
        ),
        first("MQTT 2.2.3 a CONNECT with a length that is not the shortest", vec![0x10, 0x80, 0], Closed),
    ];
    let cuts =
        [("everything", 0), ("the level", 6), ("the flags", 7), ("the keep alive", 9), ("the client id", 11)];
    let later = [("the will's topic", 17), ("the will's message", 22), ("the password", whole.len() - 1)];
    for (what, at) in cuts.into_iter().chain(later) {
        let name = format!("MQTT-3.1.4-1 a CONNECT that ends before {what} does");
        cases.push(first(name, packet(0x10, &[&whole[..at]]), Closed));
    }
    for flags in [1, 2, 4, 8] {
        let mut bytes = Connect::new("flags").bytes();
        bytes[0] |= flags;
        cases.push(first(format!("MQTT-2.2.2-2 CONNECT with flags {flags:#06b}"), bytes, Closed));
    }
    cases
}

fn connect_strings() -> Vec<Case> {
    let fields = |(clause, bad): (&str, &[u8])| {
        let (bad, id) = (binary(bad), text("id"));
        [
            ("the client id", connect(0x02, &[&bad])),
            ("the will's topic", connect(0x06, &[&id, &bad, &text("message")])),
            ("the user name", connect(0x82, &[&id, &bad])),
        ]
        .map(|(what, bytes)| first(format!("MQTT-{clause} in {what}"), bytes, Closed))
    };
    BAD_STRINGS.into_iter().flat_map(fields).collect()
}

/// What is wrong with the fixed header already, or with the type, after CONNECT.
fn headers() -> Vec<Case> {
    let mut cases = vec![
        then("MQTT-3.1.0-2 a second CONNECT", Connect::new("second").bytes(), Closed),
        then("MQTT 2.2.1 packet type 0", vec![0x00, 0], Closed),
        then("MQTT 2.2.1 packet type 15", vec![0xf0, 0], Closed),
        then("MQTT 2.2.1 a CONNACK from a client", vec![0x20, 2, 0, 0], Closed),
        then("MQTT 2.2.1 a SUBACK from a client", vec![0x90, 3, 0, 1, 0], Closed),
        then("MQTT 2.2.1 an UNSUBACK from a client", vec![0xb0, 2, 0, 1], Closed),
        then("MQTT 2.2.1 a PINGRESP from a client", vec![0xd0, 0], Closed),
        then("MQTT 2.2.3 a length of five digits", vec![0x30, 0xff, 0xff, 0xff, 0xff, 1], Closed),
        then("MQTT 2.2.3 a length that is not the shortest", vec![0xc0, 0x80, 0], Closed),
        then(
            "MQTT 2.2.3 a packet that is longer than any may be",
            vec![0x30, 0xff, 0xff, 0xff, 0x7f],
            Closed,
        ),
        then("MQTT 3.12.1 a PINGREQ with a body", vec![0xc0, 1, 0], Closed),
        then("MQTT 3.14.1 a DISCONNECT with a reason code", vec![0xe0, 1, 0], Closed),
        then("MQTT 3.14.1 a DISCONNECT with properties", vec![0xe0, 2, 0, 0], Closed),
    ];
    let reserved =
        ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ", "DISCONNECT"];
    for (what, packet) in packets().into_iter().filter(|(what, _)| reserved.contains(what)) {
        for bit in [1, 2, 4, 8] {
            let mut bytes = packet.clone();
            bytes[0] ^= bit;
            cases.push(then(
                format!("MQTT-2.2.2-2 {what} with flags {:#06b}", bytes[0] & 0xf),
                bytes,
                Closed,
            ));
        }
    }
    cases
}

fn publishes() -> Vec<Case> {
    let a = text("a");
    let mut cases = vec![
        then("MQTT-2.3.1-1 packet id 0 with QoS 1", publish(2, "a", Some(0), b"x"), Closed),
        then("MQTT-2.3.1-1 packet id 0 with QoS 2", publish(4, "a", Some(0), b"x"), Closed),
        then("MQTT-2.3.1-1 no packet id with QoS 1", packet(0x32, &[&a]), Closed),
        then("MQTT-2.3.1-1 half a packet id with QoS 2", packet(0x34, &[&a, &[1]]), Closed),
        then("MQTT-3.3.1-2 DUP with QoS 0", publish(8, "a", None, b"x"), Closed),
        then("MQTT-3.3.1-2 DUP and RETAIN with QoS 0", publish(9, "a", None, b"x"), Closed),
        then("MQTT-3.3.1-4 QoS 3", publish(6, "a", Some(1), b"x"), Closed),
        then("MQTT-3.3.1-4 QoS 3 with DUP and RETAIN", publish(0xf, "a", Some(1), b"x"), Closed),
        then("MQTT-3.3.2-1 a PUBLISH of nothing", vec![0x30, 0], Closed),
        then("MQTT-3.3.2-1 half of the topic's length", vec![0x30, 1, 0], Closed),
        then("MQTT-3.3.2-1 a topic that is longer than its packet", vec![0x30, 3, 0, 9, b'a'], Closed),
        then("MQTT-3.3.2-2 a topic with #", publish(0, "a/#", None, b"x"), Closed),
        then("MQTT-3.3.2-2 a topic with +", publish(0, "a/+/b", None, b"x"), Closed),
        then("MQTT-3.3.2-2 a topic with + within a level", publish(2, "a+b", Some(1), b"x"), Closed),
        then("MQTT-4.7.3-1 an empty topic", publish(0, "", None, b"x"), Closed),
        then("MQTT-4.7.3-1 an empty topic with QoS 2", publish(4, "", Some(1), b"x"), Closed),
    ];
    for (clause, bad) in BAD_STRINGS {
        let name = format!("MQTT-{clause} in PUBLISH's topic");
        cases.push(then(name, packet(0x30, &[&binary(bad), b"x"]), Closed));
    }
    cases
}

fn acks() -> Vec<Case> {
    let types = [("PUBACK", 0x40), ("PUBREC", 0x50), ("PUBREL", 0x62), ("PUBCOMP", 0x70)];
    let cases = |(what, first)| {
        [
            then(format!("MQTT-2.3.1-6 {what} with packet id 0"), vec![first, 2, 0, 0], Closed),
            then(format!("MQTT-2.3.1-6 {what} without a packet id"), vec![first, 0], Closed),
            then(format!("MQTT-2.3.1-6 {what} with half a packet id"), vec![first, 1, 1], Closed),
            then(format!("MQTT-2.3.1-6 {what} with 5.0's reason code"), vec![first, 3, 0, 1, 0], Closed),
        ]
    };
    types.into_iter().flat_map(cases).collect()
}

fn subscribes() -> Vec<Case> {
    let (id, a) = ([0, 1], text("a"));
    let of = |body: &[&[u8]]| packet(0x82, body);
    let mut cases = vec![
        then("MQTT-2.3.1-1 SUBSCRIBE with packet id 0", subscribe(0, "a", 0), Closed),
        then("MQTT-2.3.1-1 SUBSCRIBE without a packet id", vec![0x82, 0], Closed),
        then("MQTT-2.3.1-1 SUBSCRIBE with half a packet id", vec![0x82, 1, 1], Closed),
        then("MQTT-3.8.3-3 SUBSCRIBE without a filter", of(&[&id]), Closed),
        then("MQTT 3.8.3 a filter without its QoS", of(&[&id, &a]), Closed),
        then("MQTT 3.8.3 a filter that is longer than its packet", of(&[&id, &[0, 9, b'a', 0]]), Closed),
        then("MQTT 3.8.3 half of a filter's length", of(&[&id, &a, &[0], &[0]]), Closed),
        then("MQTT 3.8.3 a second filter without its QoS", of(&[&id, &a, &[0], &a]), Closed),
        then("MQTT-3.8.3-4 QoS 3", subscribe(1, "a", 3), Closed),
        then("MQTT-3.8.3-4 QoS 3 of a second filter", subscribe_many(1, &[("a", 0), ("b", 3)]), Closed),
    ];
    for bit in 2..8 {
        let name = format!("MQTT-3.8.3-4 reserved bit {bit} beside the QoS");
        cases.push(then(name, subscribe(1, "a", 1 << bit), Closed));
    }
    for (clause, bad) in BAD_STRINGS {
        let name = format!("MQTT-{clause} in SUBSCRIBE's filter");
        cases.push(then(name, of(&[&id, &a, &[0], &binary(bad), &[0]]), Closed));
    }
    for (clause, filter) in [
        ("4.7.1-2", "a#"),
        ("4.7.1-2", "a/#/b"),
        ("4.7.1-2", "##"),
        ("4.7.1-3", "a+"),
        ("4.7.1-3", "+a/b"),
        ("4.7.1-3", "++"),
        ("4.7.3-1", ""),
    ] {
        let bytes = subscribe_many(1, &[(filter, 0), ("good", 1)]);
        cases.push(then(format!("MQTT-{clause} the filter {filter:?}"), bytes, Suback(vec![0x80, 1])));
    }
    cases
}

fn unsubscribes() -> Vec<Case> {
    let (id, a) = ([0, 1], text("a"));
    let of = |body: &[&[u8]]| packet(0xa2, body);
    let mut cases = vec![
        then("MQTT-2.3.1-1 UNSUBSCRIBE with packet id 0", of(&[&[0, 0], &a]), Closed),
        then("MQTT-2.3.1-1 UNSUBSCRIBE without a packet id", vec![0xa2, 0], Closed),
        then("MQTT-2.3.1-1 UNSUBSCRIBE with half a packet id", vec![0xa2, 1, 1], Closed),
        then("MQTT-3.10.3-2 UNSUBSCRIBE without a filter", of(&[&id]), Closed),
        then("MQTT 3.10.3 UNSUBSCRIBE of a filter that is cut", of(&[&id, &[0, 9, b'a']]), Closed),
        then("MQTT 3.10.3 a byte after UNSUBSCRIBE's filter", of(&[&id, &a, &[0]]), Closed),
    ];
    for (clause, bad) in BAD_STRINGS {
        let name = format!("MQTT-{clause} in UNSUBSCRIBE's filter");
        cases.push(then(name, of(&[&id, &a, &binary(bad)]), Closed));
    }
    cases
}
