//! One core of the simulated broker: an engine, and the effects that a shard would have on sockets and links.

use super::dice::index;
use super::misheard::unexplained;
use bytes::Bytes;
use pantala::codec::{Connect, DecodeError, Frame, Version};
use pantala::engine::{
    Batch, CloseReason, Effects, Engine, Fetch, Fetched, Note, PeerMessage, Restored, Setup, StoreState,
};
use pantala::session::connect::ClientId;
use pantala::types::{ConnKey, HashSeed, Limits, Message, Now, Rng, ShardId, Slab};
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// What a core is called for.
#[derive(Debug)]
pub(crate) enum Cause<'a> {
    Connect {
        conn: ConnKey,
        connect: Connect<'a>,
        client: ClientId<'a>,
    },
    Packet {
        conn: ConnKey,
        frame: Frame<'a>,
        shared: Option<&'a Bytes>,
    },
    Malformed {
        conn: ConnKey,
        error: DecodeError,
    },
    Lost {
        conn: ConnKey,
    },
    Writable {
        conn: ConnKey,
    },
    Peer {
        from: ShardId,
        message: PeerMessage,
    },
    /// The broker publishes a message of its own.
    Own(Message),
    Restored(Restored),
    Durable(u64),
    Fetched(Fetched),
    StoreIs(StoreState),
    StoreStuck,
    Tick,
    TurnEnd,
    ShutDown,
}

impl Cause<'_> {
    /// The connection that it is about.
    pub(crate) fn conn(&self) -> Option<ConnKey> {
        match self {
            Self::Connect { conn, .. }
            | Self::Packet { conn, .. }
            | Self::Malformed { conn, .. }
            | Self::Lost { conn }
            | Self::Writable { conn } => Some(*conn),
            _ => None,
        }
    }
}

/// What a core did, in order.
#[derive(Debug)]
pub(crate) enum Event {
    /// A response was appended to a connection's output.
    Sent {
        conn: ConnKey,
        frame: Vec<u8>,
    },
    /// A message was, or was not, because the output is full.
    Offered {
        conn: ConnKey,
        frame: Vec<u8>,
        taken: bool,
    },
    Closed {
        conn: ConnKey,
        why: CloseReason,
    },
    Peer {
        to: ShardId,
        message: PeerMessage,
    },
}

/// What goes over a link.
#[derive(Debug)]
pub(crate) enum Item {
    Engine(PeerMessage),
    /// A connection for the core that owns its client, and what was read of it.
    Connection {
        socket: usize,
        input: Vec<u8>,
    },
    /// For the store, whose link is the last.
    Persist(Batch),
    Fetch(Fetch),
    /// From the store.
    Durable(u64),
    Fetched(Fetched),
    Restored(Vec<Restored>),
    RestoredAll,
    StoreIs(StoreState),
    StoreStuck,
    /// The sender has back what the store had, and all know of it.
    Settled,
    /// The broker stops, and the sender has said all that clients asked of it.
    LastWord,
}

/// What a connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Hello,
    Open(Version),
    Closing,
}

/// A connection as its core sees it.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) socket: usize,
    pub(crate) phase: Phase,
    pub(crate) input: Vec<u8>,
    pub(crate) output: VecDeque<u8>,
    /// The engine was refused a message: it is told when there is room.
    pub(crate) refused: bool,
    /// Nothing is written to it.
    pub(crate) corked: bool,
    /// Nothing is read of it.
    pub(crate) held: bool,
}

/// Where an engine's effects go.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) conns: Slab<ConnKey, Conn>,
    pub(crate) events: Vec<Event>,
    /// By core, and behind them for the store: what the next batch brings it.
    pub(crate) links: Vec<Vec<Item>>,
    output_bytes_max: usize,
    /// A seeded bug: this one in so many messages is taken and forgotten.
    pub(crate) forgets: Option<(Rng, u64)>,
    /// A seeded bug: aliases are sent without their topics.
    pub(crate) unexplained: bool,
}

/// A core.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) engine: Engine,
    pub(crate) sink: Sink,
}

impl Shard {
    pub(crate) fn new(setup: Setup) -> Self {
        let sink = Sink {
            conns: Slab::new(),
            events: Vec::new(),
            // The last one is the store's.
            links: (0..=setup.shards).map(|_| Vec::new()).collect(),
            output_bytes_max: setup.limits.output_bytes_max,
            forgets: None,
            unexplained: false,
        };
        Self { engine: Engine::new(setup), sink }
    }

    /// Messages that were dropped for whatever reason.
    pub(crate) fn dropped(&self) -> u64 {
        self.engine.report().counters.dropped.by_reason().iter().map(|(_, count)| count).sum()
    }

    /// Calls the engine.
    pub(crate) fn call(&mut self, now: Now, cause: &Cause<'_>) {
        let Self { engine, sink } = self;
        match cause {
            Cause::Connect { conn, connect, client } => engine.connect(now, *conn, connect, *client, sink),
            Cause::Packet { conn, frame, shared } => engine.packet(now, *conn, *frame, *shared, sink),
            Cause::Malformed { conn, error } => engine.malformed(now, *conn, *error, sink),
            Cause::Lost { conn } => engine.lost(now, *conn, sink),
            Cause::Writable { conn } => engine.writable(now, *conn, sink),
            Cause::Peer { from, message } => engine.peer(now, *from, message.clone(), sink),
            Cause::Restored(restored) => engine.restore(now, restored.clone(), sink),
            Cause::Durable(until) => engine.durable(now, *until, sink),
            Cause::Fetched(fetched) => engine.fetched(now, fetched.clone(), sink),
            Cause::StoreIs(state) => engine.store_is(*state),
            Cause::StoreStuck => engine.store_is_stuck(now, sink),
            Cause::Own(message) => engine.publish(now, message.clone(), sink),
            Cause::Tick => engine.tick(now, sink),
            Cause::TurnEnd => engine.turn_end(now, sink),
            Cause::ShutDown => engine.shut_down(now, sink),
        }
    }
}

