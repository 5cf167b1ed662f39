//! One core: its executor, its connections, its engine, and the loop that moves bytes between them.
//!
//! Runs on: one glommio executor per shard, pinned to a core. Never shared.
//!
//! The executor has one task that owns all connections of its core: no task, timer or waker per connection. That task
//! waits in an epoll set of its own, not in the executor's rings, and lets the executor run every quarter of a second, so
//! that whatever else lives on the core gets its turn. Measured against a bare epoll loop, that costs 1.03 to 1.1 times as
//! much CPU per message, where glommio's own streams cost 1.6 to 1.8 times: an executor that parks on every wake arms
//! timers anew, flushes three rings and calls membarrier. A private io_uring measured the same as epoll; epoll needs
//! neither unsafe code nor buffers that the kernel holds, cannot run out of provided buffers, and an idle connection
//! costs nothing but its slot.
//!
//! Sockets are registered once, edge-triggered, for input and output. One turn: links → ready sockets → timers → links
//! out → outputs out. Time is read once per turn.

mod accept;
mod clock;
mod conn;
mod effects;
mod flush;
mod header;
mod journal;
mod login;
pub mod machine;
mod meter;
mod placement;
mod read;
mod report;
mod stop;
mod storage;
#[cfg(test)]
mod tests;
mod through;

pub use clock::Clock;
pub use login::Door;
pub use machine::Unsuitable;
pub use stop::Stop;
pub use storage::{Opened, Storage, StorePlan};

use crate::engine::{Batch, Engine, Expired, Fetch, Fetched, PeerMessage, Restored, Setup, StoreState};
use crate::mesh::Port;
use crate::metrics::{ShardReport, Traffic};
use crate::sasl::Secret;
use crate::transport::Pool;
use crate::types::{ConnKey, Features, HashSeed, Key, Limits, Now, ShardId, Slab, Span, Wheel};
pub use accept::Listener;
use accept::{Handover, random};
use crossbeam_channel::Sender;
use effects::World;
use journal::Journal;
use login::Logins;
use meter::Rates;
use placement::Placement;
use report::Reports;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use stop::Ending;

/// How often the executor runs, busy or not: other tasks of the core wait no longer than this. A pass of it costs about
/// ten system calls, which on a core with 10,000 idle connections would be most of the work if every wake paid for one.
const YIELD_EVERY: Span = Span::from_millis(250);
/// Messages taken from the links per turn.
const LINK_BUDGET: usize = 4_096;
/// Events taken from the epoll set at once.
const EVENTS: usize = 1_024;

/// What one shard says to another.
#[derive(Debug)]
pub enum Item {
    /// One engine to another.
    Engine(PeerMessage),
    /// A connection for the shard that owns its client.
    Connection(Box<Handed>),
    /// What a shard counted, for the one that publishes `$SYS`.
    Report(Box<ShardReport>),
    /// The broker stops, and the sender has said all that clients asked of it.
    LastWord,
    /// What a shard wants the store to keep.
    Persist(Box<Batch>),
    /// What a shard wants to have back of the store.
    Fetch(Fetch),
    /// The store keeps everything up to this request of the shard's.
    Durable(u64),
    /// What a shard asked of the store.
    Fetched(Box<Fetched>),
    /// What the store has found to be expired.
    Expired(Box<Expired>),
    /// What the store had at the start.
    Restored(Vec<Restored>),
    /// That was all.
    RestoredAll,
    /// The sender has back what the store had, and all shards know of it.
    Settled,
    /// Whether the store takes more has changed.
    StoreIs(StoreState),
    /// The store cannot keep what it was handed, for the time being.
    StoreStuck,
}

/// A connection on its way to the shard that owns its client.
#[derive(Debug)]
pub struct Handed(Handover);

