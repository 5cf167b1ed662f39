//! The loop: publish, write, wait, read, count. One thread, one epoll set.

use crate::args::Args;
use crate::check::{Arrival, Faults, Stream};
use crate::client::{Client, Failure, Hello};
use crate::clock::{Clock, nanos, seconds};
use crate::proc::Usage;
use crate::report::Outcome;
use crate::schedule::Schedule;
use crate::stamp::{STAMP, Stamp};
use crate::window::Window;
use bytes::BytesMut;
use hdrhistogram::Histogram;
use pantala::codec::{self, Ack, Packet, PacketType, Publish, PublishHead, ReasonCode, Version};
use pantala::types::{PacketId, QoS};
use rustix::event::{Timespec, epoll};
use std::io::{IsTerminal, Write};

/// What a connection is read of at once.
const SCRATCH: usize = 1 << 20;
/// Output of a publisher past which nothing more is added.
const OUTPUT_MAX: usize = 256 << 10;
/// With less time than this until the next message, the loop does not sleep: waking up would take as long.
const SPIN_NANOS: u64 = 200_000;
const SLEEP_NANOS: u64 = 50_000_000;
/// Latencies from a microsecond to a minute, to three digits.
const LATENCY_MAX: u64 = 60_000_000_000;

/// A run's connections and what is known of the messages.
struct Run<'a> {
    args: &'a Args,
    version: Version,
    qos: QoS,
    clients: Vec<Client>,
    /// Clients with output.
    dirty: Vec<usize>,
    /// Publishers' messages on their way.
    windows: Vec<Window>,
    /// By publisher: a PUBLISH to patch.
    frames: Vec<Template>,
    /// By subscriber: its topic's publishers.
    streams: Vec<Vec<Stream>>,
    clock: Clock,
    latencies: Histogram<u64>,
    delivered: u64,
    published: u64,
}

/// A PUBLISH whose packet id and stamp are filled in for each message.
struct Template {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    stamp_at: usize,
}

impl Template {
    fn new(args: &Args, publisher: u16) -> Self {
        let topic = topic(publisher % args.topics);
        let qos = args.qos();
        let head = PublishHead {
            dup: false,
            qos,
            retain: false,
            topic: &topic,
            packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
            forward: &[],
            message_expiry: None,
            topic_alias: None,
            subscription_ids: &[],
            payload_len: args.payload as usize,
        };
        let mut bytes = BytesMut::new();
        let packet_id_at = head.encode(args.version(), &mut bytes);
        let stamp_at = bytes.len();
        bytes.resize(stamp_at + args.payload as usize, b'x');
        Self { bytes: bytes.to_vec(), packet_id_at, stamp_at }
    }

    fn append(&self, stamp: Stamp, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        if let Some(at) = self.packet_id_at {
            frame[at..at + 2].copy_from_slice(&Window::packet_id(stamp.sequence).to_be_bytes());
        }
        frame[self.stamp_at..self.stamp_at + STAMP].copy_from_slice(&stamp.to_bytes());
    }
}

fn topic(number: u16) -> String {
    format!("pantala-load/{}/{number}", std::process::id())
}

/// Opens all connections, runs, and says how it went.
///
/// # Errors
/// The broker is not there, refuses, or closes a connection.
pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let run = Run::open(args)?;
    let events = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Failure::Socket("epoll".into(), e))?;
    for (index, client) in run.clients.iter().enumerate() {
        epoll::add(&set, client.as_fd(), epoll::EventData::new_u64(index as u64), events)
            .map_err(|error| Failure::Socket(client.id.clone(), error))?;
    }
    run.drive(set)
}

