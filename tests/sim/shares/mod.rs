//! A world of shared subscriptions: members and publishers on several cores, links that are slow, sessions that end. Its
//! oracle follows who is offered what: exactly one member gets each message, and nothing that has to be acknowledged is
//! lost while a group has a member. [MQTT 4.8.2]
//!
//! It is apart from the other world because there every delivery is foretold, and here any member may be chosen.

mod ledger;
mod member;

use super::dice::{Dice, index};
use super::faults::{Faults, Flushed, Mutant};
use super::misheard::misheard;
use super::oracle::{Verdict, ensure};
use super::shard::{Cause, Event, Item, Phase, Placement, Shard};
use ledger::{FILTERS, Ledger, LifeId, Terms};
use member::{Draft, Member, label};
use pantala::codec::{Connect, Packet, ReasonCode, Split, SubscriptionOptions, Version, decode, split};
use pantala::engine::{CloseReason, PeerMessage, Setup};
use pantala::session::connect::ClientId;
use pantala::types::{Balance, ConnKey, Features, HashSeed, Limits, Now, QoS, Rng, ShardId, Span, TICK};
use std::collections::{BTreeMap, VecDeque};

/// Turns after which a world without new work must be at rest.
const REST_WITHIN: usize = 5_000;
/// Topics of messages; all are in some group.
const TOPICS: [&str; 4] = ["t/a", "t/b", "t/c", "u/a"];
/// The group that alone gets `x/a`: members whose windows others fill would be passed over.
const ALONE: usize = 2;
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

pub(crate) struct Shares {
    now: Now,
    step: u64,
    shards: Vec<Shard>,
    /// By sender and receiver: batches on the way.
    links: Vec<Vec<VecDeque<Vec<Item>>>>,
    members: Vec<Member>,
    /// Whose connection it is, and of which session.
    conns: BTreeMap<(usize, ConnKey), (usize, LifeId)>,
    ledger: Ledger,
    dice: Dice,
    faults: Faults,
    limits: Limits,
    balance: Balance,
    /// No bound is ever reached.
    roomy: bool,
    made: u64,
    pub(crate) loud: bool,
    pub(crate) story: Vec<String>,
}

impl Shares {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut dice = Dice::new(seed);
        let rng = &mut dice.setup;
        let count = 1 + index(rng, 4);
        let shards = u16::try_from(count).expect("few shards");
        let roomy = rng.chance(2, 3);
        let limits = if roomy { Limits::default() } else { tight(rng) };
        let balance = *rng.pick(&[Balance::RoundRobin, Balance::Sticky, Balance::Hash]);
        let hash = HashSeed(rng.next_u64());
        let placement = Placement { seed: hash, shards };
        let features = Features { share_balance: balance, ..Features::default() };
        let setup = |shard| Setup {
            features: features.clone(),
            ..Setup::new(ShardId(shard), shards, limits.clone(), hash)
        };
        let members = (0..2 + rng.below(7)).map(|number| {
            let name = format!("m{number}");
            let core = placement.owner(&name);
            let version = *rng.pick(&[Version::V311, Version::V5, Version::V5]);
            let mut member = Member::new(name, version, core);
            member.fussy = rng.chance(1, 5);
            member
        });
        Self {
            now: Now(0),
            step: 0,
            members: members.collect(),
            shards: (0..shards).map(|shard| Shard::new(setup(shard))).collect(),
            links: (0..count).map(|_| (0..count).map(|_| VecDeque::new()).collect()).collect(),
            conns: BTreeMap::new(),
            ledger: Ledger::default(),
            faults: Faults::new(count, mutant, &mut dice.faults),
            dice,
            limits,
            balance,
            roomy,
            made: 0,
            loud: false,
            story: Vec::new(),
        }
    }

    /// Lives through a seed.
    pub(crate) fn run(&mut self) -> Verdict {
        let steps = 100 + self.dice.setup.below(500);
        for _ in 0..steps {
            self.step()?;
        }
        self.come_to_rest()?;
        let lost = self.ledger.lost(self.now);
        let dropped: u64 = self.shards.iter().map(Shard::dropped).sum();
        let excused = if self.roomy { 0 } else { dropped };
        ensure!(lost.len() as u64 <= excused, "{excused} were dropped, and lost are {lost:#?}");
        for shard in &self.shards {
            let report = shard.engine.report();
            ensure!(report.queued_messages == 0, "{} messages still wait", report.queued_messages);
        }
        if self.roomy { self.is_balanced() } else { Ok(()) }
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.loud {
            let line = format!("{:5} {:>7}ms  {}", self.step, self.now.0, what());
            self.story.push(line);
        }
    }

    fn step(&mut self) -> Verdict {
        self.step += 1;
        let ticks = self.dice.schedule.below(4).saturating_sub(1);
        let jump = self.faults.step(self.step, &mut self.dice.faults);
        self.now = self.now + Span(TICK.0 * ticks) + jump;
        if self.dice.schedule.chance(1, 2) {
            let core = index(&mut self.dice.schedule, self.shards.len());
            if self.faults.is_stalled(core, self.step) {
                return Ok(());
            }
            return self.turn(core, false);
        }
        let at = index(&mut self.dice.schedule, self.members.len());
        let all = self.dice.network.chance(1, 2);
        if !self.members[at].deaf {
            self.read(at, all)?;
        }
        self.act(at)
    }
}

