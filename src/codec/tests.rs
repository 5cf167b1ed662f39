//! Properties of the whole codec, from seeds: what is written is read back, however it is cut, and nothing panics.

use super::*;
use crate::types::{PacketId, QoS, Rng};
use bytes::BytesMut;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const MAX: u32 = 1 << 20;

/// Memory that random packets borrow.
struct Source {
    rng: Rng,
    version: Version,
    texts: Vec<String>,
    blobs: Vec<Vec<u8>>,
    codes: Vec<u8>,
    blocks: Vec<PropertiesBuf>,
    subscribe: BytesMut,
    unsubscribe: BytesMut,
}

const UNSUBSCRIBED: [u8; 4] = [0x00, 0x11, 0x80, 0x8f];

impl Source {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let version = *rng.pick(&VERSIONS);
        let texts: Vec<String> = (0..4).map(|_| text(&mut rng)).collect();
        let blobs: Vec<Vec<u8>> = (0..2).map(|_| blob(&mut rng)).collect();
        let (mut subscribe, mut unsubscribe) = (BytesMut::new(), BytesMut::new());
        for _ in 0..=rng.below(3) {
            let filter = text(&mut rng);
            SubscribeFilters::write(&mut subscribe, &filter, options(&mut rng, version));
            UnsubscribeFilters::write(&mut unsubscribe, &filter);
        }
        let codes = (0..=rng.below(4)).map(|_| *rng.pick(&UNSUBSCRIBED)).collect();
        let mut source =
            Self { rng, version, texts, blobs, codes, blocks: Vec::new(), subscribe, unsubscribe };
        source.blocks = [None, Some(PacketType::Connect)].map(|place| source.block(place)).to_vec();
        source
    }

    /// A block of properties for a packet, or for a will.
    fn block(&mut self, packet: Option<PacketType>) -> PropertiesBuf {
        let mut block = PropertiesBuf::default();
        if self.version != Version::V5 {
            return block;
        }
        let (text, blob) = (self.texts[0].clone(), self.blobs[0].clone());
        let topic = text.replace(['+', '#'], "");
        let number = u32::try_from(self.rng.below(1 << 28)).unwrap().max(1);
        let small = std::num::NonZeroU16::new(u16::try_from(number % 65_535 + 1).unwrap_or(1)).unwrap();
        let mut candidates =
            vec![Property::UserProperty((&text, &text)), Property::UserProperty((&text, "b"))];
        match packet {
            None | Some(PacketType::Publish) => {
                candidates.extend([
                    Property::PayloadFormatIndicator(true),
                    Property::MessageExpiryInterval(number),
                    Property::ContentType(&text),
                    Property::ResponseTopic(&topic),
                    Property::CorrelationData(&blob),
                ]);
                candidates.push(match packet {
                    None => Property::WillDelayInterval(number),
                    Some(_) => Property::TopicAlias(small),
                });
            }
            Some(PacketType::Connect) => candidates.extend([
                Property::SessionExpiryInterval(number),
                Property::ReceiveMaximum(small),
                Property::MaximumPacketSize(std::num::NonZeroU32::new(number).unwrap()),
                Property::TopicAliasMaximum(small.get()),
                Property::RequestProblemInformation(false),
                Property::AuthenticationMethod(&text),
                Property::AuthenticationData(&blob),
            ]),
            Some(PacketType::ConnAck) => candidates.extend([
                Property::AssignedClientIdentifier(&text),
                Property::ServerKeepAlive(small.get()),
                Property::MaximumQos(true),
                Property::RetainAvailable(true),
                Property::SharedSubscriptionAvailable(false),
                Property::ServerReference(&text),
            ]),
            Some(PacketType::Subscribe) => candidates.push(Property::SubscriptionIdentifier(number)),
            Some(PacketType::Unsubscribe) => {}
            Some(_) => candidates.push(Property::ReasonString(&text)),
        }
        // Data needs its method, so an odd draw takes all.
        let all = self.rng.chance(1, 4);
        for property in candidates {
            let data = matches!(property, Property::AuthenticationData(_));
            if all || !data && self.rng.chance(1, 3) {
                block.push(property);
            }
        }
        block
    }

    fn draw_block(&mut self, packet: PacketType) {
        self.blocks[1] = self.block(Some(packet));
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(u16::try_from(self.rng.below(65_535) + 1).unwrap()).unwrap()
    }

    /// A packet that its version allows.
    fn packet(&mut self) -> Packet<'_> {
        const TYPES: [PacketType; 15] = [
            PacketType::Connect,
            PacketType::ConnAck,
            PacketType::Publish,
            PacketType::PubAck,
            PacketType::PubRec,
            PacketType::PubRel,
            PacketType::PubComp,
            PacketType::Subscribe,
            PacketType::SubAck,
            PacketType::Unsubscribe,
            PacketType::UnsubAck,
            PacketType::PingReq,
            PacketType::PingResp,
            PacketType::Disconnect,
            PacketType::Auth,
        ];
        let packet = *self.rng.pick(&TYPES);
        self.draw_block(packet);
        let (packet_id, chance, v5) = (self.packet_id(), self.rng.chance(1, 2), self.version == Version::V5);
        let qos = *self.rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let properties = self.blocks[1].as_properties();
        let reason = |normal: ReasonCode, other: ReasonCode| if chance && v5 { other } else { normal };
        let ack = |other| Ack { packet_id, reason: reason(ReasonCode::Success, other), properties };
        match packet {
            PacketType::Connect => Packet::Connect(self.connect(qos, chance)),
            PacketType::ConnAck => {
                let code = if v5 { ReasonCode::Banned as u8 } else { 4 };
                Packet::ConnAck(ConnAck {
                    session_present: chance,
                    code: if chance { code } else { 0 },
                    properties,
                })
            }
            PacketType::Publish => Packet::Publish(Publish {
                dup: chance && qos != QoS::AtMostOnce,
                qos,
                retain: chance,
                topic: &self.texts[1],
                packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
                properties,
                payload: &self.blobs[1],
            }),
            PacketType::PubAck => Packet::PubAck(ack(ReasonCode::QuotaExceeded)),
            PacketType::PubRec => Packet::PubRec(ack(ReasonCode::NoMatchingSubscribers)),
            PacketType::PubRel => Packet::PubRel(ack(ReasonCode::PacketIdentifierNotFound)),
            PacketType::PubComp => Packet::PubComp(ack(ReasonCode::PacketIdentifierNotFound)),
            PacketType::Subscribe => {
                let filters = SubscribeFilters::parse(&self.subscribe, self.version).unwrap();
                Packet::Subscribe(Subscribe { packet_id, properties, filters })
            }
            PacketType::SubAck => Packet::SubAck(SubAck { packet_id, properties, codes: &[0, 1, 2, 0x80] }),
            PacketType::Unsubscribe => {
                let filters = UnsubscribeFilters::parse(&self.unsubscribe).unwrap();
                Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })
            }
            PacketType::UnsubAck => {
                let codes = if v5 { &self.codes[..] } else { &[] };
                Packet::UnsubAck(UnsubAck { packet_id, properties, codes })
            }
            PacketType::Disconnect => {
                let reason = reason(ReasonCode::Success, ReasonCode::ServerShuttingDown);
                Packet::Disconnect(Disconnect { reason, properties })
            }
            PacketType::Auth if v5 => Packet::Auth(Auth {
                reason: reason(ReasonCode::Success, ReasonCode::ReAuthenticate),
                properties,
            }),
            PacketType::PingResp => Packet::PingResp,
            PacketType::PingReq | PacketType::Auth => Packet::PingReq,
        }
    }

    fn connect(&self, qos: QoS, chance: bool) -> Connect<'_> {
        let will = Will {
            topic: &self.texts[1],
            payload: &self.blobs[1][..self.blobs[1].len().min(60_000)],
            qos,
            retain: chance,
            properties: self.blocks[0].as_properties(),
        };
        Connect {
            version: self.version,
            clean_start: chance,
            keep_alive_s: 7,
            properties: self.blocks[1].as_properties(),
            client_id: &self.texts[2],
            will: chance.then_some(will),
            username: chance.then_some(&self.texts[3]),
            password: chance.then_some(&self.blobs[0]),
        }
    }
}

