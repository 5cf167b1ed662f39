//! The messages of a run: what was published, what came of it, and what was wrong. No sockets, no clock.

use crate::args::Args;
use crate::check::{Arrival, Faults, Stream};
use crate::client::{Failure, PINGREQ};
use crate::group::{Group, Order};
use crate::shape::{Received, Shape};
use crate::stamp::Stamp;
use crate::window::Window;
use hdrhistogram::Histogram;
use pantala::codec::{self, Ack, DecodeError, Frame, Packet, PacketType, Version};
use pantala::types::{PacketId, QoS};

/// Latencies from a microsecond to a minute, to three digits.
const LATENCY_MIN: u64 = 1_000;
const LATENCY_MAX: u64 = 60_000_000_000;

/// All publishers and subscribers of a run. Connections are numbered: first publishers, then subscribers.
#[derive(Debug)]
pub(crate) struct Flow {
    qos: QoS,
    version: Version,
    /// By topic.
    shapes: Vec<Shape>,
    /// Bytes of a topic before its number.
    prefix: usize,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    /// Each subscriber alone, or those that share a subscription.
    groups: Vec<Group>,
    /// From a message's intended time to its delivery, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    /// From a message's intended time to PUBACK or PUBCOMP, in nanoseconds.
    pub(crate) acknowledgements: Histogram<u64>,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    /// Deliveries and acknowledgements: as long as it grows, something happens.
    pub(crate) events: u64,
    /// Pings without an answer.
    pub(crate) pings: u64,
    stray: u64,
}

#[derive(Debug)]
struct Publisher {
    topic: u16,
    window: Window,
    acknowledged: Stream,
    /// Deliveries and acknowledgements of each message.
    lacks: u16,
}

#[derive(Debug)]
struct Subscriber {
    filter: String,
    group: usize,
    /// Where it shares its subscription.
    order: Option<Order>,
}

impl Flow {
    /// With the topics below `prefix`.
    pub(crate) fn new(args: &Args, prefix: &str) -> Self {
        let (qos, version, topics) = (args.qos(), args.version(), args.topics);
        let shape = |topic| Shape::new(&format!("{prefix}/{topic}"), qos, version, args.payload as usize);
        let publisher = |number: u16| Publisher {
            topic: number % topics,
            window: if qos == QoS::AtMostOnce { Window::default() } else { Window::timed() },
            acknowledged: Stream::default(),
            lacks: args.deliveries_of(number % topics) + u16::from(qos != QoS::AtMostOnce),
        };
        let subscriber = |number: u16| {
            let plain =
                if args.all_topics { format!("{prefix}/+") } else { format!("{prefix}/{}", number % topics) };
            let group = usize::from(args.group_of(number));
            match args.share {
                true => {
                    let order = Some(Order::new(args.publishers));
                    Subscriber { filter: format!("$share/load/{plain}"), group, order }
                }
                false => Subscriber { filter: plain, group, order: None },
            }
        };
        let group = |number: u16| {
            Group::new((!args.all_topics).then_some(number % topics), args.share, topics, args.publishers)
        };
        Self {
            qos,
            version,
            shapes: (0..topics).map(shape).collect(),
            prefix: prefix.len() + 1,
            publishers: (0..args.publishers).map(publisher).collect(),
            subscribers: (0..args.subscribers).map(subscriber).collect(),
            groups: (0..args.groups()).map(group).collect(),
            latencies: latencies(),
            acknowledgements: latencies(),
            published: 0,
            delivered: 0,
            events: 0,
            pings: 0,
            stray: 0,
        }
    }