impl<'a> Run<'a> {
    fn open(args: &'a Args) -> Result<Self, Failure> {
        let (version, qos) = (args.version(), args.qos());
        let hello = |role: &str, number: u16, filter: Option<(&str, QoS)>| {
            let id = format!("load-{}-{role}{number}", std::process::id());
            let source = if args.sources > 1 {
                u8::try_from(number % u16::from(args.sources)).unwrap_or(0)
            } else {
                0
            };
            let (broker, keep_alive_s) = (args.broker, args.keep_alive);
            Client::open(Hello { broker, source, version, keep_alive_s, id, filter })
        };
        let mut clients = Vec::new();
        for publisher in 0..args.publishers {
            clients.push(hello("pub", publisher, None)?);
        }
        let mut streams = Vec::new();
        for subscriber in 0..args.subscribers {
            let number = subscriber % args.topics;
            clients.push(hello("sub", subscriber, Some((&topic(number), qos)))?);
            let publishers = (0..args.publishers).filter(|p| p % args.topics == number).count();
            streams.push(std::iter::repeat_with(Stream::default).take(publishers).collect());
        }
        Ok(Self {
            args,
            version,
            qos,
            clients,
            dirty: Vec::new(),
            windows: (0..args.publishers).map(|_| Window::default()).collect(),
            frames: (0..args.publishers).map(|publisher| Template::new(args, publisher)).collect(),
            streams,
            clock: Clock::start(),
            latencies: histogram(),
            delivered: 0,
            published: 0,
        })
    }