/// What a shard is made of.
#[derive(Debug)]
pub struct Plan {
    /// Its number.
    pub id: ShardId,
    /// How many there are.
    pub shards: u16,
    /// The operator's bounds.
    pub limits: Limits,
    /// What is offered of MQTT's optional parts.
    pub features: Features,
    /// Who lets clients in.
    pub door: Door,
    /// The same on all shards.
    pub seed: HashSeed,
    /// Its listening sockets.
    pub listeners: Vec<Listener>,
    /// Its links to the others.
    pub port: Port<Item>,
    /// How often `$SYS` is published, if at all.
    pub sys_interval: Option<Span>,
    /// The same on all shards: messages take their times along.
    pub clock: Clock,
    /// Raised when the broker stops.
    pub stop: Arc<Stop>,
    /// The lowest number that the store has not given to a session, if there is a store. Its link is the mesh's last.
    pub store: Option<u64>,
    /// Told once clients are served.
    pub ready: Option<Sender<()>>,
}

/// One core's connections and engine.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    shards: u16,
    engine: Engine,
    world: World,
    placement: Placement,
    listeners: Vec<Listener>,
    /// When the first listener's rest is over.
    rested: Option<Now>,
    /// Connections that may have something to read.
    ready: VecDeque<ConnKey>,
    scratch: Vec<u8>,
    /// What was read of an encrypted connection; without memory until there is one.
    cipher: Vec<u8>,
    logins: Logins,
    rates: Rates,
    /// Whether what clients publish is measured.
    metered: bool,
    heard: Vec<(ShardId, Item)>,
    due: Vec<ConnKey>,
    epoll: OwnedFd,
    clock: Clock,
    stop: Arc<Stop>,
    ending: Ending,
    reports: Reports,
    /// The store has given back all that it had for this shard.
    restored: bool,
    /// The others were told that all know of it.
    settled: bool,
    /// Others that told us the same.
    others_settled: u16,
    /// Clients are served.
    serving: bool,
    ready_to: Option<Sender<()>>,
    /// The engine is to be told the time, once so many of those in `ready` are read.
    unread: Option<usize>,
    packet_bytes_max: u32,
    connect_bytes_max: u32,
    connect_timeout: Span,
    connections_max: usize,
}

/// What an event of the epoll set is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Conn(ConnKey),
    Listener(usize),
    Doorbell,
    Mail,
    Stop,
}

impl Token {
    /// Slots from here on are not connections'.
    const OTHERS: u32 = u32::MAX - 0xffff;
    const DOORBELL: u32 = u32::MAX - 1;
    const MAIL: u32 = u32::MAX - 2;
    const STOP: u32 = u32::MAX;

    fn data(self) -> epoll::EventData {
        let (slot, generation) = match self {
            Self::Conn(key) => (key.slot, key.generation),
            Self::Listener(index) => (Self::OTHERS + u32::try_from(index).unwrap_or(0), 0),
            Self::Doorbell => (Self::DOORBELL, 0),
            Self::Mail => (Self::MAIL, 0),
            Self::Stop => (Self::STOP, 0),
        };
        epoll::EventData::new_u64(u64::from(slot) << 32 | u64::from(generation))
    }

    fn of(data: epoll::EventData) -> Self {
        let data = data.u64();
        let [slot, generation] =
            [data >> 32, data & 0xffff_ffff].map(|half| u32::try_from(half).unwrap_or(0));
        match slot {
            Self::DOORBELL => Self::Doorbell,
            Self::MAIL => Self::Mail,
            Self::STOP => Self::Stop,
            Self::OTHERS.. => Self::Listener((slot - Self::OTHERS) as usize),
            _ => Self::Conn(ConnKey::new(slot, generation)),
        }
    }
}

