//! Retained messages: how fast a broker takes them and gives them back to a wildcard, and what one costs it.

use crate::args::Args;
use crate::client::{Client, Failure, Hello, PINGREQ};
use crate::clock::{Clock, nanos, seconds};
use crate::proc;
use crate::record::{Record, Retained};
use crate::window::Window;
use bytes::BytesMut;
use pantala::codec::{
    self, Frame, Packet, PacketType, Properties, PublishHead, Subscribe, SubscribeFilters,
    SubscriptionOptions,
};
use pantala::types::{PacketId, QoS};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::Write;

const SCRATCH: usize = 1 << 20;
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetainedOutcome {
    topics: u32,
    subscribers: u16,
    storing_nanos: u64,
    storing_cpu: Option<u64>,
    resident: Option<(u64, u64)>,
    replaying_nanos: u64,
    replaying_cpu: Option<u64>,
    replayed: u64,
    lost: u64,
    duplicated: u64,
    stray: u64,
}

/// Has messages retained, lets everybody subscribe to all of them at once, and takes them away again.
///
/// # Errors
/// The broker is not there, refuses, or closes a connection.
pub(crate) fn retained(args: &Args, topics: u32) -> Result<RetainedOutcome, Failure> {
    let memory = || args.pid.and_then(|pid| proc::resident(pid).ok());
    let cpu = || args.pid.and_then(|pid| proc::cpu_nanos(pid).ok());
    let prefix = format!("pantala-load/{}/retained", std::process::id());
    let mut publisher = open(args, "pub", 0)?;
    let mut readers = (0..args.subscribers).map(|n| open(args, "sub", n)).collect::<Result<Vec<_>, _>>()?;
    let (clock, before, cpu_before) = (Clock::start(), memory(), cpu());
    publish_all(args, &mut publisher, &prefix, topics, args.payload as usize)?;
    let (storing_nanos, cpu_stored, stored) = (clock.nanos(), cpu(), memory());
    let mut replay = Replay::new(topics, readers.len());
    let clock = Clock::start();
    for reader in &mut readers {
        subscribe(args, reader, &format!("{prefix}/#"));
        reader.flush()?;
    }
    let last = replay.run(args, &prefix, &mut readers, clock)?;
    let replaying_cpu = proc::between(cpu_stored, cpu());
    // Who measures a broker that goes on leaves nothing behind.
    publish_all(args, &mut publisher, &prefix, topics, 0)?;
    let (replayed, lost) = replay.counts();
    Ok(RetainedOutcome {
        topics,
        subscribers: args.subscribers,
        storing_nanos,
        storing_cpu: proc::between(cpu_before, cpu_stored),
        resident: before.zip(stored),
        replaying_nanos: last,
        replaying_cpu,
        replayed,
        lost,
        duplicated: replay.duplicated,
        stray: replay.stray,
    })
}

fn open(args: &Args, role: &str, number: u16) -> Result<Client, Failure> {
    let terms = args.terms()?;
    Client::open(Hello {
        broker: args.broker,
        tls: terms.as_ref(),
        websocket: args.websocket,
        source: 0,
        version: args.version(),
        keep_alive_s: 0,
        id: format!("retained-{}-{role}{number}", std::process::id()),
        persistent: false,
        filter: None,
    })
}

fn subscribe(args: &Args, client: &mut Client, filter: &str) {
    let (mut block, mut out) = (BytesMut::new(), BytesMut::new());
    SubscribeFilters::write(&mut block, filter, SubscriptionOptions::of(args.qos()));
    if let Ok(filters) = SubscribeFilters::parse(&block, args.version()) {
        let packet = Subscribe { packet_id: PacketId::MIN, properties: Properties::EMPTY, filters };
        Packet::Subscribe(packet).encode(args.version(), &mut out);
        client.output.extend_from_slice(&out);
    }
}