    fn drive(mut self, set: std::os::fd::OwnedFd) -> Result<Outcome, Failure> {
        let begin = nanos(self.args.warmup);
        let end = begin + nanos(self.args.duration);
        let quiet = nanos(self.args.quiet);
        let keep_alive = u64::from(self.args.keep_alive) * 1_000_000_000 / 2;
        let mut schedule = self.args.rate.map(|rate| Schedule::new(rate, self.clock.nanos()));
        let mut measured: Option<Measured> = None;
        let mut finished: Option<Measured> = None;
        let (mut last_delivery, mut delivered_before) = (0, 0);
        let mut next_ping = if keep_alive > 0 { keep_alive } else { u64::MAX };
        let mut progress = Progress::new(self.args);
        let mut scratch = vec![0; SCRATCH];
        let mut events = Vec::with_capacity(1_024);
        let mut ready: Vec<usize> = Vec::new();
        loop {
            let now = self.clock.nanos();
            if measured.is_none() && now >= begin {
                self.latencies.reset();
                measured = Some(Measured::take(&self, now));
            }
            if finished.is_none() && now >= end {
                finished = Some(Measured::take(&self, now));
                last_delivery = now;
            }
            if self.delivered != delivered_before {
                (delivered_before, last_delivery) = (self.delivered, now);
            }
            if finished.is_some() && (self.on_their_way() == 0 || now > last_delivery + quiet) {
                break;
            }
            if finished.is_none() {
                self.publish(now, schedule.as_mut());
            }
            if now >= next_ping {
                next_ping = now + keep_alive;
                (0..self.clients.len()).for_each(|index| {
                    self.clients[index].output.extend_from_slice(&[0xc0, 0]);
                    self.dirty.push(index);
                });
            }
            progress.show(now, &self);
            for index in std::mem::take(&mut self.dirty) {
                self.clients[index].flush()?;
            }
            let next = schedule.filter(|_| finished.is_none()).map(|schedule| schedule.next());
            wait(&set, &mut events, if ready.is_empty() { next } else { Some(0) }, self.clock);
            for event in events.drain(..) {
                let (index, flags) = (usize::try_from(event.data.u64()).unwrap_or(0), event.flags);
                if flags.contains(epoll::EventFlags::OUT) && !self.clients[index].output.is_empty() {
                    self.dirty.push(index);
                }
                if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                    ready.push(index);
                }
            }
            for index in std::mem::take(&mut ready) {
                if self.read(index, &mut scratch)? {
                    ready.push(index);
                }
            }
        }
        progress.end();
        let (begun, ended) = (measured.unwrap_or(Measured::NONE), finished.unwrap_or(Measured::NONE));
        Ok(self.outcome(begun, ended))
    }

    fn on_their_way(&self) -> usize {
        self.windows.iter().map(Window::len).sum()
    }

    fn publish(&mut self, now: u64, schedule: Option<&mut Schedule>) {
        let qos = self.qos;
        let bound = |client: &Client| {
            if qos == QoS::AtMostOnce { usize::MAX } else { usize::from(client.receive_maximum) }
        };
        match schedule {
            None => {
                for publisher in 0..self.windows.len() {
                    let bound = bound(&self.clients[publisher]).min(usize::from(self.args.inflight));
                    while self.windows[publisher].len() < bound
                        && self.clients[publisher].output.len() < OUTPUT_MAX
                    {
                        self.publish_one(publisher, now);
                    }
                }
            }
            Some(schedule) => {
                while schedule.next() <= now {
                    let publisher = usize::try_from(self.published % self.windows.len() as u64).unwrap_or(0);
                    if self.windows[publisher].len() >= bound(&self.clients[publisher]) {
                        return;
                    }
                    self.publish_one(publisher, schedule.next());
                    schedule.advance();
                }
            }
        }
    }

    fn publish_one(&mut self, publisher: usize, intended: u64) {
        let number = u16::try_from(publisher).unwrap_or(u16::MAX);
        let subscribers = self.args.subscribers_of(number % self.args.topics);
        let acknowledgements = u16::from(self.qos != QoS::AtMostOnce);
        let sequence = self.windows[publisher].send(subscribers + acknowledgements);
        let stamp = Stamp { publisher: number, sequence, nanos: intended };
        let output = &mut self.clients[publisher].output;
        if output.is_empty() {
            self.dirty.push(publisher);
        }
        self.frames[publisher].append(stamp, output);
        self.published += 1;
    }

    fn read(&mut self, index: usize, scratch: &mut [u8]) -> Result<bool, Failure> {
        let now = self.clock.nanos();
        let Self { clients, windows, streams, latencies, delivered, args, version, dirty, .. } = self;
        let publishers = windows.len();
        let client = &mut clients[index];
        let (id, waiting) = (client.id.clone(), client.output.len());
        let more = client.read(scratch, |frame, out| {
            let malformed = |error| Failure::Malformed(id.clone(), error);
            if frame.packet_type() == Some(PacketType::Publish) {
                let publish = Publish::decode(frame.first, frame.body, *version).map_err(malformed)?;
                let Some(stamp) = Stamp::of(publish.payload) else { return Ok(()) };
                answer(&publish, out);
                let Some(streams) = index.checked_sub(publishers).map(|subscriber| &mut streams[subscriber])
                else {
                    return Ok(());
                };
                let stream = &mut streams[usize::from(stamp.publisher / args.topics)];
                if stream.arrived(stamp.sequence) == Arrival::First {
                    *delivered += 1;
                    latencies.saturating_record(now.saturating_sub(stamp.nanos));
                    windows[usize::from(stamp.publisher)].progress(stamp.sequence);
                }
                return Ok(());
            }
            let window = windows.get_mut(index);
            control(codec::decode(frame, *version).map_err(malformed)?, &id, *version, window, out)
        })?;
        if client.output.len() > waiting {
            dirty.push(index);
        }
        Ok(more)
    }

    fn outcome(self, begun: Measured, ended: Measured) -> Outcome {
        let mut faults = Faults::default();
        for (subscriber, streams) in (0u16..).zip(&self.streams) {
            let first = usize::from(subscriber % self.args.topics);
            let publishers = self.windows.iter().skip(first).step_by(usize::from(self.args.topics));
            streams
                .iter()
                .zip(publishers)
                .for_each(|(stream, window)| faults.add(stream.faults(window.sent())));
        }
        Outcome {
            seconds: seconds(ended.at - begun.at),
            published: ended.published - begun.published,
            delivered: ended.delivered - begun.delivered,
            latencies: self.latencies,
            faults,
            broker_cpu_nanos: ended.broker.zip(begun.broker).map(|(e, b)| e.cpu_nanos - b.cpu_nanos),
            broker_resident: ended.broker.map(|usage| usage.resident),
            own_cpu_nanos: ended.own.zip(begun.own).map(|(e, b)| e.cpu_nanos - b.cpu_nanos),
        }
    }
}

