//! Violations of 5.0 in properties: where they do not belong, twice, out of range, cut.

use super::v5::BAD_STRINGS;
use super::{Case, Reaction, first, then};
use crate::support::property::{byte, data, four, pair, subscription_id, two};
use crate::support::{self, packet, property, publish_v5, subscribe_v5, text, varint};
use Place::*;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const TOPIC_ALIAS_INVALID: u8 = 0x94;
/// Above the default of `topic_alias_max`.
const ALIAS_TOO_HIGH: u16 = 33;

/// Where a client sends properties.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Connect,
    Will,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

const PLACES: [Place; 11] =
    [Connect, Will, Publish, PubAck, PubRec, PubRel, PubComp, Subscribe, Unsubscribe, Disconnect, Auth];
/// What every acknowledgement of a client may have a Reason String in.
const REASONS: &[Place] = &[PubAck, PubRec, PubRel, PubComp, Disconnect, Auth];
const MESSAGES: &[Place] = &[Publish, Will];

/// All properties with a value that is right, and where a client may send them. [MQTT 2.2.2.2]
fn properties() -> Vec<(&'static str, Vec<u8>, &'static [Place])> {
    vec![
        ("Payload Format Indicator", byte(property::PAYLOAD_FORMAT, 1), MESSAGES),
        ("Message Expiry Interval", four(property::MESSAGE_EXPIRY, 9), MESSAGES),
        ("Content Type", data(property::CONTENT_TYPE, "t"), MESSAGES),
        ("Response Topic", data(property::RESPONSE_TOPIC, "t"), MESSAGES),
        ("Correlation Data", data(property::CORRELATION_DATA, "c"), MESSAGES),
        ("Subscription Identifier", subscription_id(1), &[Publish, Subscribe]),
        ("Session Expiry Interval", four(property::SESSION_EXPIRY, 0), &[Connect, Disconnect]),
        ("Assigned Client Identifier", data(property::ASSIGNED_ID, "c"), &[]),
        ("Server Keep Alive", two(property::SERVER_KEEP_ALIVE, 9), &[]),
        ("Authentication Method", data(property::AUTH_METHOD, "m"), &[Connect, Auth]),
        ("Authentication Data", data(property::AUTH_DATA, "d"), &[Connect, Auth]),
        ("Request Problem Information", byte(property::PROBLEM_INFORMATION, 1), &[Connect]),
        ("Will Delay Interval", four(property::WILL_DELAY, 9), &[Will]),
        ("Request Response Information", byte(property::REQUEST_RESPONSE_INFORMATION, 1), &[Connect]),
        ("Response Information", data(property::RESPONSE_INFORMATION, "r"), &[]),
        ("Server Reference", data(property::SERVER_REFERENCE, "s"), &[Disconnect]),
        ("Reason String", data(property::REASON_STRING, "r"), REASONS),
        ("Receive Maximum", two(property::RECEIVE_MAXIMUM, 9), &[Connect]),
        ("Topic Alias Maximum", two(property::ALIAS_MAXIMUM, 9), &[Connect]),
        ("Topic Alias", two(property::ALIAS, 1), &[Publish]),
        ("Maximum QoS", byte(property::MAXIMUM_QOS, 1), &[]),
        ("Retain Available", byte(property::RETAIN_AVAILABLE, 1), &[]),
        ("User Property", pair("a", "b"), &PLACES),
        ("Maximum Packet Size", four(property::MAXIMUM_PACKET_SIZE, 999), &[Connect]),
        ("Wildcard Subscription Available", byte(0x28, 1), &[]),
        ("Subscription Identifier Available", byte(0x29, 1), &[]),
        ("Shared Subscription Available", byte(0x2a, 1), &[]),
    ]
}

impl Place {
    /// A packet with a block of properties in this place: its length is given apart, for it may be wrong.
    fn packet(self, length: &[u8], block: &[u8]) -> Vec<u8> {
        let block = &[length, block].concat()[..];
        let connect = |flags, before: &[u8], payload: &[u8]| {
            packet(0x10, &[&text("MQTT"), &[5, flags, 0, 0], before, payload])
        };
        match self {
            Connect => connect(2, block, &text("c")),
            Will => connect(6, &[0], &[&text("c")[..], block, &text("will"), &text("x")].concat()),
            Publish => packet(0x30, &[&text("a"), block]),
            PubAck => packet(0x40, &[&[0, 1, 0], block]),
            PubRec => packet(0x50, &[&[0, 1, 0], block]),
            PubRel => packet(0x62, &[&[0, 1, 0], block]),
            PubComp => packet(0x70, &[&[0, 1, 0], block]),
            Subscribe => packet(0x82, &[&[0, 1], block, &text("a"), &[0]]),
            Unsubscribe => packet(0xa2, &[&[0, 1], block, &text("a")]),
            Disconnect => packet(0xe0, &[&[0], block]),
            Auth => packet(0xf0, &[&[0x18], block]),
        }
    }