/// What the broker does.
impl Shares {
    fn turn(&mut self, core: usize, calm: bool) -> Verdict {
        for from in 0..self.shards.len() {
            let waiting = self.links[from][core].len();
            let most = if self.faults.is_slow(from, core, self.step) { 0 } else { waiting };
            for _ in 0..if calm { most } else { index(&mut self.dice.network, most + 1) } {
                for item in self.links[from][core].pop_front().unwrap_or_default() {
                    let Item::Engine(message) = item else { continue };
                    let from = ShardId(u16::try_from(from).expect("few shards"));
                    self.call(core, &Cause::Peer { from, message })?;
                }
            }
        }
        if self.shards[core].engine.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            for life in self.due(core) {
                self.ledger.lives[life].ended = true;
            }
            self.call(core, &Cause::Tick)?;
        }
        self.call(core, &Cause::TurnEnd)?;
        self.flush(core);
        Ok(())
    }

    /// Sessions of a core that have been alone for too long.
    fn due(&self, core: usize) -> Vec<LifeId> {
        let here = self.members.iter().filter(|member| member.core == core).filter_map(|member| member.life);
        let over = |life: &LifeId| {
            let life = &self.ledger.lives[*life];
            life.away.zip(life.expiry).is_some_and(|(since, expiry)| since + expiry <= self.now)
        };
        here.filter(over).collect()
    }

    fn flush(&mut self, core: usize) {
        for to in 0..self.shards.len() {
            let mut batch = std::mem::take(&mut self.shards[core].sink.links[to]);
            self.faults.share(&mut batch, &mut self.dice.faults);
            if batch.is_empty() {
                continue;
            }
            let link = &mut self.links[core][to];
            match self.faults.flushed(batch, &mut self.dice.faults) {
                Flushed::Batch(batch) => link.push_back(batch),
                Flushed::Twice(batch, again) => link.extend([batch, again]),
                Flushed::Overtaking(batch) => link.insert(link.len().saturating_sub(1), batch),
            }
        }
    }

    /// Calls an engine and enters into the ledger what it did.
    fn call(&mut self, core: usize, cause: &Cause<'_>) -> Verdict {
        self.ledger.called();
        let shard = &mut self.shards[core];
        shard.sink.events.clear();
        let before: Vec<_> = shard.sink.links.iter().map(Vec::len).collect();
        let version = cause.conn().and_then(|conn| shard.sink.version(conn));
        misheard(self.faults.mutant, self.now, cause, version, |cause| shard.call(self.now, cause));
        if self.faults.mutant == Some(Mutant::HeirsForgotten)
            && matches!(cause, Cause::Lost { .. } | Cause::Tick | Cause::Connect { .. })
        {
            let stays = |item: &Item| !matches!(item, Item::Engine(PeerMessage::Share(_)));
            for (link, &before) in shard.sink.links.iter_mut().zip(&before) {
                let left = link.split_off(before);
                link.extend(left.into_iter().filter(stays));
            }
        }
        let events = std::mem::take(&mut shard.sink.events);
        if self.loud && !(events.is_empty() && matches!(cause, Cause::Tick | Cause::TurnEnd)) {
            let version = |conn| self.shards[core].sink.version(conn).unwrap_or(Version::V311);
            let mut lines = vec![super::trace::cause(cause, version)];
            lines.extend(events.iter().map(|event| format!("    {}", super::trace::event(event, version))));
            lines.into_iter().for_each(|line| self.say(|| format!("core {core}: {line}")));
        }
        for event in &events {
            self.event(core, event)?;
        }
        self.ledger.called();
        Ok(())
    }

    fn event(&mut self, core: usize, event: &Event) -> Verdict {
        match event {
            Event::Offered { conn, frame, taken: true } => {
                let Some(&(at, life)) = self.conns.get(&(core, *conn)) else {
                    return Err(format!("a message for {conn:?}, which is not open"));
                };
                let Packet::Publish(publish) = whole(frame, self.members[at].version)? else {
                    return Err(format!("{frame:02x?} is no PUBLISH"));
                };
                let (group, number) = label(&publish)?;
                let terms = Terms { qos: publish.qos, retain_as_published: publish.retain };
                self.ledger.sent(self.now, life, group, number, terms, publish.dup)
            }
            Event::Sent { conn, frame } => self.told(core, *conn, frame),
            Event::Closed { conn, why } => {
                ensure!(*why != CloseReason::Refused, "{conn:?} was refused");
                // One that is taken over is no more its session's.
                if let Some((at, life)) = self.conns.remove(&(core, *conn))
                    && self.members[at].conn == Some(*conn)
                {
                    self.left(life);
                    self.members[at].hang_up();
                }
                self.shards[core].sink.conns.remove(*conn);
                Ok(())
            }
            Event::Offered { taken: false, .. } | Event::Peer { .. } => Ok(()),
        }
    }

    fn told(&mut self, core: usize, conn: ConnKey, frame: &[u8]) -> Verdict {
        let Some(&(at, life)) = self.conns.get(&(core, conn)) else { return Ok(()) };
        let member = &mut self.members[at];
        let packet = whole(frame, member.version)?;
        if let Packet::ConnAck(connack) = &packet {
            let fresh = std::mem::take(&mut self.ledger.lives[life].fresh);
            ensure!(connack.code == 0 && connack.session_present != fresh, "{connack:?} to {}", member.name);
        }
        if let Packet::SubAck(suback) = packet {
            let Some((group, since)) = member.asked.remove(&suback.packet_id.get()) else {
                return Err(format!("{suback:?} was not due"));
            };
            ensure!(suback.codes.iter().all(|&code| code < 3), "{suback:?} to a member");
            self.ledger.joined(life, group, since);
        }
        Ok(())
    }

    /// A session has no connection any more.
    fn left(&mut self, life: LifeId) {
        let life = &mut self.ledger.lives[life];
        life.away = Some(self.now);
        life.ended |= life.expiry == Some(Span(0));
    }
}