impl Shard {
    /// Makes a shard of its parts. Call it on the thread that is to run it.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new(plan: Plan) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, plan.port.doorbell(), Token::Doorbell.data(), edge)?;
        epoll::add(&epoll, plan.stop.as_fd(), Token::Stop.data(), epoll::EventFlags::IN)?;
        let users = Arc::clone(plan.door.policy.scram());
        let acl = plan.door.policy.acl().map(Arc::clone);
        let logins = Logins::new(plan.door, plan.seed);
        logins.watch(&epoll)?;
        let limits = &plan.limits;
        let rates = Rates::new(limits);
        let (id, shards, seed) = (plan.id, plan.shards, plan.seed);
        let mut engine = Engine::new(Setup {
            features: plan.features,
            users,
            secret: Secret(random()),
            store: if plan.store.is_some() { StoreState::Ready } else { StoreState::Off },
            first_session: plan.store.unwrap_or(0),
            ..Setup::new(id, shards, plan.limits.clone(), seed)
        });
        engine.go_by(acl);
        Ok(Self {
            id,
            shards,
            world: World {
                conns: Slab::new(),
                dirty: Vec::new(),
                pool: Pool::default(),
                port: plan.port,
                deadlines: Wheel::default(),
                journal: Journal::new(id),
                traffic: Traffic::default(),
                now: Now(0),
                store: plan.store.map(|_| ShardId(shards)),
                holding: false,
                released: Vec::new(),
                output_bytes_max: limits.output_bytes_max,
                handshaking: 0,
                strangers_bytes: 0,
            },
            placement: Placement::new(seed, shards),
            listeners: plan.listeners,
            rested: None,
            ready: VecDeque::new(),
            scratch: vec![0; read::SCRATCH],
            cipher: Vec::new(),
            logins,
            rates,
            metered: rates.bounded(),
            heard: Vec::new(),
            due: Vec::new(),
            epoll,
            clock: plan.clock,
            stop: plan.stop,
            ending: Ending::default(),
            restored: plan.store.is_none(),
            settled: false,
            others_settled: 0,
            serving: false,
            ready_to: plan.ready,
            reports: Reports::new(id, shards, plan.sys_interval, plan.clock.now()),
            packet_bytes_max: limits.packet_bytes_max,
            connect_bytes_max: limits.connect_bytes_max.min(limits.packet_bytes_max),
            connect_timeout: limits.connect_timeout,
            connections_max: limits.connections_max as usize,
            unread: None,
            engine,
        })
    }

    /// Runs until the broker stops and all connections are closed, or have had the time for it.
    pub async fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut yielded = self.clock.now();
        self.serve();
        self.world.port.flush();
        while !self.finished() {
            self.wait(&mut events);
            self.turn(self.clock.now(), &mut events);
            if self.world.now - yielded >= YIELD_EVERY {
                yielded = self.world.now;
                glommio::executor().yield_task_queue_now().await;
            }
        }
    }

    /// One turn: everything that happened and everything that is due.
    fn turn(&mut self, now: Now, events: &mut Vec<epoll::Event>) {
        self.world.now = now;
        for event in events.drain(..) {
            self.event(Token::of(event.data), event.flags);
        }
        self.hear();
        self.serve();
        self.world.holding = false;
        self.go_on_reading();
        self.read_ready();
        self.expire();
        self.wake_listeners();
        self.go_on_accepting();
        self.tick();
        self.world.journal.settle(now);
        self.report();
        self.go_on_stopping();
        self.engine.turn_end(self.world.now, &mut self.world);
        self.world.port.flush();
        self.flush();
        self.world.port.flush();
    }

    /// Lets clients in and time pass, once all shards have back what the store had and know what the others had: a message
    /// or a will that was published sooner would miss subscribers.
    fn serve(&mut self) {
        if self.serving || !self.restored || !self.engine.is_settled() {
            return;
        }
        if !self.settled {
            self.settled = true;
            let port = &mut self.world.port;
            let own = port.id();
            let others = (0..self.shards).map(ShardId).filter(|other| *other != own);
            others.for_each(|other| port.push(other, Item::Settled));
        }
        if self.others_settled + 1 < self.shards {
            return;
        }
        self.serving = true;
        for (index, listener) in self.listeners.iter().enumerate() {
            // There were descriptors a moment ago; without this one nobody comes, which the others' listeners make up for.
            let _ = epoll::add(
                &self.epoll,
                &listener.socket,
                Token::Listener(index).data(),
                epoll::EventFlags::IN,
            );
        }
        if let Some(ready) = self.ready_to.take() {
            // Nobody listens any more when another shard failed to start.
            let _ = ready.send(());
        }
    }

    /// Tells the engine the time if it is due, and once everybody is read who has sent something since: a client whose ping
    /// is here already is not silent.
    fn tick(&mut self) {
        if self.engine_deadline().is_none_or(|at| at > self.world.now) {
            return;
        }
        if *self.unread.get_or_insert(self.ready.len()) == 0 {
            self.unread = None;
            self.engine.tick(self.world.now, &mut self.world);
        }
    }

    fn event(&mut self, token: Token, flags: epoll::EventFlags) {
        match token {
            Token::Conn(key) => self.conn_event(key, flags),
            Token::Listener(index) => self.accept(index),
            Token::Doorbell => {}
            Token::Mail => self.take_mail(),
            Token::Stop => self.begin_stop(),
        }
    }

    fn conn_event(&mut self, key: ConnKey, flags: epoll::EventFlags) {
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        let ended = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        conn.flags.hangup |= flags.intersects(ended);
        if flags.intersects(epoll::EventFlags::IN | ended) && !conn.flags.ready && !conn.flags.paused {
            conn.flags.ready = true;
            self.ready.push_back(key);
        }
        if flags.contains(epoll::EventFlags::OUT) && !conn.flags.writable {
            conn.flags.writable = true;
            self.world.mark(key);
        }
    }

    /// Takes what other shards say.
    fn hear(&mut self) {
        let mut heard = std::mem::take(&mut self.heard);
        self.world.port.drain(LINK_BUDGET, &mut |from, item| heard.push((from, item)));
        for (from, item) in heard.drain(..) {
            match item {
                Item::Engine(message) => self.engine.peer(self.world.now, from, message, &mut self.world),
                Item::Connection(handed) => self.take_over(handed.0),
                Item::Report(report) => self.reports.heard(from, *report),
                Item::LastWord => self.ending.last_words += 1,
                Item::Durable(until) => self.engine.durable(self.world.now, until, &mut self.world),
                Item::Fetched(fetched) => self.engine.fetched(self.world.now, *fetched, &mut self.world),
                Item::Expired(expired) => self.engine.expired(*expired),
                Item::StoreIs(state) => self.engine.store_is(state),
                Item::StoreStuck => self.engine.store_is_stuck(self.world.now, &mut self.world),
                Item::Restored(all) => {
                    for restored in all {
                        self.engine.restore(self.world.now, restored, &mut self.world);
                    }
                }
                Item::RestoredAll => self.restored = true,
                Item::Settled => self.others_settled += 1,
                // These go to the store.
                Item::Persist(_) | Item::Fetch(_) => {}
            }
        }
        self.heard = heard;
    }

    /// Sleeps until something happens, unless something is left to do.
    fn wait(&mut self, events: &mut Vec<epoll::Event>) {
        let busy = !self.world.dirty.is_empty()
            || !self.world.released.is_empty()
            || !self.ready.is_empty() && self.reads();
        let asleep = !busy && self.world.port.prepare_sleep();
        let span = if asleep { self.sleep_span(self.clock.now()) } else { Span(0) };
        self.poll(span, events);
        if asleep {
            self.world.port.awake();
        }
        // All that happened, before time passes for anybody.
        while events.len() == events.capacity() {
            events.reserve(EVENTS);
            self.poll(Span(0), events);
        }
    }

    /// Asks the kernel what happened, and waits so long until something does.
    fn poll(&self, span: Span, events: &mut Vec<epoll::Event>) {
        let timeout = Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(0),
            tv_nsec: i64::try_from(span.0 % 1_000).unwrap_or(0) * 1_000_000,
        };
        // It fails only when interrupted: there are no events then, and the next turn asks again.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout));
    }

    /// When the engine is to be told the time. Not before clients are served, nor while they are not read, and nothing is
    /// gained by staying awake.
    fn engine_deadline(&self) -> Option<Now> {
        self.engine.next_deadline().filter(|_| self.serving && self.reads())
    }

    /// How long nothing is due.
    fn sleep_span(&self, now: Now) -> Span {
        let deadlines = [
            self.engine_deadline(),
            self.world.deadlines.next(),
            self.rested,
            self.reports.next(),
            self.ending.deadline(),
            self.world.journal.deadline(),
        ];
        let next = deadlines.into_iter().flatten().min();
        next.map_or(YIELD_EVERY, |at| (at - now).min(YIELD_EVERY))
    }
}
