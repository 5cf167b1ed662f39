//! Violations of 5.0, but for those of properties.

use super::Reaction::{Closed, Disconnected, Refused, Suback};
use super::{Case, RECEIVE_MAX, after, first, then};
use crate::support::{Connect, binary, packet, publish_v5, subscribe_v5, text, unsubscribe_v5};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

/// Strings that are none, with the clause that says so.
pub(super) const BAD_STRINGS: [(&str, &[u8]); 6] = [
    ("1.5.4-1 a lone continuation byte", b"a\x80"),
    ("1.5.4-1 an overlong encoding", b"\xc0\xaf"),
    ("1.5.4-1 a high surrogate", b"a\xed\xa0\x80"),
    ("1.5.4-1 a surrogate pair", b"\xed\xa0\x80\xed\xb0\x80"),
    ("1.5.4-1 a sequence that is cut", b"a\xe2\x82"),
    ("1.5.4-2 U+0000", b"a\0b"),
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
        goodbyes(),
        authentication(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One packet of each type, well-formed where the type exists.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("packet type 0", vec![0x00, 0]),
        ("CONNACK", vec![0x20, 3, 0, 0, 0]),
        ("PUBLISH", publish_v5(0, "a", None, &[], b"x")),
        ("PUBACK", vec![0x40, 2, 0, 1]),
        ("PUBREC", vec![0x50, 2, 0, 1]),
        ("PUBREL", vec![0x62, 2, 0, 1]),
        ("PUBCOMP", vec![0x70, 2, 0, 1]),
        ("SUBSCRIBE", subscribe_v5(1, &[], &[("a", 0)])),
        ("SUBACK", vec![0x90, 4, 0, 1, 0, 0]),
        ("UNSUBSCRIBE", unsubscribe_v5(1, &["a"])),
        ("UNSUBACK", vec![0xb0, 4, 0, 1, 0, 0]),
        ("PINGREQ", vec![0xc0, 0]),
        ("PINGRESP", vec![0xd0, 0]),
        ("DISCONNECT", vec![0xe0, 0]),
        ("AUTH", vec![0xf0, 0]),
    ]
}

fn first_packets() -> Vec<Case> {
    packets()
        .into_iter()
        .map(|(what, bytes)| first(format!("MQTT-3.1.0-1 {what} before CONNECT"), bytes, Closed))
        .collect()
}

/// A CONNECT without properties, with these flags and this payload.
fn connect(flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &[&text("MQTT"), &[5, flags, 0, 0, 0], &payload.concat()])
}

/// A CONNECT of this protocol name and version.
fn named(name: &str, version: u8) -> Vec<u8> {
    packet(0x10, &[&text(name), &[version, 2, 0, 0, 0], &text("named")])
}