/// What clients do.
impl Shares {
    fn connect(
        &mut self,
        at: usize,
        clean_start: bool,
        expiry_s: Option<u32>,
        window: Option<u16>,
    ) -> Verdict {
        let core = self.members[at].core;
        let known = self.members[at].life.filter(|&life| !self.ledger.lives[life].ended);
        if let Some(life) = known {
            // Its old connection is taken over, and its session may end with that.
            let ephemeral =
                self.members[at].conn.is_some() && self.ledger.lives[life].expiry == Some(Span(0));
            self.ledger.lives[life].ended = clean_start || ephemeral;
        }
        let resumed = known.filter(|&life| !self.ledger.lives[life].ended);
        let life = resumed.unwrap_or_else(|| self.ledger.begin(&self.members[at].name));
        self.ledger.lives[life].fresh = resumed.is_none();
        let state = &mut self.ledger.lives[life];
        state.away = None;
        let asked = match (self.members[at].version, expiry_s) {
            (Version::V5, Some(u32::MAX)) => None,
            (Version::V5, secs) => Some(Span::from_secs(secs.unwrap_or(0).into())),
            _ => clean_start.then_some(Span(0)),
        };
        state.expiry = [asked, self.limits.session_expiry_max].into_iter().flatten().min();
        let bytes = self.members[at].connect(clean_start, expiry_s, window);
        let conn = self.shards[core].sink.adopt(at, Vec::new());
        if let Some(conn) = self.shards[core].sink.conns.get_mut(conn) {
            conn.phase = Phase::Open(self.members[at].version);
        }
        self.members[at].hang_up();
        self.members[at].conn = Some(conn);
        self.members[at].life = Some(life);
        self.conns.insert((core, conn), (at, life));
        let Ok(Split::Whole { frame, .. }) = split(&bytes, u32::MAX) else {
            return Err("no CONNECT".to_owned());
        };
        let connect = Connect::decode(frame.body).map_err(|error| error.to_string())?;
        let name = self.members[at].name.clone();
        let client = ClientId { text: &name, assigned: false };
        self.call(core, &Cause::Connect { conn, connect, client })
    }