    /// All topics.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.shapes.iter().map(|shape| shape.topic().to_owned()).collect()
    }

    /// What a connection subscribes to.
    pub(crate) fn filter(&self, connection: usize) -> Option<&str> {
        let subscriber = self.subscribers.get(connection.checked_sub(self.publishers.len())?)?;
        Some(&subscriber.filter)
    }

    /// Publishes a message of a publisher that should have been sent at a time.
    #[inline]
    pub(crate) fn publish(&mut self, publisher: usize, intended: u64, out: &mut Vec<u8>) {
        let number = u16::try_from(publisher).unwrap_or(u16::MAX);
        let Publisher { topic, window, lacks, .. } = &mut self.publishers[publisher];
        let sequence = window.send(*lacks, intended);
        let stamp = Stamp::new(number, sequence, intended);
        self.shapes[usize::from(*topic)].append(Window::packet_id(sequence), stamp, out);
        self.published += 1;
    }

    /// A publisher's messages on their way.
    #[inline]
    pub(crate) fn window(&self, publisher: usize) -> &Window {
        &self.publishers[publisher].window
    }

    /// All publishers' messages on their way.
    pub(crate) fn on_their_way(&self) -> usize {
        self.publishers.iter().map(|publisher| publisher.window.len()).sum()
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&PINGREQ);
        self.pings += 1;
    }

    /// A packet came to a connection, whose name is `id`, at a time. It may be answered into `out`.
    ///
    /// # Errors
    /// It is malformed, or not what a client may get.
    #[inline]
    pub(crate) fn packet(
        &mut self,
        connection: usize,
        id: &str,
        frame: Frame<'_>,
        now: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if frame.packet_type() == Some(PacketType::Publish) {
            let subscriber = connection.checked_sub(self.publishers.len());
            return self
                .message(subscriber, frame, now, out)
                .map_err(|error| Failure::Malformed(id.to_owned(), error));
        }
        self.control(connection, id, frame, now, out)
    }

    /// A message for a subscriber; `None` is a publisher, who has not asked for any.
    #[inline]
    fn message(
        &mut self,
        subscriber: Option<usize>,
        frame: Frame<'_>,
        now: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let Some(subscriber) = subscriber.map(|number| &mut self.subscribers[number]) else {
            self.stray += 1;
            return Ok(());
        };
        let group = &mut self.groups[subscriber.group];
        let topic = group.topic().or_else(|| topic_number(frame.body, self.prefix));
        let Some((topic, shape)) =
            topic.and_then(|topic| Some((topic, self.shapes.get(usize::from(topic))?)))
        else {
            self.stray += 1;
            return Ok(());
        };
        let received = shape.read(frame)?;
        answer(received, out);
        // It was sent, and to this topic.
        let sent = received.stamp.and_then(|stamp| {
            let publisher = self.publishers.get_mut(usize::from(stamp.publisher()))?;
            let known = publisher.topic == topic && stamp.sequence() < publisher.window.sent();
            known.then_some((stamp, publisher))
        });
        let Some((stamp, Publisher { window, .. })) = sent else {
            self.stray += 1;
            return Ok(());
        };
        let sequence = stamp.sequence();
        if let Some(order) = &mut subscriber.order {
            order.arrived(stamp.publisher(), sequence);
        }
        match group.arrived(stamp.publisher(), sequence) {
            Arrival::InTurn => window.progress(sequence),
            // In a group another member may be slower, or faster.
            Arrival::Skipped(_) | Arrival::Late if group.shared => window.progress(sequence),
            // Most likely they are lost, and then the publisher must not wait for them. If not, they come late.
            Arrival::Skipped(skipped) => {
                skipped.chain([sequence]).for_each(|sequence| window.progress(sequence));
            }
            Arrival::Late => {}
            Arrival::Again => return Ok(()),
        }
        self.delivered += 1;
        self.events += 1;
        self.latencies.saturating_record(now.saturating_sub(stamp.nanos));
        Ok(())
    }

    fn control(
        &mut self,
        connection: usize,
        id: &str,
        frame: Frame<'_>,
        now: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let packet =
            codec::decode(frame, self.version).map_err(|error| Failure::Malformed(id.to_owned(), error))?;
        match (packet, self.qos) {
            (Packet::PubAck(ack), QoS::AtLeastOnce) | (Packet::PubComp(ack), QoS::ExactlyOnce) => {
                self.acknowledged(connection, id, ack, now)?;
            }
            (Packet::PubRec(ack), QoS::ExactlyOnce) => {
                accepted(id, ack)?;
                put_ack(PacketType::PubRel, ack.packet_id, out);
            }
            (Packet::PubRel(ack), QoS::ExactlyOnce) => put_ack(PacketType::PubComp, ack.packet_id, out),
            (Packet::PingResp, _) => self.pings = self.pings.saturating_sub(1),
            (Packet::Disconnect(disconnect), _) => {
                return Err(Failure::Disconnected(id.to_owned(), format!("{:?}", disconnect.reason)));
            }
            (other, _) => return Err(Failure::Unexpected(id.to_owned(), other.packet_type())),
        }
        Ok(())
    }

    fn acknowledged(&mut self, connection: usize, id: &str, ack: Ack<'_>, now: u64) -> Result<(), Failure> {
        accepted(id, ack)?;
        let Some(Publisher { window, acknowledged, .. }) = self.publishers.get_mut(connection) else {
            self.stray += 1;
            return Ok(());
        };
        let sequence = window.sequence_of(ack.packet_id.get());
        if sequence >= window.sent() {
            self.stray += 1;
        } else if acknowledged.arrived(sequence) != Arrival::Again {
            if let Some(intended) = window.intended(sequence) {
                self.acknowledgements.saturating_record(now.saturating_sub(intended));
            }
            window.progress(sequence);
            self.events += 1;
        }
        Ok(())
    }

    /// What is wrong, when nothing more comes.
    pub(crate) fn faults(&self) -> Faults {
        let mut faults = Faults { stray: self.stray, unacknowledged: self.pings, ..Faults::default() };
        faults.reordered +=
            self.subscribers.iter().filter_map(|one| one.order.as_ref()).map(Order::late).sum::<u64>();
        for group in &self.groups {
            let wanted = (0..).zip(&self.publishers).filter(|(_, one)| group.wants(one.topic));
            wanted.for_each(|(number, one)| group.add(number, one.window.sent(), &mut faults));
        }
        if self.qos != QoS::AtMostOnce {
            for Publisher { window, acknowledged, .. } in &self.publishers {
                faults.add_acknowledgements(acknowledged, window.sent());
            }
        }
        faults
    }
}

