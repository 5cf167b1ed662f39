//! The simulated world: cores with an engine each, links between them, sockets, clients, one clock. One thread, one seed.
//!
//! A step is a turn of a core or an act of a client, whichever the dice choose. The clock moves in steps of the timer
//! wheel's tick, so that what is due fires in the very next turn and the oracle need not guess.

use super::client::{Client, Hello, Reading, Session};
use super::dice::{Dice, index};
use super::faults::{Faults, Flushed, Mutant};
use super::misheard::{misheard, undone};
use super::oracle::{Oracle, Verdict, ensure};
use super::shadow::LifeId;
use super::shard::{Cause, Event, Item, Phase, Placement, Shard, limits};
use super::socket::{Read, Socket};
use super::trace;
use super::workload::{ALIAS_MISUSES, Act, MISUSES, STRAYS, Workload, features};
use bytes::Bytes;
use pantala::codec::{Connect, Frame, ReasonCode, Split, SubscriptionOptions, Version, split};
use pantala::engine::{PeerMessage, Setup};
use pantala::session::connect::{ClientId, Identity};
use pantala::types::limits::Overflow;
use pantala::types::{ConnKey, Delivery, HashSeed, Limits, Message, Now, QoS, ShardId, Span, TICK};
use std::collections::{BTreeMap, VecDeque};

/// Steps after which a world that gets no new work must have come to rest.
const REST_WITHIN: u64 = 40_000;
/// How often a session is taken up again before it is given up.
const HOMECOMINGS_MAX: u32 = 20;
/// A connection whose output is this much beyond its bound is not read.
const RESPONSES_BEYOND: usize = 200;