fn text(rng: &mut Rng) -> String {
    const LETTERS: [char; 8] = ['a', '/', '+', '#', '$', 'ß', '€', '𝄞'];
    (0..rng.below(20)).map(|_| *rng.pick(&LETTERS)).collect()
}

fn blob(rng: &mut Rng) -> Vec<u8> {
    // Now and then one whose length takes three bytes.
    let reach = if rng.chance(1, 100) { 60_000 } else { 1 << rng.below(10) };
    let len = rng.below(reach);
    (0..len).map(|_| rng.next_u64().to_be_bytes()[0]).collect()
}

fn options(rng: &mut Rng, version: Version) -> SubscriptionOptions {
    let qos = *rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
    if version != Version::V5 {
        return SubscriptionOptions::of(qos);
    }
    SubscriptionOptions {
        qos,
        no_local: rng.chance(1, 2),
        retain_as_published: rng.chance(1, 2),
        retain_handling: *rng.pick(&[RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never]),
    }
}

#[test]
fn what_is_written_is_read_back() {
    for seed in 0..20_000 {
        let mut source = Source::new(seed);
        let version = source.version;
        let packet = source.packet();
        let mut out = BytesMut::new();
        packet.encode(version, &mut out);
        let Ok(Split::Whole { frame, len }) = split(&out, MAX) else { panic!("seed {seed}: {packet:?}") };
        assert_eq!(len, out.len(), "seed {seed}: {packet:?}");
        assert_eq!(decode(frame, version), Ok(packet), "seed {seed}");
    }
}

