//! The loop: publish, write, wait, read. One thread, one epoll set.

use crate::args::Args;
use crate::bystanders::bystanders;
use crate::client::{Client, Failure, Hello};
use crate::clock::{Clock, nanos, seconds};
use crate::flow::Flow;
use crate::proc;
use crate::progress::Progress;
use crate::record::{Sample, micros};
use crate::report::Outcome;
use crate::schedule::Schedule;
use pantala::types::QoS;
use rustix::event::{Timespec, epoll};
use std::os::fd::OwnedFd;

/// What a connection is read of at once, and a bound for its packets.
const SCRATCH_MIN: usize = 1 << 20;
/// Output of a publisher past which nothing more is added.
const OUTPUT_MAX: usize = 256 << 10;
/// With less time than this until the next message, the loop does not sleep: waking up would take as long.
const SPIN_NANOS: u64 = 200_000;
const SLEEP_NANOS: u64 = 50_000_000;
const SAMPLE_NANOS: u64 = 1_000_000_000;

/// A run's connections and where it stands.
struct Run<'a> {
    args: &'a Args,
    clock: Clock,
    set: OwnedFd,
    /// Publishers, then subscribers.
    clients: Vec<Client>,
    /// Clients with output.
    dirty: Vec<usize>,
    /// Clients with input.
    ready: Vec<usize>,
    scratch: Vec<u8>,
    flow: Flow,
    /// By publisher: how many messages it may send in all.
    quotas: Vec<u64>,
    schedule: Option<Schedule>,
    phase: Phase,
    begun: Measured,
    ended: Measured,
    /// The count of events when it last changed, and when that was.
    last: (u64, u64),
    next_ping: u64,
    /// Others that are connected meanwhile.
    _bystanders: Vec<Client>,
    samples: Vec<Sample>,
    /// When the next sample is due, and what had been counted at the last one.
    next_sample: u64,
    sampled: Measured,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmingUp,
    Measuring,
    /// Nothing more is published; what is on its way has time to come.
    Draining,
    /// Everybody has pinged: what comes to a client before the answer was on its way.
    Settling,
    Over,
}

/// Opens all connections, runs, and says how it went.
///
/// # Errors
/// The broker is not there, refuses, or closes a connection.
pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let mut run = Run::open(args)?;
    run.drive()?;
    Ok(run.outcome())
}