fn connects() -> Vec<Case> {
    let [id, topic, message, name, password] = ["id", "topic", "message", "name", "password"].map(text);
    let malformed = Refused(MALFORMED);
    let refused =
        |name: &str, flags, payload: &[&[u8]]| first(name, connect(flags, payload), malformed.clone());
    let whole =
        [&text("MQTT")[..], &[5, 0xc6, 0, 0, 0], &id, &[0], &topic, &message, &name, &password].concat();
    let invalid_topic = Refused(0x90);
    let mut cases = vec![
        first("MQTT-3.1.2-1 the protocol name in lower case", named("mqtt", 5), Closed),
        first("MQTT-3.1.2-1 an empty protocol name", named("", 5), Closed),
        first("MQTT-3.1.2-1 a longer protocol name", named("MQTT5", 5), Closed),
        first("MQTT-3.1.2-2 version 6", named("MQTT", 6), Refused(0x84)),
        first("MQTT-3.1.2-2 version 255", named("MQTT", 255), Refused(0x84)),
        refused("MQTT-3.1.2-3 the reserved flag", 0x03, &[&id]),
        refused("MQTT-3.1.2-9 a will without its payload", 0x06, &[&id, &[0], &topic]),
        refused("MQTT-3.1.2-9 a will without its topic", 0x06, &[&id, &[0]]),
        refused("MQTT-3.1.2-9 a will without its properties", 0x06, &[&id]),
        refused("MQTT 3.1.2.5 a will without its flag", 0x02, &[&id, &[0], &topic, &message]),
        refused("MQTT-3.1.2-11 Will QoS 1 without a will", 0x0a, &[&id]),
        refused("MQTT-3.1.2-11 Will QoS 2 without a will", 0x12, &[&id]),
        refused("MQTT-3.1.2-11 Will QoS 3 without a will", 0x1a, &[&id]),
        refused("MQTT-3.1.2-12 Will QoS 3", 0x1e, &[&id, &[0], &topic, &message]),
        refused("MQTT-3.1.2-13 Will Retain without a will", 0x22, &[&id]),
        refused("MQTT-3.1.2-16 a user name without its flag", 0x02, &[&id, &name]),
        refused("MQTT-3.1.2-17 no user name with its flag", 0x82, &[&id]),
        refused("MQTT-3.1.2-18 a password without its flag", 0x82, &[&id, &name, &password]),
        refused("MQTT-3.1.2-19 no password with its flag", 0xc2, &[&id, &name]),
        refused("MQTT-3.1.2-19 no password with its flag, and no user name", 0x42, &[&id]),
        refused("MQTT-3.1.3-3 no client id", 0x02, &[]),
        first(
            "MQTT-4.7.0-1 a wildcard in the will's topic",
            connect(0x06, &[&id, &[0], &text("a/#"), &message]),
            invalid_topic.clone(),
        ),
        first(
            "MQTT-4.7.3-1 an empty will topic",
            connect(0x06, &[&id, &[0], &text(""), &message]),
            invalid_topic,
        ),
        first("MQTT 3.1.3 a byte after the last field", packet(0x10, &[&whole, &[0]]), malformed.clone()),
        first(
            "MQTT 2.1.4 a CONNECT with a length of five digits",
            vec![0x10, 0xff, 0xff, 0xff, 0xff, 1],
            Closed,
        ),
        first("MQTT-1.5.5-1 a CONNECT with a length that is not the shortest", vec![0x10, 0x80, 0], Closed),
        first("MQTT 3.1.2.3 a CONNECT that ends before its version", packet(0x10, &[&whole[..6]]), Closed),
    ];
    let cuts = [("flags", 7), ("keep alive", 9), ("properties", 10), ("client id", 13)];
    for (what, at) in cuts.into_iter().chain([("password", whole.len() - 1)]) {
        let name = format!("MQTT 3.1.2 a CONNECT that ends before its {what} does");
        cases.push(first(name, packet(0x10, &[&whole[..at]]), malformed.clone()));
    }
    for flags in [1, 2, 4, 8] {
        let mut bytes = Connect::v5("flags").bytes();
        bytes[0] |= flags;
        cases.push(first(format!("MQTT-2.1.3-1 CONNECT with flags {flags:#06b}"), bytes, Closed));
    }
    cases
}

fn connect_strings() -> Vec<Case> {
    let fields = |(clause, bad): (&str, &[u8])| {
        let (bad, id) = (binary(bad), text("id"));
        [
            ("the client id", connect(0x02, &[&bad])),
            ("the will's topic", connect(0x06, &[&id, &[0], &bad, &text("message")])),
            ("the user name", connect(0x82, &[&id, &bad])),
        ]
        .map(|(what, bytes)| first(format!("MQTT-{clause} in {what}"), bytes, Refused(MALFORMED)))
    };
    BAD_STRINGS.into_iter().flat_map(fields).collect()
}

/// What is wrong with the fixed header already, or with the type, after CONNECT.
fn headers() -> Vec<Case> {
    let malformed = Disconnected(MALFORMED);
    let protocol_error = Disconnected(PROTOCOL_ERROR);
    let mut cases = vec![
        then("MQTT-3.1.0-2 a second CONNECT", Connect::v5("second").bytes(), protocol_error.clone()),
        then(
            "MQTT-3.1.0-2 a second CONNECT, of 3.1.1",
            Connect::new("second").bytes(),
            protocol_error.clone(),
        ),
        then("MQTT 2.1.2 packet type 0", vec![0x00, 0], malformed.clone()),
        then("MQTT 2.1.4 a length of five digits", vec![0x30, 0xff, 0xff, 0xff, 0xff, 1], malformed.clone()),
        then("MQTT-1.5.5-1 a length that is not the shortest", vec![0xc0, 0x80, 0], malformed.clone()),
        then(
            "MQTT-3.2.2-15 a packet above Maximum Packet Size",
            vec![0x30, 0xff, 0xff, 0xff, 0x7f],
            Disconnected(0x95),
        ),
        then("MQTT 3.12.1 a PINGREQ with a body", vec![0xc0, 1, 0], malformed.clone()),
    ];
    let reserved = [
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "PINGREQ",
        "DISCONNECT",
        "AUTH",
    ];
    let server = ["CONNACK", "SUBACK", "UNSUBACK", "PINGRESP"];
    for (what, packet) in packets() {
        if server.contains(&what) {
            let name = format!("MQTT 2.1.2 {what} from a client");
            cases.push(then(name, packet.clone(), protocol_error.clone()));
        }
        for bit in [1, 2, 4, 8].into_iter().filter(|_| reserved.contains(&what)) {
            let mut bytes = packet.clone();
            bytes[0] ^= bit;
            let name = format!("MQTT-2.1.3-1 {what} with flags {:#06b}", bytes[0] & 0xf);
            cases.push(then(name, bytes, malformed.clone()));
        }
    }
    cases
}

