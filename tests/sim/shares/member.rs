//! A client that may be a member of groups: what it remembers of its session, and what it says.

use super::ledger::{FILTERS, LifeId};
use crate::oracle::Verdict;
use bytes::BytesMut;
use pantala::codec::{
    Ack, Connect, Packet, Properties, PropertiesBuf, Property, Publish, ReasonCode, Split, SubscribeFilters,
    SubscriptionOptions, Version, decode, split,
};
use pantala::types::{ConnKey, PacketId, QoS};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;

/// An acknowledgement that waits to be sent, and the message that it is for.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: BytesMut,
    pub(crate) settles: Option<(usize, u64)>,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) core: usize,
    pub(crate) conn: Option<ConnKey>,
    pub(crate) life: Option<LifeId>,
    /// Reads nothing on this connection.
    pub(crate) deaf: bool,
    /// Refuses some messages.
    pub(crate) fussy: bool,
    pub(crate) answers: VecDeque<Answer>,
    input: Vec<u8>,
    last_id: u16,
    /// By packet id of a SUBSCRIBE: the group that it is about, and since when it is asked for.
    pub(crate) asked: BTreeMap<u16, (usize, u64)>,
}

/// A message that is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) topic: &'a str,
    pub(crate) number: u64,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expiry_s: Option<u32>,
}

/// The number and the group of a message that a member is sent. One of an older version is in the first group only.
pub(crate) fn label(publish: &Publish<'_>) -> Verdict<(usize, u64)> {
    let text = std::str::from_utf8(publish.payload).unwrap_or_default();
    let number = text.parse().map_err(|_| format!("{publish:?} is nobody's"))?;
    let ids: Vec<_> = publish.properties.subscription_identifiers().collect();
    match ids[..] {
        [] => Ok((0, number)),
        [id] if (1..=FILTERS.len()).contains(&(id as usize)) => Ok((id as usize - 1, number)),
        _ => Err(format!("{publish:?} came through {ids:?}")),
    }
}

impl Member {
    pub(crate) fn new(name: String, version: Version, core: usize) -> Self {
        Self {
            name,
            version,
            core,
            conn: None,
            life: None,
            deaf: false,
            fussy: false,
            answers: VecDeque::new(),
            input: Vec::new(),
            last_id: 0,
            asked: BTreeMap::new(),
        }
    }

    /// The connection is gone, and what was not sent yet with it.
    pub(crate) fn hang_up(&mut self) {
        self.conn = None;
        self.answers.clear();
        self.input.clear();
        self.asked.clear();
    }

    pub(crate) fn connect(&self, clean_start: bool, expiry_s: Option<u32>, window: Option<u16>) -> BytesMut {
        let mut properties = PropertiesBuf::default();
        let asked = [
            expiry_s.map(Property::SessionExpiryInterval),
            window.and_then(NonZeroU16::new).map(Property::ReceiveMaximum),
        ];
        asked.into_iter().flatten().for_each(|property| properties.push(property));
        let v5 = self.version.is_v5();
        self.bytes(&Packet::Connect(Connect {
            version: self.version,
            clean_start,
            keep_alive_s: 0,
            properties: if v5 { properties.as_properties() } else { Properties::EMPTY },
            client_id: &self.name,
            will: None,
            username: None,
            password: None,
        }))
    }

    /// SUBSCRIBE with one group's filter, which the Subscription Identifier names.
    pub(crate) fn subscribe(&mut self, group: usize, options: SubscriptionOptions, since: u64) -> BytesMut {
        let mut block = BytesMut::new();
        SubscribeFilters::write(&mut block, FILTERS[group], options);
        let filters = SubscribeFilters::parse(&block, self.version).expect("a filter");
        let packet_id = self.fresh_id();
        self.asked.insert(packet_id.get(), (group, since));
        let mut properties = PropertiesBuf::default();
        if self.version.is_v5() {
            properties.push(Property::SubscriptionIdentifier(u32::try_from(group + 1).unwrap_or(1)));
        }
        let properties = properties.as_properties();
        self.bytes(&Packet::Subscribe(pantala::codec::Subscribe { packet_id, properties, filters }))
    }

    pub(crate) fn unsubscribe(&mut self, group: usize) -> BytesMut {
        let mut block = BytesMut::new();
        pantala::codec::UnsubscribeFilters::write(&mut block, FILTERS[group]);
        let filters = pantala::codec::UnsubscribeFilters::parse(&block).expect("a filter");
        let packet_id = self.fresh_id();
        let properties = Properties::EMPTY;
        self.bytes(&Packet::Unsubscribe(pantala::codec::Unsubscribe { packet_id, properties, filters }))
    }

    /// PUBLISH, and PUBREL right behind it where it is one of QoS 2.
    pub(crate) fn publish(&mut self, draft: Draft<'_>) -> Vec<BytesMut> {
        let Draft { topic, number, qos, retain, expiry_s } = draft;
        let mut properties = PropertiesBuf::default();
        if let Some(secs) = expiry_s.filter(|_| self.version.is_v5()) {
            properties.push(Property::MessageExpiryInterval(secs));
        }
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.fresh_id());
        let payload = number.to_string();
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic,
            packet_id,
            properties: properties.as_properties(),
            payload: payload.as_bytes(),
        };
        let mut packets = vec![self.bytes(&Packet::Publish(publish))];
        if let Some(id) = packet_id.filter(|_| qos == QoS::ExactlyOnce) {
            packets.push(self.bytes(&Packet::PubRel(Ack::new(id, ReasonCode::Success))));
        }
        packets
    }

    /// Handles bytes of the broker.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Verdict {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while let Split::Whole { frame, len } =
            split(&input[at..], u32::MAX).map_err(|error| format!("a member cannot read this: {error}"))?
        {
            let packet = decode(frame, self.version).map_err(|error| format!("{frame:02x?}: {error}"))?;
            self.packet(&packet)?;
            at += len;
        }
        self.input = input[at..].to_vec();
        Ok(())
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Verdict {
        match packet {
            Packet::Publish(publish) => {
                let (group, number) = label(publish)?;
                let Some(id) = publish.packet_id else { return Ok(()) };
                let refused = self.fussy && number.is_multiple_of(7) && self.version.is_v5();
                let reason =
                    if refused { ReasonCode::ImplementationSpecificError } else { ReasonCode::Success };
                let ack = Ack::new(id, reason);
                let packet =
                    if publish.qos == QoS::AtLeastOnce { Packet::PubAck(ack) } else { Packet::PubRec(ack) };
                self.answers.push_back(Answer { bytes: self.bytes(&packet), settles: Some((group, number)) });
            }
            Packet::PubRel(ack) => {
                let bytes = self.bytes(&Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::Success)));
                self.answers.push_back(Answer { bytes, settles: None });
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn bytes(&self, packet: &Packet<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        packet.encode(self.version, &mut out);
        out
    }

    fn fresh_id(&mut self) -> PacketId {
        self.last_id = self.last_id % 60_000 + 1;
        PacketId::new(self.last_id).expect("above 0")
    }
}