impl<'a> Run<'a> {
    fn open(args: &'a Args) -> Result<Self, Failure> {
        let flow = Flow::new(args, &format!("pantala-load/{}", std::process::id()));
        let set =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Failure::Socket("epoll".into(), e))?;
        let bystanders = bystanders(args, &flow.topics())?;
        let (mut clients, terms, opening) = (Vec::new(), args.terms()?, Clock::start());
        for number in 0..args.connections() {
            args.await_turn(number, opening);
            let filter = flow.filter(clients.len()).map(|topic| (topic, args.qos()));
            let role = if filter.is_some() { "sub" } else { "pub" };
            clients.push(Client::open(Hello {
                broker: args.broker,
                tls: terms.as_ref(),
                websocket: args.websocket,
                source: args.source(number, args.connections()),
                version: args.version(),
                keep_alive_s: args.keep_alive,
                id: format!("load-{}-{role}{number}", std::process::id()),
                persistent: args.persistent && filter.is_some(),
                filter,
            })?);
        }
        let events =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        for (index, client) in clients.iter().enumerate() {
            epoll::add(&set, client, epoll::EventData::new_u64(index as u64), events)
                .map_err(|error| Failure::Socket(client.id.clone(), error))?;
        }
        let clock = Clock::start();
        Ok(Self {
            args,
            clock,
            set,
            clients,
            dirty: Vec::new(),
            ready: Vec::new(),
            // Whatever is left of a packet fits before the next read.
            scratch: vec![0; SCRATCH_MIN.max(4 * args.payload as usize)],
            flow,
            quotas: vec![u64::MAX; usize::from(args.publishers)],
            schedule: args.rate.map(|rate| Schedule::new(rate, clock.nanos())),
            phase: Phase::WarmingUp,
            begun: Measured::NONE,
            ended: Measured::NONE,
            last: (0, 0),
            next_ping: 0,
            _bystanders: bystanders,
            samples: Vec::new(),
            next_sample: u64::MAX,
            sampled: Measured::NONE,
        })
    }

    fn drive(&mut self) -> Result<(), Failure> {
        let keep_alive = self.clients.iter().map(|client| client.keep_alive_s).filter(|&s| s > 0).min();
        let ping_every = keep_alive.map(|seconds| u64::from(seconds) * 1_000_000_000 / 2);
        self.next_ping = ping_every.unwrap_or(u64::MAX);
        let mut progress = Progress::new(self.args.silent);
        let mut events = Vec::with_capacity(1_024);
        loop {
            let now = self.clock.nanos();
            self.step(now);
            if now >= self.next_sample {
                self.sample(now);
            }
            if self.phase == Phase::Over {
                return Ok(());
            }
            if matches!(self.phase, Phase::WarmingUp | Phase::Measuring) {
                self.publish(now);
            }
            if now >= self.next_ping {
                self.next_ping = now + ping_every.unwrap_or(u64::MAX - now);
                self.ping();
            }
            if progress.due(now) {
                progress.show(now, self.flow.published, self.flow.delivered, self.flow.on_their_way());
            }
            self.flush()?;
            self.wait(&mut events);
            for event in events.drain(..) {
                self.event(usize::try_from(event.data.u64()).unwrap_or(0), event.flags)?;
            }
            for index in std::mem::take(&mut self.ready) {
                if self.read(index)? {
                    self.ready.push(index);
                }
            }
        }
    }

    /// Goes on to the next phase when it is time, and to the one after it when that is over at once.
    fn step(&mut self, now: u64) {
        if self.flow.events != self.last.0 {
            self.last = (self.flow.events, now);
        }
        loop {
            let quiet = now > self.last.1.saturating_add(nanos(self.args.quiet));
            match self.phase {
                Phase::WarmingUp if now >= nanos(self.args.warmup) => {
                    self.begun = Measured::take(self, now);
                    (self.sampled, self.next_sample) = (self.begun, now + SAMPLE_NANOS);
                    self.flow.latencies.reset();
                    self.flow.acknowledgements.reset();
                    self.set_quotas();
                    self.phase = Phase::Measuring;
                }
                Phase::Measuring if self.all_is_published(now, quiet) => {
                    self.ended = Measured::take(self, now);
                    if now - self.sampled.at > SAMPLE_NANOS / 2 {
                        self.sample(now);
                    }
                    self.next_sample = u64::MAX;
                    self.last.1 = now;
                    self.phase = Phase::Draining;
                }
                Phase::Draining if quiet || self.flow.on_their_way() == 0 => {
                    if self.args.messages.is_some() {
                        // All of them are the measurement, up to what came last.
                        self.ended = Measured::take(self, self.last.1);
                    }
                    self.ping();
                    self.last.1 = now;
                    self.phase = Phase::Settling;
                }
                Phase::Settling if quiet || self.flow.pings == 0 => self.phase = Phase::Over,
                _ => return,
            }
        }
    }

    /// Notes what came of the last second.
    fn sample(&mut self, now: u64) {
        let (before, at) = (self.sampled, Measured::take(self, now));
        (self.sampled, self.next_sample) = (at, self.next_sample.max(now) + SAMPLE_NANOS);
        self.samples.push(Sample {
            at_s: seconds(now - self.begun.at),
            published: at.published - before.published,
            delivered: at.delivered - before.delivered,
            broker_cpu_us: proc::between(before.broker_cpu, at.broker_cpu).map(micros),
        });
    }

    /// Deals the messages that are asked for to the publishers.
    fn set_quotas(&mut self) {
        let Some(messages) = self.args.messages else { return };
        let publishers = self.quotas.len() as u64;
        for (number, quota) in self.quotas.iter_mut().enumerate() {
            let share = messages / publishers + u64::from((number as u64) < messages % publishers);
            *quota = self.flow.window(number).sent() + share;
        }
    }

    fn all_is_published(&self, now: u64, quiet: bool) -> bool {
        match self.args.messages {
            None => now >= self.begun.at + nanos(self.args.duration),
            // A broker that has stopped would be waited for in vain.
            Some(messages) => {
                self.flow.published - self.begun.published >= messages
                    || quiet && self.flow.on_their_way() > 0
            }
        }
    }

    fn publish(&mut self, now: u64) {
        let Some(mut schedule) = self.schedule else {
            return (0..self.quotas.len()).for_each(|publisher| self.fill_window(publisher, now));
        };
        while schedule.next() <= now && !self.all_is_published(now, false) {
            let publisher = self.flow.published % self.quotas.len() as u64;
            let publisher = usize::try_from(publisher).unwrap_or(0);
            // While one publisher is held up, messages are late: their intended time says so.
            if self.is_full(publisher, self.clients[publisher].receive_maximum) {
                break;
            }
            self.publish_one(publisher, schedule.next());
            schedule.advance();
        }
        self.schedule = Some(schedule);
    }

    fn fill_window(&mut self, publisher: usize, now: u64) {
        let inflight = self.args.inflight;
        let bound = inflight.min(self.clients[publisher].receive_maximum);
        let bound = if self.args.qos() == QoS::AtMostOnce { inflight } else { bound };
        while !self.is_full(publisher, bound)
            && self.flow.window(publisher).len() < usize::from(bound)
            && self.flow.window(publisher).sent() < self.quotas[publisher]
        {
            self.publish_one(publisher, now);
        }
    }

    /// Whether a publisher has to wait for the broker.
    fn is_full(&self, publisher: usize, window: u16) -> bool {
        self.clients[publisher].backlog() >= OUTPUT_MAX
            || self.args.qos() != QoS::AtMostOnce && self.flow.window(publisher).len() >= usize::from(window)
    }

    fn publish_one(&mut self, publisher: usize, intended: u64) {
        let output = &mut self.clients[publisher].output;
        if output.is_empty() {
            self.dirty.push(publisher);
        }
        self.flow.publish(publisher, intended, output);
    }

    fn ping(&mut self) {
        for (index, client) in self.clients.iter_mut().enumerate() {
            self.flow.ping(&mut client.output);
            self.dirty.push(index);
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let Self { dirty, clients, .. } = self;
        dirty.drain(..).try_for_each(|index| clients[index].flush())
    }

    /// Waits for events, at most until the next message is due.
    fn wait(&self, events: &mut Vec<epoll::Event>) {
        let publishing = matches!(self.phase, Phase::WarmingUp | Phase::Measuring);
        let next = self.schedule.filter(|_| publishing).map_or(u64::MAX, |schedule| schedule.next());
        let left = if self.ready.is_empty() { next.saturating_sub(self.clock.nanos()) } else { 0 };
        let sleep = if left < SPIN_NANOS { 0 } else { (left - SPIN_NANOS / 2).min(SLEEP_NANOS) };
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(sleep).unwrap_or(0) };
        // It fails only when interrupted, and then there are no events.
        let _ = epoll::wait(&self.set, rustix::buffer::spare_capacity(events), Some(&timeout));
    }

    fn event(&mut self, index: usize, flags: epoll::EventFlags) -> Result<(), Failure> {
        if flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            // No further event would announce the end, which follows what can still be read.
            loop {
                self.read(index)?;
            }
        }
        if flags.contains(epoll::EventFlags::OUT) && self.clients[index].backlog() > 0 {
            self.dirty.push(index);
        }
        if flags.contains(epoll::EventFlags::IN) {
            self.ready.push(index);
        }
        Ok(())
    }

    /// Reads a connection once. True when there may be more to read.
    fn read(&mut self, index: usize) -> Result<bool, Failure> {
        let now = self.clock.nanos();
        let Self { clients, scratch, flow, .. } = self;
        let client = &mut clients[index];
        let waiting = client.output.len();
        let more = client.read(scratch, |id, frame, out| flow.packet(index, id, frame, now, out))?;
        if client.output.len() > waiting {
            self.dirty.push(index);
        }
        Ok(more)
    }

    fn outcome(self) -> Outcome {
        let (begun, ended) = (self.begun, self.ended);
        Outcome {
            seconds: seconds(ended.at - begun.at),
            published: ended.published - begun.published,
            delivered: ended.delivered - begun.delivered,
            behind: self.schedule.map_or(0, |schedule| schedule.behind(ended.at)),
            faults: self.flow.faults(),
            latencies: self.flow.latencies,
            acknowledgements: self.flow.acknowledgements,
            broker_cpu_nanos: proc::between(begun.broker_cpu, ended.broker_cpu),
            broker_resident: self.args.pid.and_then(|pid| proc::resident(pid).ok()),
            own_cpu_nanos: proc::between(begun.own_cpu, ended.own_cpu),
            samples: self.samples,
        }
    }
}

/// Counters at a moment.
#[derive(Clone, Copy, Debug)]
struct Measured {
    at: u64,
    published: u64,
    delivered: u64,
    broker_cpu: Option<u64>,
    own_cpu: Option<u64>,
}

impl Measured {
    const NONE: Self = Self { at: 0, published: 0, delivered: 0, broker_cpu: None, own_cpu: None };

    fn take(run: &Run<'_>, at: u64) -> Self {
        let broker_cpu = run.args.pid.and_then(|pid| proc::cpu_nanos(pid).ok());
        let own_cpu = proc::cpu_nanos(std::process::id()).ok();
        Self { at, published: run.flow.published, delivered: run.flow.delivered, broker_cpu, own_cpu }
    }
}