fn publishes() -> Vec<Case> {
    let a = text("a");
    let malformed = |name: &str, bytes: Vec<u8>| then(name, bytes, Disconnected(MALFORMED));
    let invalid =
        |name: &str, topic: &str| then(name, publish_v5(0, topic, None, &[], b"x"), Disconnected(0x90));
    let qos_2 = |id| publish_v5(4, "a", Some(id), &[], b"x");
    let mut cases = vec![
        malformed("MQTT-2.2.1-3 packet id 0 with QoS 1", publish_v5(2, "a", Some(0), &[], b"x")),
        malformed("MQTT-2.2.1-3 packet id 0 with QoS 2", publish_v5(4, "a", Some(0), &[], b"x")),
        malformed("MQTT-2.2.1-3 no packet id with QoS 1", packet(0x32, &[&a])),
        malformed("MQTT-2.2.1-3 half a packet id with QoS 2", packet(0x34, &[&a, &[1]])),
        malformed("MQTT-2.2.2-1 no property length", packet(0x30, &[&a])),
        malformed("MQTT-2.2.2-1 no property length with QoS 1", packet(0x32, &[&a, &[0, 1]])),
        malformed("MQTT-3.3.1-2 DUP with QoS 0", publish_v5(8, "a", None, &[], b"x")),
        malformed("MQTT-3.3.1-2 DUP and RETAIN with QoS 0", publish_v5(9, "a", None, &[], b"x")),
        malformed("MQTT-3.3.1-4 QoS 3", publish_v5(6, "a", Some(1), &[], b"x")),
        malformed("MQTT-3.3.1-4 QoS 3 with DUP and RETAIN", publish_v5(0xf, "a", Some(1), &[], b"x")),
        malformed("MQTT-3.3.2-1 a PUBLISH of nothing", vec![0x30, 0]),
        malformed("MQTT-3.3.2-1 half of the topic's length", vec![0x30, 1, 0]),
        malformed("MQTT-3.3.2-1 a topic that is longer than its packet", vec![0x30, 4, 0, 9, b'a', 0]),
        invalid("MQTT-3.3.2-2 a topic with #", "a/#"),
        invalid("MQTT-3.3.2-2 a topic with +", "a/+/b"),
        invalid("MQTT-3.3.2-2 a topic with + within a level", "a+b"),
        then(
            "MQTT 3.3.2.1 an empty topic without alias",
            publish_v5(0, "", None, &[], b"x"),
            Disconnected(PROTOCOL_ERROR),
        ),
        after(
            "MQTT-3.3.4-7 more unfinished messages than Receive Maximum",
            (1..=RECEIVE_MAX).flat_map(qos_2).collect(),
            qos_2(RECEIVE_MAX + 1),
            Disconnected(0x93),
        ),
    ];
    for (clause, bad) in BAD_STRINGS {
        let bytes = packet(0x30, &[&binary(bad), &[0], b"x"]);
        cases.push(malformed(&format!("MQTT-{clause} in PUBLISH's topic"), bytes));
    }
    cases
}

/// Reason codes that exist, and which of the four acknowledgements may have them.
const ACK_REASONS: [(u8, [bool; 4]); 12] = [
    (0x00, [true; 4]),
    (0x01, [false; 4]),
    (0x04, [false; 4]),
    (0x10, [true, true, false, false]),
    (0x18, [false; 4]),
    (0x80, [true, true, false, false]),
    (0x81, [false; 4]),
    (0x82, [false; 4]),
    (0x92, [false, false, true, true]),
    (0x97, [true, true, false, false]),
    (0xa2, [false; 4]),
    (0xff, [false; 4]),
];