#[test]
fn a_stream_cut_anywhere_gives_the_same_packets() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let (mut stream, mut written) = (BytesMut::new(), Vec::new());
        for part in 0..10 {
            let mut source = Source::new(seed * 1_000 + part);
            let (version, start) = (source.version, stream.len());
            source.packet().encode(version, &mut stream);
            written.push(stream[start..].to_vec());
        }
        let (mut buffer, mut read, mut rest) = (Vec::new(), Vec::new(), &stream[..]);
        while !rest.is_empty() {
            let reach = 1 << rng.below(14);
            let (piece, more) = rest.split_at(usize::try_from(rng.below(reach) + 1).unwrap().min(rest.len()));
            buffer.extend_from_slice(piece);
            rest = more;
            loop {
                match split(&buffer, MAX).unwrap() {
                    Split::Whole { len, .. } => read.push(buffer.drain(..len).collect::<Vec<u8>>()),
                    Split::Partial { need } => {
                        assert!(need > buffer.len(), "seed {seed}: progress needs more bytes");
                        break;
                    }
                }
            }
        }
        assert!(read == written && buffer.is_empty(), "seed {seed}");
    }
}

#[test]
fn damaged_packets_never_panic_and_what_is_read_is_written_the_same() {
    for seed in 0..40_000 {
        let mut source = Source::new(seed);
        let version = source.version;
        let mut out = BytesMut::new();
        source.packet().encode(version, &mut out);
        let mut rng = Rng::new(!seed);
        for _ in 0..=rng.below(3) {
            let at = usize::try_from(rng.below(out.len().min(64) as u64)).unwrap();
            out[at] = rng.next_u64().to_be_bytes()[0];
        }
        reads_what_it_writes(&out, version, seed);
    }
}

#[test]
fn garbage_never_panics() {
    for seed in 0..60_000 {
        let mut rng = Rng::new(seed);
        let len = rng.below(40);
        let garbage: Vec<u8> = (0..len).map(|_| rng.next_u64().to_be_bytes()[0]).collect();
        reads_what_it_writes(&garbage, *rng.pick(&VERSIONS), seed);
    }
}

/// Whatever decodes is encoded to something that decodes to the same.
fn reads_what_it_writes(bytes: &[u8], version: Version, seed: u64) {
    let Ok(Split::Whole { frame, .. }) = split(bytes, MAX) else { return };
    let Ok(packet) = decode(frame, version) else { return };
    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    let mut again = BytesMut::new();
    packet.encode(version, &mut again);
    let Ok(Split::Whole { frame, len }) = split(&again, MAX) else { panic!("seed {seed}: {packet:?}") };
    assert_eq!((decode(frame, version), len), (Ok(packet), again.len()), "seed {seed}");
}