/// Everything that a seed makes.
pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) step: u64,
    shards: Vec<Shard>,
    /// By sender and receiver: batches on the way.
    links: Vec<Vec<VecDeque<Vec<Item>>>>,
    sockets: Vec<Socket>,
    /// By socket: which core's connection it is by now.
    places: Vec<Option<(usize, ConnKey)>>,
    clients: Vec<Client>,
    sessions: BTreeMap<LifeId, Session>,
    oracle: Oracle,
    dice: Dice,
    faults: Faults,
    workload: Workload,
    placement: Placement,
    limits: Limits,
    assigned: u64,
    /// Nobody asks for more, and whatever can move does.
    calm: bool,
    /// What happens is told.
    pub(crate) loud: bool,
    pub(crate) story: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut dice = Dice::new(seed);
        let count = 1 + index(&mut dice.setup, 5);
        let shards = u16::try_from(count).expect("few shards");
        let limits = limits(&mut dice.setup);
        let hash = HashSeed(dice.setup.next_u64());
        let features = features(&mut dice.setup);
        let setup = |shard| Setup {
            features: features.clone(),
            ..Setup::new(ShardId(shard), shards, limits.clone(), hash)
        };
        let clients = 2 + index(&mut dice.setup, 7);
        let mut world = Self {
            now: Now(0),
            step: 0,
            shards: (0..shards).map(|shard| Shard::new(setup(shard))).collect(),
            links: (0..count).map(|_| (0..count).map(|_| VecDeque::new()).collect()).collect(),
            sockets: Vec::new(),
            places: Vec::new(),
            clients: (0..clients).map(|number| Workload::client(number, &mut dice.setup)).collect(),
            sessions: BTreeMap::new(),
            oracle: Oracle::new(count, limits.clone(), features),
            faults: Faults::new(count, mutant, &mut dice.faults),
            workload: Workload::new(&mut dice.setup),
            placement: Placement { seed: hash, shards },
            limits,
            assigned: 0,
            calm: false,
            loud: false,
            story: Vec::new(),
            dice,
        };
        if mutant == Some(Mutant::OutputForgets) {
            for shard in &mut world.shards {
                shard.sink.forgets = Some((pantala::types::Rng::new(world.dice.faults.next_u64()), 60));
            }
        }
        world.shards.iter_mut().for_each(|shard| {
            shard.sink.unexplained = mutant == Some(Mutant::AliasUnexplained);
        });
        world
    }

    /// Lives through a seed.
    pub(crate) fn run(&mut self) -> Verdict {
        self.begin()?;
        let steps = 150 + self.dice.setup.below(900);
        for _ in 0..steps {
            self.step()?;
        }
        self.come_to_rest()?;
        self.oracle.at_rest()?;
        self.all_bytes_arrived()?;
        self.new_subscribers_get_what_is_retained()?;
        self.shut_down()
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.loud {
            let line = format!("{:5} {:>7}ms  {}", self.step, self.now.0, what());
            self.story.push(line);
        }
    }

    /// Witnesses connect, one on each core; in some worlds a long shelf of retained messages is filled.
    fn begin(&mut self) -> Verdict {
        let first = self.clients.len();
        for shard in 0..self.shards.len() {
            let name = (0..).map(|n| format!("witness-{n}")).find(|name| self.placement.owner(name) == shard);
            // Nobody can make a client of this version keep itself alive.
            let mut witness = Client::new(&name.expect("some name is this core's"), Version::V311);
            witness.witness = true;
            self.clients.push(witness);
        }
        for at in first..self.clients.len() {
            self.connect(at, &calm(Version::V311, true));
            self.until_answered(at)?;
            let filter = [("later/#".to_owned(), SubscriptionOptions::of(QoS::AtMostOnce))];
            self.with_session(at, |link, session| link.subscribe(session, &filter, None));
            if at == first {
                for number in 0..self.workload.shelf {
                    let draft = self.workload.book(number, &mut self.dice.workload);
                    self.with_session(at, |link, _| link.publish(None, draft));
                }
            }
        }
        Ok(())
    }

    /// How much of something moves: any part while there is weather, all of it in the calm.
    fn part(&mut self, most: usize) -> usize {
        if self.calm || self.dice.network.chance(1, 2) {
            most
        } else {
            index(&mut self.dice.network, most + 1)
        }
    }

    fn until_answered(&mut self, at: usize) -> Verdict {
        for _ in 0..REST_WITHIN {
            if self.clients[at].link.as_ref().is_none_or(|link| link.life.is_some()) {
                return Ok(());
            }
            for shard in 0..self.shards.len() {
                self.turn(shard)?;
            }
            self.serve(at)?;
        }
        Err("no CONNACK".to_owned())
    }

    fn step(&mut self) -> Verdict {
        self.step += 1;
        let ticks = self.dice.schedule.below(4).saturating_sub(1);
        let jump = self.faults.step(self.step, &mut self.dice.faults);
        self.now = self.now + Span(TICK.0 * ticks) + jump;
        if self.dice.schedule.chance(1, 2) {
            let shard = index(&mut self.dice.schedule, self.shards.len());
            if self.faults.is_stalled(shard, self.step) {
                return Ok(());
            }
            return self.turn(shard);
        }
        let at = index(&mut self.dice.schedule, self.clients.len());
        self.serve(at)?;
        if !self.clients[at].witness {
            self.act(at);
        }
        Ok(())
    }
}

/// What the broker does.
impl World {
    /// Calls an engine and has the oracle judge what it did.
    fn call(&mut self, at: usize, cause: &Cause<'_>) -> Verdict {
        let lost_on_the_way = matches!(cause, Cause::Packet { frame, .. } if frame.first >> 4 == 4)
            && self.faults.strikes(Mutant::PubAckLost, 5, &mut self.dice.faults);
        let shard = &mut self.shards[at];
        shard.sink.events.clear();
        if !lost_on_the_way {
            let version = cause.conn().and_then(|conn| shard.sink.version(conn));
            misheard(self.faults.mutant, self.now, cause, version, |cause| shard.call(self.now, cause));
        }
        let (mut events, report) = (std::mem::take(&mut shard.sink.events), shard.engine.report());
        undone(self.faults.mutant, &mut events);
        self.tell(at, cause, &events);
        self.oracle.check(at, self.now, cause, &events, &report)
    }

    fn tell(&mut self, at: usize, cause: &Cause<'_>, events: &[Event]) {
        if !self.loud || events.is_empty() && matches!(cause, Cause::Tick | Cause::TurnEnd) {
            return;
        }
        let conns = &self.shards[at].sink.conns;
        let version = |key| match conns.get(key).map(|conn| conn.phase) {
            Some(Phase::Open(version)) => version,
            _ => Version::V311,
        };
        let mut lines = vec![trace::cause(cause, version)];
        lines.extend(events.iter().map(|event| format!("    {}", trace::event(event, version))));
        lines.into_iter().for_each(|line| self.say(|| format!("core {at}: {line}")));
    }

