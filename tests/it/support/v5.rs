//! Packets of 5.0, put together and taken apart without the broker's own codec.

use super::bytes::{binary, varint};
use super::{Broker, Connect, PINGREQ, PINGRESP, Raw, packet, publish_v5, text};
use std::io::Read;

/// Retain Handling 2 among a subscription's options. What is retained in the moment of a subscription may come as a retained
/// message and live: a test that looks at what is live asks for that alone.
pub(crate) const LIVE_ONLY: u8 = 0x20;

/// Encoded properties by their numbers in the standard. [MQTT 2.2.2.2]
pub(crate) mod property {
    use super::{binary, varint};

    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_ID: u8 = 0x0b;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTH_METHOD: u8 = 0x15;
    pub(crate) const AUTH_DATA: u8 = 0x16;
    pub(crate) const PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1a;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1c;
    pub(crate) const REASON_STRING: u8 = 0x1f;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;

    pub(crate) fn byte(id: u8, value: u8) -> Vec<u8> {
        vec![id, value]
    }

    pub(crate) fn two(id: u8, value: u16) -> Vec<u8> {
        [&[id][..], &value.to_be_bytes()].concat()
    }

    pub(crate) fn four(id: u8, value: u32) -> Vec<u8> {
        [&[id][..], &value.to_be_bytes()].concat()
    }

    /// Strings and binary data, well-formed or not.
    pub(crate) fn data(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
        [&[id][..], &binary(value.as_ref())].concat()
    }

    pub(crate) fn pair(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
        [&[USER][..], &binary(name.as_ref()), &binary(value.as_ref())].concat()
    }

    pub(crate) fn subscription_id(id: usize) -> Vec<u8> {
        [&[SUBSCRIPTION_ID][..], &varint(id)].concat()
    }
}

/// Properties taken apart: numbers and encoded values, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties(pub(crate) Vec<(u8, Vec<u8>)>);

impl Properties {
    /// Reads them off the front of `bytes`, their length first.
    fn take(bytes: &mut &[u8]) -> Self {
        let (len, digits) = number(bytes);
        let (mut block, rest) = bytes[digits..].split_at(len);
        *bytes = rest;
        let mut found = Vec::new();
        while let [id, rest @ ..] = block {
            let len = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => 1,
                0x13 | 0x21..=0x23 => 2,
                0x02 | 0x11 | 0x18 | 0x27 => 4,
                0x0b => number(rest).1,
                0x26 => {
                    let name = field_len(rest);
                    name + field_len(&rest[name..])
                }
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => field_len(rest),
                _ => panic!("property {id:#04x} in {block:02x?}"),
            };
            found.push((*id, rest[..len].to_vec()));
            block = &rest[len..];
        }
        Self(found)
    }

    /// Takes a block apart that has nothing after it.
    #[track_caller]
    pub(crate) fn within(mut block: &[u8]) -> Self {
        let properties = Self::take(&mut block);
        assert!(block.is_empty(), "bytes after the properties");
        properties
    }

    /// The values of a property.
    pub(crate) fn all(&self, id: u8) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(known, _)| *known == id).map(|(_, value)| &value[..])
    }

    pub(crate) fn has(&self, id: u8) -> bool {
        self.all(id).next().is_some()
    }

    /// The value of a property that is there once, as a number of a fixed size.
    #[track_caller]
    pub(crate) fn number(&self, id: u8) -> Option<u32> {
        let mut values = self.all(id);
        let value = values.next()?;
        assert_eq!(values.next(), None, "property {id:#04x} is there twice");
        Some(value.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
    }

    /// The same as a string.
    #[track_caller]
    pub(crate) fn string(&self, id: u8) -> Option<String> {
        let mut values = self.all(id);
        let value = values.next()?;
        assert_eq!(values.next(), None, "property {id:#04x} is there twice");
        Some(String::from_utf8(value[2..].to_vec()).expect("a string is UTF-8"))
    }

    /// The subscription identifiers, sorted.
    pub(crate) fn subscription_ids(&self) -> Vec<usize> {
        let mut ids: Vec<usize> = self.all(property::SUBSCRIPTION_ID).map(|value| number(value).0).collect();
        ids.sort_unstable();
        ids
    }
}

/// A variable byte integer in its shortest form, and how many bytes it takes.
#[track_caller]
fn number(bytes: &[u8]) -> (usize, usize) {
    let len = bytes.iter().take(4).position(|byte| byte & 0x80 == 0).expect("at most four digits") + 1;
    assert!(len == 1 || bytes[len - 1] != 0, "longer than it has to be: {:02x?}", &bytes[..len]);
    (bytes[..len].iter().rev().fold(0, |sum, &digit| sum << 7 | usize::from(digit & 0x7f)), len)
}