/// Acknowledges a message.
fn answer(publish: &Publish<'_>, out: &mut Vec<u8>) {
    let first = match publish.qos {
        QoS::AtMostOnce => return,
        QoS::AtLeastOnce => PacketType::PubAck,
        QoS::ExactlyOnce => PacketType::PubRec,
    };
    let [high, low] = publish.packet_id.map_or(0, PacketId::get).to_be_bytes();
    out.extend_from_slice(&[(first as u8) << 4, 2, high, low]);
}

/// Handles what is no message.
fn control(
    packet: Packet<'_>,
    id: &str,
    version: Version,
    window: Option<&mut Window>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut reply = |packet: Packet<'_>| {
        let mut bytes = BytesMut::new();
        packet.encode(version, &mut bytes);
        out.extend_from_slice(&bytes);
    };
    match packet {
        Packet::PubAck(ack) | Packet::PubComp(ack) => {
            if let Some(window) = window {
                window.progress(window.sequence_of(ack.packet_id.get()));
            }
        }
        Packet::PubRec(ack) => reply(Packet::PubRel(Ack::new(ack.packet_id, ReasonCode::Success))),
        Packet::PubRel(ack) => reply(Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::Success))),
        Packet::PingResp => {}
        Packet::Disconnect(disconnect) => {
            return Err(Failure::Disconnected(id.to_owned(), format!("{:?}", disconnect.reason)));
        }
        other => return Err(Failure::Unexpected(id.to_owned(), other.packet_type())),
    }
    Ok(())
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LATENCY_MAX, 3).expect("bounds that hdrhistogram accepts")
}

/// Waits for events, until `next` at the latest.
fn wait(set: &std::os::fd::OwnedFd, events: &mut Vec<epoll::Event>, next: Option<u64>, clock: Clock) {
    let left = next.map_or(SLEEP_NANOS, |next| next.saturating_sub(clock.nanos()).min(SLEEP_NANOS));
    let sleep = if left < SPIN_NANOS { 0 } else { left - SPIN_NANOS / 2 };
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(sleep).unwrap_or(0) };
    // It fails only when interrupted, and then there are no events.
    let _ = epoll::wait(set, rustix::buffer::spare_capacity(events), Some(&timeout));
}

/// Counters at a moment.
#[derive(Clone, Copy, Debug)]
struct Measured {
    at: u64,
    published: u64,
    delivered: u64,
    broker: Option<Usage>,
    own: Option<Usage>,
}

impl Measured {
    const NONE: Self = Self { at: 0, published: 0, delivered: 0, broker: None, own: None };

    fn take(run: &Run<'_>, at: u64) -> Self {
        let broker = run.args.pid.and_then(|pid| Usage::of(pid).ok());
        let own = Usage::of(std::process::id()).ok();
        Self { at, published: run.published, delivered: run.delivered, broker, own }
    }
}

/// The line that shows that something happens.
struct Progress {
    on: bool,
    next: u64,
    published: u64,
    delivered: u64,
}

impl Progress {
    const EVERY: u64 = 1_000_000_000;

    fn new(args: &Args) -> Self {
        Self {
            on: !args.silent && std::io::stderr().is_terminal(),
            next: Self::EVERY,
            published: 0,
            delivered: 0,
        }
    }

    fn show(&mut self, now: u64, run: &Run<'_>) {
        if !self.on || now < self.next {
            return;
        }
        self.next = now + Self::EVERY;
        let (published, delivered) = (run.published - self.published, run.delivered - self.delivered);
        (self.published, self.delivered) = (run.published, run.delivered);
        let (second, waiting) = (now / Self::EVERY, run.on_their_way());
        let mut err = std::io::stderr();
        let _ = write!(
            err,
            "\r{second:4} s  {published:>9} published/s  {delivered:>10} delivered/s  {waiting:>8} on their way "
        );
        let _ = err.flush();
    }

    fn end(&self) {
        if self.on {
            eprintln!();
        }
    }
}