    fn turn(&mut self, at: usize) -> Verdict {
        for from in 0..self.shards.len() {
            let waiting = self.links[from][at].len();
            let most = if self.faults.is_slow(from, at, self.step) { 0 } else { waiting };
            for _ in 0..self.part(most) {
                for item in self.links[from][at].pop_front().unwrap_or_default() {
                    self.hear(at, from, item)?;
                }
            }
        }
        for key in self.shards[at].sink.round(&mut self.dice.network) {
            self.read(at, key)?;
        }
        let due = self.shards[at].engine.next_deadline().is_some_and(|deadline| deadline <= self.now);
        if due && self.faults.mutant != Some(Mutant::NoTick) {
            self.call(at, &Cause::Tick)?;
        }
        if !self.calm && self.dice.schedule.chance(1, 300) {
            self.speak(at)?;
        }
        self.call(at, &Cause::TurnEnd)?;
        self.flush_links(at);
        self.flush(at)?;
        self.flush_links(at);
        Ok(())
    }

    /// The broker says something of itself.
    fn speak(&mut self, at: usize) -> Verdict {
        let delivery = Delivery { qos: QoS::AtMostOnce, retain: true, received: self.now, expiry: None };
        let payload = format!("uptime {}", self.step);
        self.call(at, &Cause::Own(Message::new(&format!("$SYS/{at}"), &[], payload.as_bytes(), delivery)))
    }

    fn hear(&mut self, at: usize, from: usize, item: Item) -> Verdict {
        match item {
            Item::Engine(message) => {
                if let Some(to) = self.faults.passes_on(at, &message, &mut self.dice.faults) {
                    self.shards[at].sink.links[to.index()].push(Item::Engine(message.clone()));
                }
                self.call(at, &Cause::Peer { from: shard_id(from), message })
            }
            Item::Connection { socket, input } => {
                let key = self.shards[at].sink.adopt(socket, input);
                self.places[socket] = Some((at, key));
                self.packets(at, key)
            }
            other => Err(format!("there is no store, and {other:?}")),
        }
    }

    fn read(&mut self, at: usize, key: ConnKey) -> Verdict {
        let Some(conn) = self.shards[at].sink.conns.get_mut(key) else { return Ok(()) };
        if conn.output.len() > self.limits.output_bytes_max + RESPONSES_BEYOND {
            return Ok(());
        }
        let socket = conn.socket;
        let most = self.sockets[socket].upward();
        let most = self.part(most);
        let Some(conn) = self.shards[at].sink.conns.get_mut(key) else { return Ok(()) };
        match self.sockets[socket].broker_reads(most) {
            Read::Bytes(bytes) => {
                conn.input.extend(bytes);
                self.packets(at, key)
            }
            Read::Nothing => Ok(()),
            Read::End => {
                let open = matches!(conn.phase, Phase::Open(_));
                if open {
                    self.call(at, &Cause::Lost { conn: key })?;
                }
                self.shards[at].sink.conns.remove(key);
                Ok(())
            }
        }
    }

    /// Hands whole packets to the engine.
    fn packets(&mut self, at: usize, key: ConnKey) -> Verdict {
        let Some(conn) = self.shards[at].sink.conns.get_mut(key) else { return Ok(()) };
        let input = std::mem::take(&mut conn.input);
        let mut used = 0;
        loop {
            let Some(conn) = self.shards[at].sink.conns.get(key) else { return Ok(()) };
            match (split(&input[used..], self.limits.packet_bytes_max), conn.phase) {
                (Ok(Split::Whole { frame, .. }), Phase::Hello)
                    if !self.hello(at, key, frame, &input[used..])? =>
                {
                    return Ok(());
                }
                (Ok(Split::Whole { len, .. }), Phase::Hello) => used += len,
                // Also on a connection that was just closed: the engine is deaf to it.
                (Ok(Split::Whole { frame, len }), _) => {
                    self.packet(at, key, frame, &input[used..used + len])?;
                    used += len;
                }
                (Err(error), Phase::Open(_)) => {
                    self.call(at, &Cause::Malformed { conn: key, error })?;
                    return Ok(());
                }
                (Err(_), Phase::Closing) => return Ok(()),
                (Err(error), Phase::Hello) => return Err(format!("a client began with {error}")),
                (Ok(Split::Partial { .. }), _) => break,
            }
        }
        if let Some(conn) = self.shards[at].sink.conns.get_mut(key) {
            conn.input = input[used..].to_vec();
        }
        Ok(())
    }