/// The number that a PUBLISH's topic ends with.
#[inline]
fn topic_number(body: &[u8], prefix: usize) -> Option<u16> {
    let (len, rest) = body.split_first_chunk()?;
    let digits = rest.get(prefix..usize::from(u16::from_be_bytes(*len)))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A histogram for latencies.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_MIN, LATENCY_MAX, 3).expect("bounds that hdrhistogram accepts")
}

/// Acknowledges a message.
#[inline]
fn answer(received: Received, out: &mut Vec<u8>) {
    let packet = match received.qos {
        QoS::AtMostOnce => return,
        QoS::AtLeastOnce => PacketType::PubAck,
        QoS::ExactlyOnce => PacketType::PubRec,
    };
    if let Some(packet_id) = received.packet_id {
        put_ack(packet, packet_id, out);
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in its short form, which all versions have.
#[inline]
fn put_ack(packet: PacketType, packet_id: PacketId, out: &mut Vec<u8>) {
    let flags = if packet == PacketType::PubRel { 2 } else { 0 };
    let [high, low] = packet_id.get().to_be_bytes();
    out.extend_from_slice(&[(packet as u8) << 4 | flags, 2, high, low]);
}

/// 5.0: an acknowledgement may say that the message was not taken.
fn accepted(id: &str, ack: Ack<'_>) -> Result<(), Failure> {
    if ack.reason as u8 >= 0x80 {
        return Err(Failure::NotPublished(id.to_owned(), ack.reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