#[test]
fn a_fan_out_head_writes_what_publish_reads() {
    for seed in 0..5_000 {
        let mut source = Source::new(seed);
        source.draw_block(PacketType::Publish);
        let (version, packet_id) = (source.version, source.packet_id());
        let qos = *source.rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let properties = source.blocks[1].as_properties();
        let mut forward = BytesMut::new();
        properties.forward(&mut forward);
        let ids: &[u32] = if seed % 2 == 0 { &[1, 300, 268_435_455] } else { &[] };
        let head = PublishHead {
            dup: false,
            qos,
            retain: seed % 3 == 0,
            topic: &source.texts[1],
            packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
            forward: &forward,
            message_expiry: (seed % 5 == 0).then_some(77),
            topic_alias: None,
            subscription_ids: ids,
            payload_len: source.blobs[1].len(),
        };
        let mut out = BytesMut::from(&b"what was there before"[..]);
        let start = out.len();
        let at = head.encode(version, &mut out);
        out.extend_from_slice(&source.blobs[1]);
        assert_eq!(out.len() - start, head.encoded_len(version), "seed {seed}");
        if let Some(at) = at {
            assert_eq!(out[start + at..start + at + 2], packet_id.get().to_be_bytes(), "seed {seed}");
        }
        let Ok(Split::Whole { frame, .. }) = split(&out[start..], MAX) else { panic!("seed {seed}") };
        let read = Publish::decode(frame.first, frame.body, version).unwrap();
        assert_eq!((read.topic, read.payload), (&source.texts[1][..], &source.blobs[1][..]), "seed {seed}");
        assert_eq!(
            (read.qos, read.retain, read.packet_id),
            (qos, head.retain, head.packet_id),
            "seed {seed}"
        );
        if version == Version::V5 {
            assert!(read.properties.subscription_identifiers().eq(ids.iter().copied()), "seed {seed}");
            assert!(read.properties.user_properties().eq(properties.user_properties()), "seed {seed}");
            assert_eq!(read.properties.message_expiry_interval(), head.message_expiry, "seed {seed}");
            assert_eq!(read.properties.topic_alias(), None, "seed {seed}");
        }
    }
}

