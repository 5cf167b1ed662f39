//! A client that publishes, and sends again what was not acknowledged.

use crate::ledger::{JOB, Ledger, payload};
use crate::link::{Link, Session};
use crate::wire::Heard;
use pantala::codec::{Ack, Packet, PropertiesBuf, Property, Publish, ReasonCode, Version};
use pantala::types::{PacketId, QoS, Rng};
use std::collections::VecDeque;

/// Topics of one publisher of either kind.
pub(crate) const TOPICS: u64 = 3;

/// A message without its last acknowledgement.
#[derive(Debug)]
struct Flight {
    id: PacketId,
    index: usize,
    topic: String,
    qos: QoS,
    retain: bool,
    len: usize,
    expires: Option<u32>,
    /// PUBREC came.
    is_received: bool,
}

/// What is published.
#[derive(Clone, Copy)]
struct What {
    retain: bool,
    len: usize,
    expires: Option<u32>,
}

/// A publisher, and what it remembers between connections.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) link: Link,
    number: usize,
    window: usize,
    next_id: u16,
    flights: VecDeque<Flight>,
}

impl Publisher {
    /// A publisher that sends so much without being acknowledged.
    pub(crate) fn new(number: usize, version: Version, window: usize) -> Self {
        let link = Link::new(format!("publisher-{number}"), version, 0);
        Self { link, number, window, next_id: 1, flights: VecDeque::new() }
    }

    /// Whether everything was acknowledged.
    pub(crate) fn is_done(&self) -> bool {
        self.flights.is_empty() && self.link.is_online
    }

    pub(crate) fn has_room(&self) -> bool {
        self.link.is_online && self.flights.len() < self.window
    }

    /// Publishes something.
    pub(crate) fn publish_any(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        let topic = rng.below(TOPICS);
        let len = 24 + if rng.chance(1, 8) { rng.below(12_000) } else { rng.below(100) };
        let len = usize::try_from(len).expect("a short payload");
        // The last ones are there for as long as a run takes.
        let expires =
            (self.link.version.is_v5() && rng.chance(1, 4)).then(|| *rng.pick(&[1, 1, 2, 3, 100_000]));
        let what = What { retain: false, len, expires };
        if rng.chance(1, 4) {
            // One QoS for each of these topics, so that they have one order.
            let qos = if topic.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            let len = if rng.chance(1, 4) { 0 } else { len };
            let what = What { retain: true, len, expires: None };
            self.publish(&format!("kept/{}/{topic}", self.number), qos, what, ledger);
        } else {
            let qos = *rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
            let kind = if rng.chance(1, 2) { JOB } else { "live/" };
            self.publish(&format!("{kind}{}/{topic}", self.number), qos, what, ledger);
        }
    }

    /// The last message of a round: when it is there, everything before it is. Returns its number.
    pub(crate) fn publish_end(&mut self, ledger: &mut Ledger) -> usize {
        let what = What { retain: false, len: 24, expires: None };
        self.publish(&format!("end/{}", self.number), QoS::AtLeastOnce, what, ledger)
    }

    fn publish(&mut self, topic: &str, qos: QoS, what: What, ledger: &mut Ledger) -> usize {
        let What { retain, len, expires } = what;
        let index = ledger.publish(topic, qos, retain, len, expires);
        let (id, topic) = (self.free_id(), topic.to_owned());
        let flight = Flight { id, index, topic, qos, retain, len, expires, is_received: false };
        send(&mut self.link, &flight, false);
        self.flights.push_back(flight);
        index
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            let id = PacketId::new(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            if let Some(id) = id.filter(|id| self.flights.iter().all(|flight| flight.id != *id)) {
                return id;
            }
        }
    }

    pub(crate) fn handle(&mut self, heard: Heard, ledger: &mut Ledger) {
        match heard {
            Heard::ConnAck { present, code: 0 } => self.resume(present, ledger),
            Heard::PubAck(id, reason) => self.acknowledged(QoS::AtLeastOnce, id, reason, ledger),
            Heard::PubRec(id, reason) => self.acknowledged(QoS::ExactlyOnce, id, reason, ledger),
            Heard::PubComp(id) => match self.flights.iter().position(|flight| flight.id == id) {
                Some(at) if self.flights[at].is_received => drop(self.flights.remove(at)),
                _ => ledger.violation(&format!("{} got PUBCOMP {id:?} for nothing", self.link.id)),
            },
            other => ledger.violation(&format!("{} got {other:?}", self.link.id)),
        }
    }

    /// What is not acknowledged is sent again, in its order. [MQTT-4.4.0-1]
    fn resume(&mut self, present: bool, ledger: &mut Ledger) {
        match self.link.accepted(present) {
            Session::Lost => ledger.session_lost(&self.link.id, None),
            Session::Undead => ledger.violation(&format!("{}: an ended session is back", self.link.id)),
            Session::New | Session::Resumed => {}
        }
        for flight in &self.flights {
            if flight.is_received {
                release(&mut self.link, flight.id);
            } else {
                ledger.sent_again(flight.index);
                send(&mut self.link, flight, true);
            }
        }
    }

    /// PUBACK or PUBREC: the broker answers for the message from now on.
    fn acknowledged(&mut self, qos: QoS, id: PacketId, reason: ReasonCode, ledger: &mut Ledger) {
        // They come in the order of the messages. [MQTT-4.6.0-2], [MQTT-4.6.0-3]
        let mut waiting = self.flights.iter().filter(|flight| flight.qos == qos && !flight.is_received);
        if waiting.next().is_none_or(|first| first.id != id) {
            ledger.violation(&format!("{}: QoS {} id {id:?} out of turn", self.link.id, qos as u8));
        }
        let Some(at) = self.flights.iter().position(|flight| flight.id == id && flight.qos == qos) else {
            return;
        };
        let (index, is_received) = (self.flights[at].index, self.flights[at].is_received);
        if reason as u8 >= 0x80 {
            self.flights.remove(at);
            return ledger.refused(index);
        }
        if !is_received {
            ledger.acknowledged(index);
        }
        if qos == QoS::ExactlyOnce {
            self.flights[at].is_received = true;
            release(&mut self.link, id);
        } else {
            self.flights.remove(at);
        }
    }
}

fn send(link: &mut Link, flight: &Flight, dup: bool) {
    let mut properties = PropertiesBuf::default();
    if let Some(seconds) = flight.expires {
        properties.push(Property::MessageExpiryInterval(seconds));
    }
    link.say(&Packet::Publish(Publish {
        dup,
        qos: flight.qos,
        retain: flight.retain,
        topic: &flight.topic,
        packet_id: Some(flight.id),
        properties: properties.as_properties(),
        payload: &payload(flight.index, flight.len),
    }));
}

fn release(link: &mut Link, id: PacketId) {
    link.say(&Packet::PubRel(Ack::new(id, ReasonCode::Success)));
}