/// A length of two bytes and as many bytes.
fn field_len(bytes: &[u8]) -> usize {
    2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// CONNACK taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) flags: u8,
    pub(crate) reason: u8,
    pub(crate) properties: Properties,
}

impl Answer {
    #[track_caller]
    fn read(raw: &mut Raw) -> Self {
        let packet = raw.packet();
        assert_eq!(packet[0], 0x20, "CONNACK and not {packet:02x?}");
        Self::of(&packet)
    }

    #[track_caller]
    pub(crate) fn of(packet: &[u8]) -> Self {
        let mut body = body(packet);
        let (flags, reason) = (body[0], body[1]);
        body = &body[2..];
        let properties = Properties::take(&mut body);
        assert!(body.is_empty(), "bytes after CONNACK's properties");
        Self { flags, reason, properties }
    }
}

/// PUBLISH taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    /// DUP, QoS and RETAIN.
    pub(crate) flags: u8,
    pub(crate) topic: String,
    pub(crate) id: Option<u16>,
    pub(crate) properties: Properties,
    pub(crate) payload: Vec<u8>,
}

impl Publication {
    #[track_caller]
    pub(crate) fn of(packet: &[u8]) -> Self {
        assert_eq!(packet[0] >> 4, 3, "PUBLISH and not {packet:02x?}");
        let mut body = body(packet);
        let topic = field_len(body);
        let flags = packet[0] & 0xf;
        let name = String::from_utf8(body[2..topic].to_vec()).expect("a topic is UTF-8");
        body = &body[topic..];
        let mut id = None;
        if flags & 6 != 0 {
            id = Some(u16::from_be_bytes([body[0], body[1]]));
            body = &body[2..];
        }
        let properties = Properties::take(&mut body);
        Self { flags, topic: name, id, properties, payload: body.to_vec() }
    }
}

/// What follows the fixed header.
fn body(packet: &[u8]) -> &[u8] {
    let (len, digits) = number(&packet[1..]);
    assert_eq!(packet.len(), 1 + digits + len);
    &packet[1 + digits..]
}

/// SUBSCRIBE of 5.0; a filter's options are its QoS, No Local (4), Retain As Published (8) and Retain Handling (16, 32).
pub(crate) fn subscribe_v5(id: u16, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let filters: Vec<u8> =
        filters.iter().flat_map(|(filter, options)| [text(filter), vec![*options]].concat()).collect();
    packet(0x82, &[&id.to_be_bytes(), &varint(properties.len()), properties, &filters])
}

/// UNSUBSCRIBE of 5.0.
pub(crate) fn unsubscribe_v5(id: u16, filters: &[&str]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(|filter| text(filter)).collect();
    packet(0xa2, &[&id.to_be_bytes(), &[0], &filters])
}

impl Broker {
    /// A client of 5.0 whose session ends with its connection.
    #[track_caller]
    pub(crate) fn v5(&self, id: &str) -> Raw {
        self.greeted(&Connect::v5(id)).0
    }

    /// A client of 5.0 whose session outlives its connection for long; `present` is whether it was there already.
    #[track_caller]
    pub(crate) fn kept_v5(&self, id: &str, present: bool) -> Raw {
        let properties = &property::four(property::SESSION_EXPIRY, 1_000);
        let (raw, answer) = self.greeted(&Connect { properties, clean: false, ..Connect::v5(id) });
        assert_eq!(answer.flags, u8::from(present), "Session Present");
        raw
    }

    /// A client of 5.0 that is accepted, and how.
    #[track_caller]
    pub(crate) fn greeted(&self, connect: &Connect<'_>) -> (Raw, Answer) {
        let mut raw = self.raw();
        raw.send(&connect.bytes());
        let answer = Answer::read(&mut raw);
        assert_eq!(answer.reason, 0, "{answer:?}");
        (raw, answer)
    }

    /// Waits until the broker's own clocks have gone so far: until the will of a client that vanishes now is published.
    #[track_caller]
    pub(crate) fn let_pass(&self, seconds: u32) {
        let mut watcher = self.v5("clock-watcher");
        watcher.subscribe_v5("clock", 0);
        let connect = Connect {
            will: Some(("clock", "struck", 0, false)),
            will_properties: &property::four(property::WILL_DELAY, seconds),
            properties: &property::four(property::SESSION_EXPIRY, 1_000),
            ..Connect::v5("clock")
        };
        drop(self.greeted(&connect));
        watcher.expect(&publish_v5(0, "clock", None, &[], b"struck"));
    }