    fn packet(&mut self, at: usize, key: ConnKey, frame: Frame<'_>, whole: &[u8]) -> Verdict {
        if !self.dice.network.chance(1, 6) {
            return self.call(at, &Cause::Packet { conn: key, frame, shared: None });
        }
        // As if it had been read into memory of its own.
        let memory = Bytes::copy_from_slice(whole);
        let frame = Frame { first: frame.first, body: &memory[whole.len() - frame.body.len()..] };
        self.call(at, &Cause::Packet { conn: key, frame, shared: Some(&memory) })
    }

    /// Handles CONNECT, here or on the core that owns the client. True if it was handled here.
    fn hello(&mut self, at: usize, key: ConnKey, frame: Frame<'_>, input: &[u8]) -> Verdict<bool> {
        let connect = Connect::decode(frame.body).map_err(|error| format!("a client sent {error}"))?;
        let chosen;
        let client = match Identity::of(&connect) {
            Identity::Given(text) => ClientId { text, assigned: false },
            Identity::Assign => {
                chosen = self.placement.assign(at, &mut self.assigned);
                ClientId { text: &chosen, assigned: true }
            }
            Identity::Refused => ClientId { text: "", assigned: false },
        };
        let owner = if client.text.is_empty() { at } else { self.placement.owner(client.text) };
        let sink = &mut self.shards[at].sink;
        if owner != at {
            let Some(conn) = sink.conns.remove(key) else { return Ok(false) };
            self.places[conn.socket] = None;
            sink.links[owner].push(Item::Connection { socket: conn.socket, input: input.to_vec() });
            return Ok(false);
        }
        if let Some(conn) = sink.conns.get_mut(key) {
            conn.phase = Phase::Open(connect.version);
        }
        self.call(at, &Cause::Connect { conn: key, connect, client })?;
        Ok(true)
    }

    fn flush_links(&mut self, at: usize) {
        for to in 0..self.shards.len() {
            let batch = std::mem::take(&mut self.shards[at].sink.links[to]);
            if batch.is_empty() {
                continue;
            }
            let batch = self.early_acks(at, to, batch);
            let link = &mut self.links[at][to];
            match self.faults.flushed(batch, &mut self.dice.faults) {
                Flushed::Batch(batch) => link.push_back(batch),
                Flushed::Twice(batch, again) => link.extend([batch, again]),
                Flushed::Overtaking(batch) => link.insert(link.len().saturating_sub(1), batch),
            }
        }
    }

    /// A seeded bug: interest is acknowledged at once and told much later.
    fn early_acks(&mut self, at: usize, to: usize, batch: Vec<Item>) -> Vec<Item> {
        if self.faults.mutant != Some(Mutant::EarlySubAck) {
            return batch;
        }
        let number = batch.iter().rev().find_map(|item| match item {
            Item::Engine(PeerMessage::InterestAdd { number, .. }) => Some(*number),
            _ => None,
        });
        if let Some(number) = number {
            self.links[to][at].push_back(vec![Item::Engine(PeerMessage::InterestAck { number })]);
        }
        batch
    }