/// Publishes to each topic, as many at once as may be in flight, and waits until the broker has them.
fn publish_all(
    args: &Args,
    client: &mut Client,
    prefix: &str,
    topics: u32,
    payload: usize,
) -> Result<(), Failure> {
    let at_once = u32::from(args.inflight.min(client.receive_maximum)).max(1);
    let mut scratch = vec![0; SCRATCH];
    for first in (0..topics).step_by(at_once as usize) {
        let batch = first..topics.min(first.saturating_add(at_once));
        let mut open = batch.len();
        for topic in batch {
            append(args, prefix, topic, payload, &mut client.output);
        }
        if args.qos() == QoS::AtMostOnce {
            open = 1;
            client.output.extend_from_slice(&PINGREQ);
        }
        while open > 0 {
            client.flush()?;
            wait(client, client.backlog() > 0);
            while client.read(&mut scratch, |id, frame, out| answered(args, id, frame, out, &mut open))? {}
        }
    }
    Ok(())
}

fn append(args: &Args, prefix: &str, topic: u32, payload: usize, out: &mut Vec<u8>) {
    let id = PacketId::new(Window::packet_id(u64::from(topic))).unwrap_or(PacketId::MIN);
    let head = PublishHead {
        dup: false,
        qos: args.qos(),
        retain: true,
        topic: &format!("{prefix}/{topic}"),
        packet_id: (args.qos() != QoS::AtMostOnce).then_some(id),
        forward: &[],
        message_expiry: None,
        topic_alias: None,
        subscription_ids: &[],
        payload_len: payload,
    };
    let mut bytes = BytesMut::new();
    if let Some(at) = head.encode(args.version(), &mut bytes) {
        bytes[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
    }
    out.extend_from_slice(&bytes);
    out.resize(out.len() + payload, b'x');
}

/// Something for the publisher: whatever completes a message makes `open` one less.
fn answered(
    args: &Args,
    id: &str,
    frame: Frame<'_>,
    out: &mut Vec<u8>,
    open: &mut usize,
) -> Result<(), Failure> {
    let malformed = |error| Failure::Malformed(id.to_owned(), error);
    match codec::decode(frame, args.version()).map_err(malformed)? {
        Packet::PingResp => *open = 0,
        Packet::PubAck(ack) | Packet::PubRec(ack) if ack.reason as u8 >= 0x80 => {
            return Err(Failure::NotPublished(id.to_owned(), ack.reason));
        }
        Packet::PubAck(_) | Packet::PubComp(_) => *open = open.saturating_sub(1),
        Packet::PubRec(ack) => out.extend_from_slice(&short(PacketType::PubRel, ack.packet_id)),
        other => return Err(Failure::Unexpected(id.to_owned(), other.packet_type())),
    }
    Ok(())
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in its short form.
fn short(packet: PacketType, id: PacketId) -> [u8; 4] {
    let flags = if packet == PacketType::PubRel { 2 } else { 0 };
    let [high, low] = id.get().to_be_bytes();
    [(packet as u8) << 4 | flags, 2, high, low]
}

/// Waits until a client can be read, or written to.
fn wait(client: &Client, writing: bool) {
    let flags = if writing { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    // Interrupted or not, it is tried again.
    let _ = poll(&mut [PollFd::new(client, flags)], Some(&WAIT));
}

/// What has come to the subscribers.
#[derive(Debug)]
struct Replay {
    /// By subscriber and topic.
    seen: Vec<Vec<bool>>,
    missing: u64,
    duplicated: u64,
    stray: u64,
}

impl Replay {
    fn new(topics: u32, readers: usize) -> Self {
        let seen = vec![vec![false; topics as usize]; readers];
        Self { missing: u64::from(topics) * readers as u64, seen, duplicated: 0, stray: 0 }
    }

    /// Reads until everybody has everything, or nothing comes any more. Returns when the last message came.
    fn run(&mut self, args: &Args, prefix: &str, all: &mut [Client], clock: Clock) -> Result<u64, Failure> {
        let (mut scratch, mut last) = (vec![0; SCRATCH], 0);
        while self.missing > 0 && clock.nanos() < last + nanos(args.quiet) {
            let before = self.missing;
            let mut fds: Vec<_> = all.iter().map(|one| PollFd::new(one, PollFlags::IN)).collect();
            // Interrupted or not, all are looked at.
            let _ = poll(&mut fds, Some(&WAIT));
            for (number, client) in all.iter_mut().enumerate() {
                while client.read(&mut scratch, |id, frame, out| {
                    self.packet(args, prefix, number, (id, frame), out)
                })? {}
                client.flush()?;
            }
            if self.missing < before {
                last = clock.nanos();
            }
        }
        Ok(last)
    }

    fn packet(
        &mut self,
        args: &Args,
        prefix: &str,
        number: usize,
        (id, frame): (&str, Frame<'_>),
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let malformed = |error| Failure::Malformed(id.to_owned(), error);
        match codec::decode(frame, args.version()).map_err(malformed)? {
            Packet::Publish(message) => {
                if let Some(packet_id) = message.packet_id {
                    let answer =
                        if message.qos == QoS::ExactlyOnce { PacketType::PubRec } else { PacketType::PubAck };
                    out.extend_from_slice(&short(answer, packet_id));
                }
                let topic =
                    message.topic.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')?.parse().ok());
                let known = topic.and_then(|topic: usize| self.seen[number].get_mut(topic));
                match known.filter(|_| message.retain && message.payload.len() == args.payload as usize) {
                    Some(seen) if !*seen => {
                        *seen = true;
                        self.missing -= 1;
                    }
                    Some(_) => self.duplicated += 1,
                    None => self.stray += 1,
                }
            }
            Packet::PubRel(ack) => out.extend_from_slice(&short(PacketType::PubComp, ack.packet_id)),
            Packet::SubAck(_) => {}
            other => return Err(Failure::Unexpected(id.to_owned(), other.packet_type())),
        }
        Ok(())
    }

    /// Messages that came, and that did not.
    fn counts(&self) -> (u64, u64) {
        let all: usize = self.seen.iter().map(Vec::len).sum();
        (all as u64 - self.missing, self.missing)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn float(count: u64) -> f64 {
    count as f64
}

impl RetainedOutcome {
    fn figures(&self) -> Retained {
        let per =
            |nanos: Option<u64>, count: u64| nanos.map(|nanos| float(nanos) / 1e3 / float(count.max(1)));
        let rate = |count: u64, nanos: u64| float(count) / seconds(nanos).max(1e-9);
        Retained {
            retained: self.topics,
            replayed: self.replayed,
            lost: self.lost,
            duplicated: self.duplicated,
            stray: self.stray,
            stored_per_s: rate(self.topics.into(), self.storing_nanos),
            replayed_per_s: rate(self.replayed, self.replaying_nanos),
            broker_cpu_us_per_stored: per(self.storing_cpu, self.topics.into()),
            broker_cpu_us_per_replayed: per(self.replaying_cpu, self.replayed),
            bytes_per_retained: self
                .resident
                .map(|(before, after)| (float(after) - float(before)) / f64::from(self.topics.max(1))),
        }
    }

    /// Whether anything was lost, repeated or altered.
    pub(crate) fn is_well(&self) -> bool {
        self.lost + self.duplicated + self.stray == 0
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let figures = self.figures();
        let mut out =
            format!("{} retained messages, {} subscribers to all of them\n", self.topics, self.subscribers);
        let _ = writeln!(out, "stored       {:>14.0} /s", figures.stored_per_s);
        let _ = writeln!(out, "replayed     {:>14.0} /s", figures.replayed_per_s);
        let _ = writeln!(out, "lost {}, duplicated {}, stray {}", self.lost, self.duplicated, self.stray);
        let cpu =
            [("stored", figures.broker_cpu_us_per_stored), ("replayed", figures.broker_cpu_us_per_replayed)];
        for (what, micros) in cpu {
            if let Some(micros) = micros {
                let _ = writeln!(out, "broker CPU   {micros:>14.3} us per {what} message");
            }
        }
        if let Some(bytes) = figures.bytes_per_retained {
            let _ = writeln!(out, "broker memory{bytes:>14.0} bytes for each");
        }
        out
    }

    /// For machines.
    pub(crate) fn record(&self, args: &Args) -> Record {
        Record { retained: Some(self.figures()), ..Record::of(args, seconds(self.replaying_nanos)) }
    }
}