    fn with(self, block: &[u8]) -> Vec<u8> {
        self.packet(&varint(block.len()), block)
    }

    /// Such a packet as a case that ends with this reason code.
    fn case(self, name: impl Into<String>, bytes: Vec<u8>, reason: u8) -> Case {
        match self {
            Connect | Will => first(name, bytes, Reaction::Refused(reason)),
            _ => then(name, bytes, Reaction::Disconnected(reason)),
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let each: [fn(Place) -> Vec<Case>; 5] = [misplaced, unknown, repeated, cut, strings];
    let in_each_place =
        PLACES.into_iter().flat_map(|place| each.into_iter().flat_map(move |cases| cases(place)));
    in_each_place.chain(values()).collect()
}

fn misplaced(place: Place) -> Vec<Case> {
    properties()
        .into_iter()
        .filter(|(_, _, places)| !places.contains(&place))
        .map(|(what, property, _)| {
            place.case(format!("MQTT 2.2.2.2 {what} in {place:?}"), place.with(&property), MALFORMED)
        })
        .collect()
}

fn unknown(place: Place) -> Vec<Case> {
    [&[0x00, 0][..], &[0x04, 0], &[0x2b, 0], &[0x7f, 0], &[0x81, 1, 0], &[0xff, 0xff, 0xff, 0x7f, 0]]
        .into_iter()
        .map(|property| {
            let id = &property[..property.len() - 1];
            place.case(
                format!("MQTT 2.2.2.2 property {id:02x?} in {place:?}"),
                place.with(property),
                MALFORMED,
            )
        })
        .collect()
}

fn repeated(place: Place) -> Vec<Case> {
    let method = data(property::AUTH_METHOD, "m");
    let once = |&(what, _, places): &(&str, Vec<u8>, &[Place])| {
        // A client never sends a Subscription Identifier in PUBLISH: that is a case of its own.
        let several = what == "User Property" || (what, place) == ("Subscription Identifier", Publish);
        places.contains(&place) && !several
    };
    properties()
        .into_iter()
        .filter(once)
        .map(|(what, property, _)| {
            // Data needs a method.
            let before = if what == "Authentication Data" { &method[..] } else { &[] };
            let twice = [before, &property, &pair("between", ""), &property].concat();
            place.case(format!("MQTT 2.2.2.2 {what} twice in {place:?}"), place.with(&twice), PROTOCOL_ERROR)
        })
        .collect()
}

fn cut(place: Place) -> Vec<Case> {
    let user = pair("name", "value");
    let case = |what: &str, bytes| place.case(format!("MQTT 2.2.2.1 {what} in {place:?}"), bytes, MALFORMED);
    vec![
        case("a property length of five digits", place.packet(&[0xff, 0xff, 0xff, 0xff, 1], &user)),
        case("a property length that is not the shortest", place.packet(&[0x80 | 13, 0], &user)),
        case("a property length beyond the packet", place.packet(&[0xff, 0x7f], &user)),
        case("a property length that ends within a value", place.packet(&[9], &user)),
        case("a property length that ends after an identifier", place.packet(&[1], &user)),
    ]
}

fn strings(place: Place) -> Vec<Case> {
    let mut cases = Vec::new();
    for (clause, bad) in BAD_STRINGS {
        let mut case = |what: &str, block: &[u8]| {
            let name = format!("MQTT-{clause} in {what} in {place:?}");
            cases.push(place.case(name, place.with(block), MALFORMED));
        };
        case("a User Property's name", &pair(bad, "value"));
        case("a User Property's value", &pair("name", bad));
        for (what, property, places) in properties() {
            let id = property[0];
            let string = [
                property::CONTENT_TYPE,
                property::RESPONSE_TOPIC,
                property::AUTH_METHOD,
                property::SERVER_REFERENCE,
                property::REASON_STRING,
            ];
            if places.contains(&place) && string.contains(&id) {
                case(what, &data(id, bad));
            }
        }
    }
    cases
}

/// Values that the properties do not allow, and values that do not fit to others.
fn values() -> Vec<Case> {
    let wrong = |name: &str, place: Place, block: &[u8]| place.case(name, place.with(block), PROTOCOL_ERROR);
    let aliased = |topic, alias| publish_v5(0, topic, None, &two(property::ALIAS, alias), b"x");
    let alias = |name: &str, bytes, reason| then(name, bytes, Reaction::Disconnected(reason));
    let set = [aliased("a", 1), aliased("", 1)].concat();
    vec![
        wrong("MQTT 3.1.2.11.3 Receive Maximum 0", Connect, &two(property::RECEIVE_MAXIMUM, 0)),
        wrong("MQTT 3.1.2.11.4 Maximum Packet Size 0", Connect, &four(property::MAXIMUM_PACKET_SIZE, 0)),
        wrong("MQTT 3.1.2.11.6 Request Response Information 2", Connect, &byte(0x19, 2)),
        wrong("MQTT 3.1.2.11.7 Request Problem Information 2", Connect, &byte(0x17, 2)),
        wrong(
            "MQTT 3.1.2.11.10 Authentication Data without a method",
            Connect,
            &data(property::AUTH_DATA, "d"),
        ),
        wrong("MQTT 3.15.2.2.3 Authentication Data without a method", Auth, &data(property::AUTH_DATA, "d")),
        wrong(
            "MQTT 3.1.3.2.3 Payload Format Indicator 2 in the will",
            Will,
            &byte(property::PAYLOAD_FORMAT, 2),
        ),
        wrong("MQTT 3.3.2.3.2 Payload Format Indicator 2", Publish, &byte(property::PAYLOAD_FORMAT, 2)),
        wrong("MQTT-3.3.2-14 a Response Topic with #", Publish, &data(property::RESPONSE_TOPIC, "a/#")),
        wrong("MQTT-3.3.2-14 a Response Topic with +", Publish, &data(property::RESPONSE_TOPIC, "+/a")),
        wrong(
            "MQTT-3.3.2-14 a Response Topic with # in the will",
            Will,
            &data(property::RESPONSE_TOPIC, "#"),
        ),
        wrong("MQTT-3.3.4-6 Subscription Identifier in PUBLISH", Publish, &subscription_id(1)),
        wrong("MQTT 3.3.2.3.8 Subscription Identifier 0 in PUBLISH", Publish, &subscription_id(0)),
        wrong("MQTT 3.8.2.1.2 Subscription Identifier 0", Subscribe, &subscription_id(0)),
        Subscribe.case(
            "MQTT 3.8.2.1.2 Subscription Identifier above 268,435,455",
            subscribe_v5(1, &[0x0b, 0x80, 0x80, 0x80, 0x80, 1], &[("a", 0)]),
            MALFORMED,
        ),
        alias("MQTT-3.3.2-8 Topic Alias 0", aliased("a", 0), TOPIC_ALIAS_INVALID),
        alias(
            "MQTT-3.3.2-9 Topic Alias above the maximum",
            aliased("a", ALIAS_TOO_HIGH),
            TOPIC_ALIAS_INVALID,
        ),
        alias("MQTT-3.3.2-9 Topic Alias 65,535", aliased("", u16::MAX), TOPIC_ALIAS_INVALID),
        alias("MQTT 3.3.2.3.4 a Topic Alias that stands for nothing", aliased("", 2), PROTOCOL_ERROR),
        alias("MQTT 3.3.2.3.4 another one is set", [set, aliased("", 3)].concat(), PROTOCOL_ERROR),
        first(
            "MQTT 3.1.2.2 a CONNECT of 5.0 whose version is 3.1.1's",
            packet(0x10, &[&text("MQTT"), &[4, 2, 0, 0], &[0], &text("level")]),
            Reaction::Closed,
        ),
        first(
            "MQTT 3.1.2.2 a CONNECT of 3.1.1 whose version is 5.0's",
            packet(0x10, &[&text("MQTT"), &[5, 2, 0, 0], &text("level")]),
            Reaction::Refused(MALFORMED),
        ),
        wrong(
            "MQTT 3.14.2.2.2 Session Expiry Interval after 0",
            Disconnect,
            &four(property::SESSION_EXPIRY, 1),
        ),
        first(
            "MQTT 3.1.3.6 a password that is longer than its packet",
            {
                let mut bytes =
                    support::Connect { password: Some(b"pass"), ..support::Connect::v5("c") }.bytes();
                let length = bytes.len() - 5;
                bytes[length] = 9;
                bytes
            },
            Reaction::Refused(MALFORMED),
        ),
    ]
}