fn acks() -> Vec<Case> {
    let types = [("PUBACK", 0x40), ("PUBREC", 0x50), ("PUBREL", 0x62), ("PUBCOMP", 0x70)];
    let mut cases = Vec::new();
    for (number, (what, first)) in types.into_iter().enumerate() {
        let mut malformed = |name: String, bytes: &[u8]| {
            cases.push(then(name, packet(first, &[bytes]), Disconnected(MALFORMED)));
        };
        malformed(format!("MQTT-2.2.1-5 {what} with packet id 0"), &[0, 0]);
        malformed(format!("MQTT-2.2.1-5 {what} without a packet id"), &[]);
        malformed(format!("MQTT-2.2.1-5 {what} with half a packet id"), &[1]);
        malformed(format!("MQTT 3.4.2.2 {what} with a byte after its properties"), &[0, 1, 0, 0, 0]);
        malformed(format!("MQTT 3.4.2.2 {what} with properties that are cut"), &[0, 1, 0, 5, 0x1f]);
        for (reason, _) in ACK_REASONS.into_iter().filter(|(_, allowed)| !allowed[number]) {
            malformed(format!("MQTT 2.4 {what} with reason {reason:#04x}"), &[0, 1, reason, 0]);
        }
    }
    cases
}

fn subscribes() -> Vec<Case> {
    let (id, a) = ([0, 1, 0], text("a"));
    let of = |body: &[&[u8]]| packet(0x82, body);
    let malformed = |name: &str, bytes: Vec<u8>| then(name, bytes, Disconnected(MALFORMED));
    let wrong = |name: &str, filter, options| {
        then(name, subscribe_v5(1, &[], &[("good", 0), (filter, options)]), Disconnected(PROTOCOL_ERROR))
    };
    let mut cases = vec![
        malformed("MQTT-2.2.1-3 SUBSCRIBE with packet id 0", subscribe_v5(0, &[], &[("a", 0)])),
        malformed("MQTT-2.2.1-3 SUBSCRIBE without a packet id", vec![0x82, 0]),
        malformed("MQTT-2.2.1-3 SUBSCRIBE with half a packet id", vec![0x82, 1, 1]),
        malformed("MQTT-2.2.2-1 SUBSCRIBE without a property length", of(&[&[0, 1]])),
        malformed("MQTT 3.8.3 a filter without its options", of(&[&id, &a])),
        malformed("MQTT 3.8.3 a filter that is longer than its packet", of(&[&id, &[0, 9, b'a', 0]])),
        malformed("MQTT 3.8.3 a second filter without its options", of(&[&id, &a, &[0], &a])),
        malformed("MQTT-3.8.3-5 reserved bit 6 of the options", subscribe_v5(1, &[], &[("a", 0x40)])),
        malformed("MQTT-3.8.3-5 reserved bit 7 of the options", subscribe_v5(1, &[], &[("a", 0x80)])),
        then("MQTT-3.8.3-2 SUBSCRIBE without a filter", of(&[&id]), Disconnected(PROTOCOL_ERROR)),
        wrong("MQTT 3.8.3.1 Maximum QoS 3", "a", 0x03),
        wrong("MQTT 3.8.3.1 Retain Handling 3", "a", 0x30),
        wrong("MQTT-3.8.3-4 No Local on a shared subscription", "$share/g/a", 0x04),
    ];
    for (clause, bad) in BAD_STRINGS {
        let bytes = of(&[&id, &a, &[0], &binary(bad), &[0]]);
        cases.push(malformed(&format!("MQTT-{clause} in SUBSCRIBE's filter"), bytes));
    }
    for (clause, filter) in [
        ("4.7.1-1", "a#"),
        ("4.7.1-1", "a/#/b"),
        ("4.7.1-1", "##"),
        ("4.7.1-2", "a+"),
        ("4.7.1-2", "+a/b"),
        ("4.7.1-2", "++"),
        ("4.7.3-1", ""),
        ("4.8.2-1", "$share/"),
        ("4.8.2-1", "$share//a"),
        ("4.8.2-2", "$share/g+/a"),
        ("4.8.2-2", "$share/#/a"),
        ("4.8.2-2", "$share/g"),
        ("4.8.2-2", "$share/g/"),
        ("4.8.2-2", "$share/g/a#"),
    ] {
        let bytes = subscribe_v5(1, &[], &[(filter, 0), ("good", 1)]);
        cases.push(then(format!("MQTT-{clause} the filter {filter:?}"), bytes, Suback(vec![0x8f, 1])));
    }
    cases
}