    fn send(&mut self, at: usize, bytes: &[u8]) -> Verdict {
        let member = &self.members[at];
        let Some(conn) = member.conn else { return Ok(()) };
        let Ok(Split::Whole { frame, .. }) = split(bytes, u32::MAX) else {
            return Err("no packet".to_owned());
        };
        self.call(member.core, &Cause::Packet { conn, frame, shared: None })
    }

    fn read(&mut self, at: usize, all: bool) -> Verdict {
        let core = self.members[at].core;
        let Some(key) = self.members[at].conn else { return Ok(()) };
        let Some(conn) = self.shards[core].sink.conns.get_mut(key) else { return Ok(()) };
        let waiting = conn.output.len();
        let most = if all { waiting } else { index(&mut self.dice.network, waiting + 1) };
        let bytes: Vec<u8> = conn.output.drain(..most).collect();
        self.members[at].hear(&bytes)?;
        if conn.refused && conn.output.len() <= self.limits.output_bytes_max / 2 {
            conn.refused = false;
            self.call(core, &Cause::Writable { conn: key })?;
        }
        let held = self.members[at].answers.len();
        for _ in 0..if all { held } else { index(&mut self.dice.network, held + 1) } {
            let Some(answer) = self.members[at].answers.pop_front() else { break };
            if let Some((life, (group, number))) = self.members[at].life.zip(answer.settles) {
                self.ledger.settled(life, group, number);
            }
            self.send(at, &answer.bytes)?;
        }
        Ok(())
    }

