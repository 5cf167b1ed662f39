//! Clients that announce a will with a delay, vanish, and never come back.

use crate::ledger::{Ledger, payload};
use crate::link::Link;
use crate::wire::Heard;
use bytes::BytesMut;
use pantala::codec::{
    Packet, Properties, PropertiesBuf, Property, Subscribe, SubscribeFilters, SubscriptionOptions, Version,
    Will,
};
use pantala::types::{PacketId, QoS};
use std::net::SocketAddr;

/// Bytes of a will's payload.
const LEN: usize = 40;
/// Seconds from a client's end to its will.
const DELAY_S: u32 = 1;

/// A client with a will.
#[derive(Debug)]
pub(crate) struct Mourned {
    pub(crate) link: Link,
    /// Its will's number.
    index: usize,
    /// Its SUBACK came: its session is kept, and its will with it.
    is_known: bool,
}

impl Mourned {
    pub(crate) fn new(number: usize, address: SocketAddr, ledger: &mut Ledger) -> Self {
        let topic = format!("will/{number}");
        let index = ledger.announces(&topic, LEN);
        let mut link = Link::new(format!("mourned-{number}"), Version::V5, 0);
        let mut delay = PropertiesBuf::default();
        delay.push(Property::WillDelayInterval(DELAY_S));
        let will = Will {
            topic: &topic,
            payload: &payload(index, LEN),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: delay.as_properties(),
        };
        link.connect(address, Some(will));
        Self { link, index, is_known: false }
    }

    pub(crate) fn handle(&mut self, heard: &Heard, ledger: &mut Ledger) {
        match heard {
            Heard::ConnAck { present, code: 0 } => {
                self.link.accepted(*present);
                let mut block = BytesMut::new();
                SubscribeFilters::write(&mut block, "nothing", SubscriptionOptions::of(QoS::AtLeastOnce));
                let filters = SubscribeFilters::parse(&block, Version::V5).expect("a filter");
                let packet_id = PacketId::new(1).expect("not 0");
                let properties = Properties::EMPTY;
                self.link.say(&Packet::Subscribe(Subscribe { packet_id, properties, filters }));
            }
            Heard::SubAck(..) => self.is_known = true,
            other => ledger.violation(&format!("{} got {other:?}", self.link.id)),
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// It is gone without a word.
    pub(crate) fn vanish(mut self, ledger: &mut Ledger) {
        self.link.leave(false);
        if self.is_known {
            ledger.vanishes(self.index);
        }
    }
}