fn unsubscribes() -> Vec<Case> {
    let (id, a) = ([0, 1, 0], text("a"));
    let of = |body: &[&[u8]]| packet(0xa2, body);
    let malformed = |name: &str, bytes: Vec<u8>| then(name, bytes, Disconnected(MALFORMED));
    let mut cases = vec![
        malformed("MQTT-2.2.1-3 UNSUBSCRIBE with packet id 0", unsubscribe_v5(0, &["a"])),
        malformed("MQTT-2.2.1-3 UNSUBSCRIBE without a packet id", vec![0xa2, 0]),
        malformed("MQTT-2.2.1-3 UNSUBSCRIBE with half a packet id", vec![0xa2, 1, 1]),
        malformed("MQTT-2.2.2-1 UNSUBSCRIBE without a property length", of(&[&[0, 1]])),
        malformed("MQTT 3.10.3 UNSUBSCRIBE of a filter that is cut", of(&[&id, &[0, 9, b'a']])),
        malformed("MQTT 3.10.3 a byte after UNSUBSCRIBE's filter", of(&[&id, &a, &[0]])),
        then("MQTT-3.10.3-2 UNSUBSCRIBE without a filter", of(&[&id]), Disconnected(PROTOCOL_ERROR)),
    ];
    for (clause, bad) in BAD_STRINGS {
        let name = format!("MQTT-{clause} in UNSUBSCRIBE's filter");
        cases.push(malformed(&name, of(&[&id, &a, &binary(bad)])));
    }
    cases
}

fn goodbyes() -> Vec<Case> {
    let malformed = |name: String, body: &[u8]| then(name, packet(0xe0, &[body]), Disconnected(MALFORMED));
    let mut cases = vec![
        malformed("MQTT 3.14.2.2 DISCONNECT with a byte after its properties".into(), &[0, 0, 0]),
        malformed("MQTT 3.14.2.2 DISCONNECT with properties that are cut".into(), &[0, 5, 0x11]),
        then(
            "MQTT 3.14.2.2.2 Session Expiry Interval in DISCONNECT after none in CONNECT",
            packet(0xe0, &[&[0, 5, 0x11, 0, 0, 0, 1]]),
            Disconnected(PROTOCOL_ERROR),
        ),
    ];
    for reason in [0x01, 0x10, 0x18, 0x84, 0x85, 0x91, 0xff] {
        cases.push(malformed(format!("MQTT-3.14.2-1 DISCONNECT with reason {reason:#04x}"), &[reason, 0]));
    }
    cases
}

fn authentication() -> Vec<Case> {
    let method = [&[0x15][..], &text("m")].concat();
    let auth = |reason: u8, block: &[u8]| {
        let length = u8::try_from(block.len()).expect("a short block");
        packet(0xf0, &[&[reason, length], block])
    };
    vec![
        then("MQTT-4.12.0-7 AUTH without a method in CONNECT", vec![0xf0, 0], Disconnected(PROTOCOL_ERROR)),
        then(
            "MQTT-4.12.0-7 AUTH with a method, and none in CONNECT",
            auth(0x18, &method),
            Disconnected(PROTOCOL_ERROR),
        ),
        then(
            "MQTT-4.12.0-7 re-authentication without a method in CONNECT",
            auth(0x19, &method),
            Disconnected(PROTOCOL_ERROR),
        ),
        then("MQTT-3.15.2-1 AUTH with reason 0x01", auth(0x01, &method), Disconnected(MALFORMED)),
        then("MQTT-3.15.2-1 AUTH with reason 0x80", auth(0x80, &method), Disconnected(MALFORMED)),
        then(
            "MQTT 3.15.2.2 AUTH with a byte after its properties",
            vec![0xf0, 3, 0x18, 0, 0],
            Disconnected(MALFORMED),
        ),
        first(
            "MQTT-4.12.0-1 an authentication method that there is not",
            Connect { properties: &method, ..Connect::v5("method") }.bytes(),
            Refused(0x8c),
        ),
    ]
}