    /// Outputs go out as far as the sockets take them.
    fn flush(&mut self, at: usize) -> Verdict {
        for key in self.shards[at].sink.round(&mut self.dice.network) {
            let waiting = self.shards[at].sink.conns.get(key).map_or(0, |conn| conn.output.len());
            let most = self.part(waiting);
            let Some(conn) = self.shards[at].sink.conns.get_mut(key) else { continue };
            let socket = &mut self.sockets[conn.socket];
            let written = socket.broker_writes(&conn.output.make_contiguous()[..most]);
            conn.output.drain(..written);
            let drained = conn.output.len() <= self.limits.output_bytes_max / 2;
            match conn.phase {
                // The time that a closed connection has to take its last words is bounded.
                Phase::Closing if conn.output.is_empty() || self.dice.network.chance(1, 20) => {
                    socket.broker_closes();
                    self.shards[at].sink.conns.remove(key);
                }
                Phase::Open(_) if conn.refused && drained => {
                    conn.refused = false;
                    if self.faults.mutant != Some(Mutant::DrainedUnheard) {
                        self.call(at, &Cause::Writable { conn: key })?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What clients do.
impl World {
    fn connect(&mut self, at: usize, hello: &Hello) {
        self.clients[at].version = hello.version;
        let socket = self.sockets.len();
        let window = *self.dice.network.pick(&[50, 500, 100_000]);
        self.sockets.push(Socket::new(window));
        let shard = index(&mut self.dice.network, self.shards.len());
        let key = self.shards[shard].sink.adopt(socket, Vec::new());
        self.places.push(Some((shard, key)));
        self.clients[at].connect(socket, self.now, hello);
        self.say(|| format!("client {at}: {hello:?} at core {shard}, {key:?}"));
        self.write(at);
    }

    fn with_session(&mut self, at: usize, act: impl FnOnce(&mut super::client::Link, &mut Session)) {
        if let Some(link) = &mut self.clients[at].link
            && let Some(life) = link.life
        {
            act(link, self.sessions.entry(life).or_default());
        }
        self.write(at);
    }

    fn write(&mut self, at: usize) {
        if let Some(link) = &mut self.clients[at].link
            && !link.output.is_empty()
        {
            self.sockets[link.socket].client_writes(&link.output);
            link.output.clear();
            link.spoke(self.now);
        }
    }

    /// A client reads, acknowledges, and keeps its connection alive.
    fn serve(&mut self, at: usize) -> Verdict {
        let client = &mut self.clients[at];
        let Some(link) = &mut client.link else { return Ok(()) };
        let socket = &mut self.sockets[link.socket];
        let most = match client.reading {
            Reading::Eager => usize::MAX,
            Reading::Slow => index(&mut self.dice.network, 40),
            // CONNACK it does read.
            Reading::Never if link.life.is_some() => 0,
            Reading::Never => 20,
        };
        match socket.client_reads(most) {
            Read::Bytes(bytes) => {
                let place = self.places[link.socket];
                let life = place.and_then(|(core, key)| self.oracle.life_of(core, key));
                link.hear(&bytes, life, &mut self.sessions, &mut self.oracle, &mut client.collected)?;
            }
            Read::Nothing => {}
            Read::End => {
                client.link = None;
                self.say(|| format!("client {at}: the broker closed the connection"));
                return Ok(());
            }
        }
        let held = link.acks_held();
        let withholds = client.withholds && self.dice.workload.chance(3, 4);
        link.release_acks(if withholds { index(&mut self.dice.workload, held + 1) / 2 } else { held });
        if link.is_quiet(self.now) && !client.silent {
            link.send(&pantala::codec::Packet::PingReq);
        }
        self.write(at);
        Ok(())
    }

    /// A client does what it likes.
    fn act(&mut self, at: usize) {
        let rng = &mut self.dice.workload;
        let Some(link) = &self.clients[at].link else {
            if rng.chance(1, 3) {
                let hello = self.workload.hello(&self.clients[at], rng);
                self.clients[at].silent = rng.chance(1, 8);
                self.connect(at, &hello);
            }
            return;
        };
        let (version, connected) = (link.version, link.life.is_some());
        let act = self.workload.act(rng);
        match act {
            Act::Nothing => {}
            Act::Publish => {
                let burst = if rng.chance(1, 10) { 12 } else { 1 };
                let drafts: Vec<_> = (0..burst).map(|_| self.workload.draft(rng)).collect();
                self.with_session(at, |link, session| {
                    drafts.into_iter().for_each(|draft| link.publish(Some(session), draft));
                });
            }
            Act::Subscribe => {
                let session = link.life.and_then(|life| self.sessions.get(&life));
                let known: Vec<_> = session.iter().flat_map(|session| &session.filters).cloned().collect();
                let filters = self.workload.filters(version, &known, rng);
                let id = rng.chance(1, 3).then(|| u32::try_from(1 + rng.below(300)).expect("small"));
                self.with_session(at, |link, session| link.subscribe(session, &filters, id));
            }
            Act::Unsubscribe => {
                let (pick, stranger) = (rng.next_u64(), rng.chance(1, 4));
                self.with_session(at, |link, session| {
                    let count = session.filters.len().max(1) as u64;
                    let known =
                        session.filters.iter().nth(usize::try_from(pick % count).unwrap_or(0)).cloned();
                    let filters: Vec<_> =
                        known.into_iter().chain(stranger.then(|| "z/z".to_owned())).collect();
                    if !filters.is_empty() {
                        link.unsubscribe(session, &filters);
                    }
                });
            }
            Act::Ping => self.with_session(at, |link, _| link.send(&pantala::codec::Packet::PingReq)),
            Act::Repeat => {
                let pick = index(rng, 50);
                self.with_session(at, |link, session| link.repeat(session, pick));
            }
            Act::Disconnect if connected => {
                let reason = if rng.chance(1, 3) {
                    ReasonCode::DisconnectWithWillMessage
                } else {
                    ReasonCode::Success
                };
                let expiry_s = rng.chance(1, 4).then(|| *rng.pick(&[0, 5, 50]));
                self.with_session(at, |link, _| link.disconnect(reason, expiry_s));
                self.hang_up(at);
            }
            Act::Vanish => self.vanish(at),
            // Only a client with a name of its own takes something over.
            Act::TakeOver if connected && !self.clients[at].name.is_empty() => {
                let hello = self.workload.hello(&self.clients[at], rng);
                self.connect(at, &hello);
            }
            Act::Stray => {
                let bytes = *rng.pick(&STRAYS);
                self.with_session(at, |link, _| link.output.extend_from_slice(bytes));
            }
            Act::Misbehave => {
                let misuses = if version.is_v5() && rng.chance(1, 3) { &ALIAS_MISUSES[..] } else { &MISUSES };
                let bytes = *rng.pick(misuses);
                self.with_session(at, |link, _| link.output.extend_from_slice(bytes));
            }
            Act::Overrun => self.with_session(at, |link, session| link.overrun(session)),
            Act::Disconnect | Act::TakeOver => {}
        }
        if act != Act::Nothing {
            self.say(|| format!("client {at}: {act:?}"));
        }
    }

    /// The client closes its socket after what it wrote.
    fn hang_up(&mut self, at: usize) {
        if let Some(link) = self.clients[at].link.take() {
            let socket = &mut self.sockets[link.socket];
            let all = socket.upward();
            socket.client_vanishes(all);
        }
    }

    fn vanish(&mut self, at: usize) {
        if let Some(link) = self.clients[at].link.take() {
            let arrives = self.part(self.sockets[link.socket].upward());
            self.sockets[link.socket].client_vanishes(arrives);
        }
    }
}

/// How a run ends.
impl World {
    /// No more faults, no new work: every client is connected and well, and everything is delivered.
    fn come_to_rest(&mut self) -> Verdict {
        self.say(|| "all is well from here on".to_owned());
        self.faults.end();
        self.calm = true;
        self.sockets.iter_mut().for_each(Socket::widen);
        for client in &mut self.clients {
            client.reading = Reading::Eager;
            client.withholds = false;
            client.silent = false;
        }
        // Connections that were left open when their clients connected anew.
        let mine: Vec<_> =
            self.clients.iter().filter_map(|client| Some(client.link.as_ref()?.socket)).collect();
        for (_, socket) in self.sockets.iter_mut().enumerate().filter(|(at, _)| !mine.contains(at)) {
            socket.client_vanishes(0);
        }
        let mut homecomings = 0;
        for _ in 0..REST_WITHIN {
            self.step += 1;
            for shard in 0..self.shards.len() {
                self.turn(shard)?;
            }
            for at in 0..self.clients.len() {
                self.serve(at)?;
            }
            if self.is_at_rest() {
                let orphans = self.oracle.orphans();
                if orphans.is_empty() {
                    return Ok(());
                }
                homecomings += 1;
                // Where full queues are a reason to disconnect, some client never gets to the end of its own.
                let hopeless = homecomings > HOMECOMINGS_MAX && self.limits.overflow == Overflow::Disconnect;
                self.send_home(&orphans, hopeless);
            }
        }
        Err(format!("no rest: {}", self.restless()))
    }

    /// Has a client connect for every session that has none.
    fn send_home(&mut self, orphans: &[String], hopeless: bool) {
        for name in orphans {
            let known = self.clients.iter().position(|client| client.name == *name);
            let at = known.unwrap_or_else(|| {
                self.clients.push(Client::new(name, Version::V5));
                self.clients.len() - 1
            });
            let version = self.clients[at].version;
            self.connect(at, &calm(version, hopeless));
        }
    }

    fn is_at_rest(&self) -> bool {
        self.restless().is_empty()
    }

    /// What still moves.
    fn restless(&self) -> String {
        let links = self.links.iter().flatten().filter(|link| !link.is_empty()).count();
        let mut what = if links > 0 { format!("{links} links ") } else { String::new() };
        for (at, client) in self.clients.iter().enumerate() {
            let Some(link) = &client.link else { continue };
            let session = link.life.and_then(|life| self.sessions.get(&life));
            let unfinished = !session.is_none_or(|session| link.at_rest(session)) || link.life.is_none();
            if unfinished || !self.sockets[link.socket].at_rest() {
                what += &format!("client {at} {:?} ", client.name);
            }
        }
        for (at, shard) in self.shards.iter().enumerate() {
            let busy = shard.sink.conns.iter().any(|(_, conn)| {
                let open = matches!(conn.phase, Phase::Open(_));
                !open || !conn.output.is_empty() || conn.refused || self.sockets[conn.socket].client_closed
            });
            if busy || shard.sink.links.iter().any(|link| !link.is_empty()) {
                what += &format!("core {at} ");
            }
        }
        what
    }

    /// What an output took was read by its client.
    fn all_bytes_arrived(&self) -> Verdict {
        for (at, client) in self.clients.iter().enumerate() {
            let Some(link) = &client.link else { continue };
            let Some((core, key)) = self.places[link.socket] else { continue };
            let taken = self.oracle.published_to(core, key);
            ensure!(link.came == taken, "client {at} was sent {taken} messages and got {}", link.came);
        }
        Ok(())
    }

    /// A new subscriber on any core gets the last message of every topic, and nothing else.
    fn new_subscribers_get_what_is_retained(&mut self) -> Verdict {
        let names: Vec<_> = (0..).map(|n| format!("late-{n}")).take(3).collect();
        let first = self.clients.len();
        for name in &names {
            let mut client = Client::new(name, Version::V5);
            client.collected = Some(BTreeMap::new());
            self.clients.push(client);
            self.connect(self.clients.len() - 1, &calm(Version::V5, true));
        }
        self.come_to_rest()?;
        let filters = ["#", "$SYS/#", "$x/#"]
            .map(|filter| (filter.to_owned(), SubscriptionOptions::of(QoS::AtLeastOnce)));
        for at in first..first + names.len() {
            // One at a time, whatever the bound of subscriptions is.
            for filter in filters.chunks(1) {
                self.with_session(at, |link, session| link.subscribe(session, filter, None));
            }
        }
        self.come_to_rest()?;
        self.oracle.at_rest()?;
        let most = self.limits.subscriptions_max as usize;
        let retained = self.oracle.retained(self.now);
        for at in first..first + names.len() {
            // The session was refused, or evicted with its queue full.
            if self.clients[at].link.is_none() {
                continue;
            }
            let mut due = retained.clone();
            due.retain(|topic, _| {
                filters.iter().take(most).any(|(filter, _)| super::shadow::matches(filter, topic))
            });
            let got = self.clients[at].collected.as_ref();
            ensure!(got == Some(&due), "a new subscriber got {got:?} instead of {due:?}");
        }
        Ok(())
    }

    fn shut_down(&mut self) -> Verdict {
        for at in 0..self.shards.len() {
            self.call(at, &Cause::ShutDown)?;
        }
        Ok(())
    }
}

/// A CONNECT that asks for nothing special.
fn calm(version: Version, clean_start: bool) -> Hello {
    Hello {
        version,
        clean_start,
        keep_alive_s: 0,
        expiry_s: (!clean_start).then_some(u32::MAX),
        receive_maximum: None,
        packet_bytes_max: None,
        aliases_max: None,
        will: None,
    }
}

fn shard_id(index: usize) -> ShardId {
    ShardId(u16::try_from(index).expect("few shards"))
}