    /// A connection that begins like this is refused with a CONNACK that says so, and closed.
    #[track_caller]
    pub(crate) fn refuses(&self, bytes: &[u8], reason: u8) -> Answer {
        let mut raw = self.raw();
        raw.send(bytes);
        let answer = Answer::read(&mut raw);
        assert_eq!((answer.flags, answer.reason), (0, reason), "{answer:?}");
        raw.expect_closed();
        answer
    }

    /// A connection that begins like this is closed. It may be told why before, with this reason.
    #[track_caller]
    pub(crate) fn turns_away(&self, bytes: &[u8], reason: u8) {
        let mut raw = self.raw();
        raw.send(bytes);
        let mut got = Vec::new();
        // A reset is an end as well.
        let _ = raw.0.read_to_end(&mut got);
        if !got.is_empty() {
            let answer = Answer::of(&got);
            assert_eq!((got[0], answer.flags, answer.reason), (0x20, 0, reason), "{answer:?}");
        }
    }

    /// A client of 5.0 that sends this is told this reason in a DISCONNECT, and the connection is closed.
    #[track_caller]
    pub(crate) fn disconnects(&self, id: &str, bytes: &[u8], reason: u8) {
        let mut raw = self.v5(id);
        raw.send(bytes);
        raw.expect_goodbye(reason);
    }
}

impl Raw {
    /// The broker says why it closes the connection, and does.
    #[track_caller]
    pub(crate) fn expect_goodbye(&mut self, reason: u8) -> Properties {
        let packet = self.packet();
        assert_eq!(packet[0], 0xe0, "DISCONNECT and not {packet:02x?}");
        let body = body(&packet);
        // Reason and properties may be left out.
        assert_eq!(body.first().copied().unwrap_or(0), reason, "{packet:02x?}");
        let properties = body.get(1..).filter(|rest| !rest.is_empty());
        let properties = properties.map(|mut rest| Properties::take(&mut rest)).unwrap_or_default();
        self.expect_closed();
        properties
    }

    /// The next packet is a PUBLISH.
    #[track_caller]
    pub(crate) fn publication(&mut self) -> Publication {
        Publication::of(&self.packet())
    }

    /// Subscribes with packet id 1 and these options, and is granted the QoS that it asks for.
    #[track_caller]
    pub(crate) fn subscribe_v5(&mut self, filter: &str, options: u8) {
        self.subscribe_with(&[], filter, options);
    }

    /// The same with properties.
    #[track_caller]
    pub(crate) fn subscribe_with(&mut self, properties: &[u8], filter: &str, options: u8) {
        self.send(&subscribe_v5(1, properties, &[(filter, options)]));
        self.expect(&[0x90, 4, 0, 1, 0, options & 3]);
    }

    /// Publishes with QoS 1, so that it has been passed on when this returns; `flags` are DUP and RETAIN.
    #[track_caller]
    pub(crate) fn publishes(&mut self, flags: u8, topic: &str, properties: &[u8], payload: &[u8]) {
        self.send(&publish_v5(flags | 2, topic, Some(0x7777), properties, payload));
        let packet = self.packet();
        assert_eq!((packet[0], &packet[2..4]), (0x40, &[0x77, 0x77][..]), "{packet:02x?}");
        assert!(matches!(packet.get(4), None | Some(0 | 0x10)), "{packet:02x?}");
    }

    /// Nothing is on its way to `subscriber` from this connection: a message of this one comes next. Messages keep their
    /// order from shard to shard. The subscriber has to be subscribed to what it is called by, with QoS 0.
    #[track_caller]
    pub(crate) fn nothing_before_mark(&mut self, subscriber: &mut Self, mark: &str) {
        self.send(&publish_v5(0, mark, None, &[], b"mark"));
        subscriber.expect(&publish_v5(0, mark, None, &[], b"mark"));
    }

    /// What this client publishes to a topic that it is subscribed to comes back, and nothing before it.
    #[track_caller]
    pub(crate) fn echoes(&mut self, topic: &str) {
        self.send(&publish_v5(0, topic, None, &[], b"echo"));
        self.expect(&publish_v5(0, topic, None, &[], b"echo"));
    }

    /// Says goodbye, and sees that it was heard.
    #[track_caller]
    pub(crate) fn leave(mut self) {
        self.send(&[0xe0, 0]);
        self.expect_closed();
    }

    /// Still served: whatever was sent before this did no harm.
    #[track_caller]
    pub(crate) fn lives(&mut self) {
        self.send(&PINGREQ);
        self.expect(&PINGRESP);
    }
}