/// Bytes, their version, and what is wrong with them.
type Case = (&'static [u8], Version, DecodeError);

const CASES: &[Case] = &[
    (b"\x10\x0c\0\x04MQTT\x04\x03\0\0\0\0", Version::V311, DecodeError::ConnectReserved),
    (b"\x10\x0c\0\x04MQTT\x04\x0a\0\0\0\0", Version::V311, DecodeError::WillFlags),
    (b"\x10\x0c\0\x04MQTT\x04\x22\0\0\0\0", Version::V311, DecodeError::WillFlags),
    (b"\x10\x0c\0\x04MQTT\x04\x1e\0\0\0\0", Version::V311, DecodeError::WillQos),
    (b"\x10\x0c\0\x04MQTT\x04\x42\0\0\0\0", Version::V311, DecodeError::PasswordWithoutUserName),
    (b"\x10\x0c\0\x04MQTX\x04\x02\0\0\0\0", Version::V311, DecodeError::ProtocolName),
    (b"\x10\x0c\0\x04MQTT\x07\x02\0\0\0\0", Version::V311, DecodeError::ProtocolVersion(7)),
    (b"\x10\x0c\0\x04MQTT\x03\x02\0\0\0\0", Version::V311, DecodeError::ProtocolVersion(3)),
    (b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\0x", Version::V311, DecodeError::TrailingBytes(PacketType::Connect)),
    (b"\x10\x0b\0\x04MQTT\x04\x02\0\0\0", Version::V311, DecodeError::Short(PacketType::Connect)),
    (b"\x11\x0c\0\x04MQTT\x04\x02\0\0\0\0", Version::V311, DecodeError::Flags(PacketType::Connect, 1)),
    (b"\x10\x10\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\0", Version::V5, DecodeError::PropertyValue(0x21)),
    (b"\x10\x0f\0\x04MQTT\x05\x02\0\0\x02\x17\x02\0\0", Version::V5, DecodeError::PropertyValue(0x17)),
    (b"\x10\x11\0\x04MQTT\x05\x02\0\0\x04\x16\0\x01x\0\0", Version::V5, DecodeError::DataWithoutMethod),
    (b"\x20\x02\x02\0", Version::V311, DecodeError::ConnAckFlags),
    (b"\x20\x02\0\x06", Version::V311, DecodeError::ReasonCode(PacketType::ConnAck, 6)),
    (b"\x36\x05\0\x01a\0\x01", Version::V311, DecodeError::PublishQos),
    (b"\x38\x03\0\x01a", Version::V311, DecodeError::DupQos0),
    (b"\x32\x05\0\x01a\0\0", Version::V311, DecodeError::PacketIdZero),
    (b"\x30\x03\0\x01\xff", Version::V311, DecodeError::Utf8),
    (b"\x30\x03\0\x01\0", Version::V311, DecodeError::Nul),
    (b"\x30\x07\0\x01a\x03\x23\0\0", Version::V5, DecodeError::PropertyValue(0x23)),
    (b"\x30\x08\0\x01a\x04\x01\0\x01\0", Version::V5, DecodeError::RepeatedProperty(1)),
    (b"\x30\x06\0\x01a\x02\x24\0", Version::V5, DecodeError::MisplacedProperty(0x24, PacketType::Publish)),
    (b"\x30\x06\0\x01a\x02\x7f\0", Version::V5, DecodeError::UnknownProperty(0x7f)),
    (b"\x30\x05\0\x01a\x05\x01", Version::V5, DecodeError::Short(PacketType::Publish)),
    (b"\x40\x03\0\x01\x10", Version::V311, DecodeError::TrailingBytes(PacketType::PubAck)),
    (b"\x40\x03\0\x01\x92", Version::V5, DecodeError::ReasonCode(PacketType::PubAck, 0x92)),
    (b"\x60\x02\0\x01", Version::V311, DecodeError::Flags(PacketType::PubRel, 0)),
    (b"\x82\x02\0\x01", Version::V311, DecodeError::NoFilters(PacketType::Subscribe)),
    (b"\x82\x06\0\x01\0\x01a\x03", Version::V311, DecodeError::SubscriptionOptions(3)),
    (b"\x82\x06\0\x01\0\x01a\x04", Version::V311, DecodeError::SubscriptionOptions(4)),
    (b"\x82\x07\0\x01\0\0\x01a\x30", Version::V5, DecodeError::SubscriptionOptions(0x30)),
    (b"\x82\x07\0\x01\0\0\x01a\x40", Version::V5, DecodeError::SubscriptionOptions(0x40)),
    (b"\x82\x09\0\x01\x02\x0b\0\0\x01a\0", Version::V5, DecodeError::PropertyValue(0x0b)),
    (b"\xa2\x02\0\x01", Version::V311, DecodeError::NoFilters(PacketType::Unsubscribe)),
    (b"\xb0\x03\0\x01\0", Version::V311, DecodeError::TrailingBytes(PacketType::UnsubAck)),
    (b"\xc0\x01\0", Version::V311, DecodeError::TrailingBytes(PacketType::PingReq)),
    (b"\xe0\x01\0", Version::V311, DecodeError::TrailingBytes(PacketType::Disconnect)),
    (b"\xe0\x01\x01", Version::V5, DecodeError::ReasonCode(PacketType::Disconnect, 1)),
    (b"\xf0\0", Version::V311, DecodeError::NotInVersion(PacketType::Auth)),
];

#[test]
fn each_violation_is_told_by_its_clause() {
    for &(bytes, version, error) in CASES {
        let Ok(Split::Whole { frame, len }) = split(bytes, MAX) else { panic!("{bytes:02x?}") };
        assert_eq!((decode(frame, version), len), (Err(error), bytes.len()), "{bytes:02x?}");
        let message = error.to_string();
        assert!(message.contains("MQTT-") || message.contains("[MQTT "), "{message}");
        assert!(error.reason().is_error());
    }
}