    fn act(&mut self, at: usize) -> Verdict {
        let rng = &mut self.dice.workload;
        if self.members[at].conn.is_none() {
            if rng.chance(1, 3) {
                return self.come(at);
            }
            return Ok(());
        }
        match rng.below(100) {
            0..40 => {
                let burst = if rng.chance(1, 10) { 10 } else { 1 };
                (0..burst).try_for_each(|_| self.publish(at))
            }
            40..55 => {
                let group = if self.members[at].version.is_v5() { index(rng, FILTERS.len()) } else { 0 };
                let mut options = SubscriptionOptions::of(*rng.pick(&LEVELS));
                options.retain_as_published = self.members[at].version.is_v5() && rng.chance(1, 2);
                self.subscribe(at, group, options)
            }
            55..62 => {
                let group = index(rng, FILTERS.len());
                let bytes = self.members[at].unsubscribe(group);
                if let Some(life) = self.members[at].life {
                    self.ledger.leaves(life, group);
                }
                self.send(at, &bytes)
            }
            62..66 => self.vanish(at),
            66..68 => self.goodbye(at),
            68..70 => self.come(at),
            70 => self.no_local(at),
            71..74 => {
                self.members[at].deaf ^= true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A client connects, perhaps while it still is.
    fn come(&mut self, at: usize) -> Verdict {
        let rng = &mut self.dice.workload;
        let clean_start = rng.chance(1, 4);
        let expiry_s = *rng.pick(&[None, Some(2), Some(15), Some(u32::MAX), Some(u32::MAX)]);
        let window = *rng.pick(&[None, Some(1), Some(3)]);
        self.members[at].deaf = rng.chance(1, 6);
        self.connect(at, clean_start, expiry_s, window)
    }

    fn publish(&mut self, at: usize) -> Verdict {
        let rng = &mut self.dice.workload;
        self.made += 1;
        let (topic, qos, retain) = (*rng.pick(&TOPICS), *rng.pick(&LEVELS), rng.chance(1, 6));
        let expiry_s = rng.chance(1, 8).then(|| *rng.pick(&[1, 5]));
        self.publish_this(at, Draft { topic, number: self.made, qos, retain, expiry_s })
    }

    fn publish_this(&mut self, at: usize, draft: Draft<'_>) -> Verdict {
        let Draft { topic, number, qos, retain, expiry_s } = draft;
        let expiry = expiry_s.filter(|_| self.members[at].version.is_v5());
        let expiry = expiry.map(|secs| Span::from_secs(secs.into()));
        if self.members[at].conn.is_some() {
            self.ledger.published(number, topic, qos, retain, expiry, self.now);
        }
        let packets = self.members[at].publish(draft);
        packets.iter().try_for_each(|packet| self.send(at, packet))
    }

    fn subscribe(&mut self, at: usize, group: usize, options: SubscriptionOptions) -> Verdict {
        let terms = Terms { qos: options.qos, retain_as_published: options.retain_as_published };
        let Some(life) = self.members[at].life else { return Ok(()) };
        let since = self.ledger.asks(life, group, terms);
        let bytes = self.members[at].subscribe(group, options, since);
        self.send(at, &bytes)
    }

    /// The connection breaks.
    fn vanish(&mut self, at: usize) -> Verdict {
        let core = self.members[at].core;
        let Some(conn) = self.members[at].conn else { return Ok(()) };
        self.members[at].hang_up();
        if let Some((_, life)) = self.conns.remove(&(core, conn)) {
            self.left(life);
        }
        self.call(core, &Cause::Lost { conn })?;
        self.shards[core].sink.conns.remove(conn);
        Ok(())
    }

    fn goodbye(&mut self, at: usize) -> Verdict {
        let member = &self.members[at];
        let packet = pantala::codec::Disconnect {
            reason: ReasonCode::Success,
            properties: pantala::codec::Properties::EMPTY,
        };
        let bytes = member.bytes(&Packet::Disconnect(packet));
        if let Some(life) = member.life {
            self.left(life);
        }
        self.send(at, &bytes)?;
        ensure!(self.members[at].conn.is_none(), "{} said goodbye and is still there", self.members[at].name);
        Ok(())
    }

    /// No Local cannot be asked for where a subscription is shared. [MQTT-3.8.3-4]
    fn no_local(&mut self, at: usize) -> Verdict {
        if !self.members[at].version.is_v5() {
            return Ok(());
        }
        let mut options = SubscriptionOptions::of(QoS::AtLeastOnce);
        options.no_local = true;
        let bytes = self.members[at].subscribe(0, options, 0);
        if let Some(life) = self.members[at].life {
            self.left(life);
        }
        self.send(at, &bytes)?;
        ensure!(self.members[at].conn.is_none(), "No Local on a shared subscription [MQTT-3.8.3-4]");
        Ok(())
    }
}

/// How a run ends.
impl Shares {
    /// No faults and no new work: whoever has a session connects, and everything is delivered.
    fn come_to_rest(&mut self) -> Verdict {
        self.say(|| "all is well from here on".to_owned());
        self.faults.end();
        for _ in 0..REST_WITHIN {
            self.step += 1;
            for core in 0..self.shards.len() {
                self.turn(core, true)?;
            }
            for at in 0..self.members.len() {
                self.members[at].deaf = false;
                let alive = self.members[at].life.is_some_and(|life| !self.ledger.lives[life].ended);
                if alive && self.members[at].conn.is_none() {
                    self.connect(at, false, Some(u32::MAX), None)?;
                }
                self.read(at, true)?;
            }
            if self.is_at_rest() {
                return Ok(());
            }
        }
        Err("no rest".to_owned())
    }

    fn is_at_rest(&self) -> bool {
        let alive = |member: &Member| member.life.is_some_and(|life| !self.ledger.lives[life].ended);
        let done = |member: &Member| {
            member.answers.is_empty() && member.asked.is_empty() && (member.conn.is_some() || !alive(member))
        };
        let quiet = |shard: &Shard| {
            shard.sink.links.iter().all(Vec::is_empty)
                && shard.sink.conns.iter().all(|(_, conn)| conn.output.is_empty() && !conn.refused)
        };
        self.links.iter().flatten().all(VecDeque::is_empty)
            && self.members.iter().all(done)
            && self.shards.iter().all(quiet)
    }

    /// While nobody comes or goes, members take turns, or one gets everything.
    fn is_balanced(&mut self) -> Verdict {
        let at = (0..self.members.len()).find(|&at| self.members[at].conn.is_some());
        let lives: Vec<_> = self.members.iter().filter(|member| member.conn.is_some()).collect();
        let lives: Vec<_> = lives.into_iter().filter_map(|member| member.life).collect();
        let here: Vec<_> =
            lives.into_iter().filter(|&life| self.ledger.lives[life].groups[ALONE].is_member()).collect();
        let (Some(at), false) = (at, here.is_empty()) else { return Ok(()) };
        let count = |shares: &Self, life| shares.ledger.counts.get(&(life, ALONE)).copied().unwrap_or(0);
        let before: Vec<_> = here.iter().map(|&life| count(self, life)).collect();
        for _ in 0..3 * here.len() {
            self.made += 1;
            let number = self.made;
            let draft = Draft { topic: "x/a", number, qos: QoS::AtLeastOnce, retain: false, expiry_s: None };
            self.publish_this(at, draft)?;
            self.come_to_rest()?;
        }
        let got: Vec<_> = here.iter().zip(before).map(|(&life, before)| count(self, life) - before).collect();
        let fair = match self.balance {
            Balance::RoundRobin => got.iter().all(|&count| count == 3),
            Balance::Sticky | Balance::Hash => got.iter().filter(|&&count| count > 0).count() == 1,
        };
        ensure!(fair, "{:?} gave members {got:?} messages", self.balance);
        Ok(())
    }
}

/// Bounds that are reached.
fn tight(rng: &mut Rng) -> Limits {
    Limits {
        inflight_max: *rng.pick(&[1, 3, 20]),
        queue_messages_max: *rng.pick(&[1, 3, 10]),
        output_bytes_max: *rng.pick(&[60, 400, 4_000]),
        ..Limits::default()
    }
}

fn whole(frame: &[u8], version: Version) -> Verdict<Packet<'_>> {
    match split(frame, u32::MAX) {
        Ok(Split::Whole { frame: whole, len }) if len == frame.len() => {
            decode(whole, version).map_err(|error| format!("{frame:02x?} to a member: {error}"))
        }
        other => Err(format!("{frame:02x?} to a member is not one packet: {other:?}")),
    }
}