impl Sink {
    /// Makes a socket one of this core's connections.
    pub(crate) fn adopt(&mut self, socket: usize, input: Vec<u8>) -> ConnKey {
        self.conns.insert(Conn {
            socket,
            phase: Phase::Hello,
            input,
            output: VecDeque::new(),
            refused: false,
            corked: false,
            held: false,
        })
    }

    /// What a connection speaks, if its client has said so.
    pub(crate) fn version(&self, key: ConnKey) -> Option<Version> {
        match self.conns.get(key)?.phase {
            Phase::Open(version) => Some(version),
            _ => None,
        }
    }

    /// All connections, beginning with a random one.
    pub(crate) fn round(&self, rng: &mut Rng) -> Vec<ConnKey> {
        let mut keys: Vec<_> = self.conns.iter().map(|(key, _)| key).collect();
        if !keys.is_empty() {
            let first = index(rng, keys.len());
            keys.rotate_left(first);
        }
        keys
    }

    fn ask_store(&mut self, item: Item) {
        self.links.last_mut().expect("the store's").push(item);
    }

    fn append(&mut self, key: ConnKey, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.output.extend(bytes);
        }
    }
}

impl Effects for Sink {
    fn persist(&mut self, batch: Batch) {
        self.ask_store(Item::Persist(batch));
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.ask_store(Item::Fetch(fetch));
    }

    fn cork(&mut self, key: ConnKey, corked: bool) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.corked = corked;
        }
    }

    fn hold(&mut self, key: ConnKey, held: bool) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.held = held;
        }
    }

    fn send(&mut self, key: ConnKey, bytes: &[u8]) {
        self.append(key, bytes);
        self.events.push(Event::Sent { conn: key, frame: bytes.to_vec() });
    }

    fn offer(&mut self, key: ConnKey, frame: &[u8]) -> bool {
        let bug = self.unexplained && self.version(key) == Some(Version::V5);
        let changed = bug.then(|| unexplained(frame)).flatten();
        let frame = changed.as_deref().unwrap_or(frame);
        let waiting = self.conns.get(key).map_or(0, |conn| conn.output.len());
        let taken = waiting == 0 || waiting + frame.len() <= self.output_bytes_max;
        if !taken && let Some(conn) = self.conns.get_mut(key) {
            conn.refused = true;
        }
        let forgotten = self.forgets.as_mut().is_some_and(|(rng, one_in)| rng.chance(1, *one_in));
        if taken && !forgotten {
            self.append(key, frame);
        }
        self.events.push(Event::Offered { conn: key, frame: frame.to_vec(), taken });
        taken
    }

    fn offer_shared(&mut self, key: ConnKey, head: &[u8], payload: &Bytes) -> bool {
        self.offer(key, &[head, payload].concat())
    }

    fn close(&mut self, key: ConnKey, why: CloseReason) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.phase = Phase::Closing;
        }
        self.events.push(Event::Closed { conn: key, why });
    }

    fn peer(&mut self, to: ShardId, message: PeerMessage) {
        self.links[to.index()].push(Item::Engine(message.clone()));
        self.events.push(Event::Peer { to, message });
    }

    fn note(&mut self, _: ConnKey, _: Note<'_>) {}
}

/// Which core owns a client: any function that all agree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    pub(crate) seed: HashSeed,
    pub(crate) shards: u16,
}

impl Placement {
    pub(crate) fn owner(self, client_id: &str) -> usize {
        let hash = self.seed.state().hash_one(client_id) % u64::from(self.shards);
        usize::try_from(hash).expect("below the number of shards")
    }

    /// A client id that a core owns and nobody has yet.
    pub(crate) fn assign(self, shard: usize, used: &mut u64) -> String {
        loop {
            *used += 1;
            let id = format!("auto-{used}");
            if self.owner(&id) == shard {
                return id;
            }
        }
    }
}

/// Bounds of a run: often so small that they are reached.
pub(crate) fn limits(rng: &mut Rng) -> Limits {
    use pantala::types::Span;
    use pantala::types::limits::Overflow;
    Limits {
        packet_bytes_max: 64 << 10,
        topic_levels_max: 6,
        subscriptions_max: *rng.pick(&[2, 6, 100, 100]),
        inflight_max: *rng.pick(&[1, 3, 20, 1_024]),
        receive_max: *rng.pick(&[1, 3, 20, 1_024]),
        queue_messages_max: *rng.pick(&[2, 6, 40, 100_000]),
        queue_bytes_max: *rng.pick(&[600, 100_000, 64 << 20]),
        overflow: *rng.pick(&[Overflow::DropNewest, Overflow::DropOldest, Overflow::Disconnect]),
        output_bytes_max: *rng.pick(&[60, 400, 4_000, 1 << 20]),
        retained_messages_max: *rng.pick(&[3, 1_000, 1_000, 1_000]),
        session_expiry_max: *rng.pick(&[None, Some(Span::from_secs(30)), Some(Span::from_secs(300))]),
        sessions_max: *rng.pick(&[3, 1_000, 1_000, 1_000, 1_000]),
        keep_alive_max_s: *rng.pick(&[0, 0, 7]),
        ..Limits::default()
    }
}
