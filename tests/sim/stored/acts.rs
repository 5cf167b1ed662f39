//! What clients do.

use super::Stored;
use super::broker::Wire;
use super::client::Draft;
use super::{LEVELS, TICK};
use crate::dice::index;
use crate::oracle::Verdict;
use crate::shard::Phase;
use pantala::types::{ConnKey, Span};
use std::collections::VecDeque;

impl Stored {
    /// A client reads what was sent to it, all or some, and answers some of it.
    pub(super) fn listen(&mut self, at: usize, all: bool) -> Verdict {
        let Some(wire) = self.clients[at].wire else { return Ok(()) };
        let (core, key) = (self.life.wires[wire].core, self.life.wires[wire].key);
        let Some(conn) = self.life.shards[core].sink.conns.get_mut(key) else {
            self.hang_up(at);
            return Ok(());
        };
        let waiting = if conn.corked { 0 } else { conn.output.len() };
        let count = if all { waiting } else { index(&mut self.dice.network, waiting + 1) };
        let bytes: Vec<u8> = conn.output.drain(..count).collect();
        let over = conn.phase == Phase::Closing && (conn.output.is_empty() || conn.corked);
        self.clients[at].hear(&bytes, &mut self.ledger)?;
        let answers = if all { usize::MAX } else { index(&mut self.dice.network, 4) };
        for _ in 0..answers {
            if !self.clients[at].answer() {
                break;
            }
        }
        self.speak(at);
        if over && (all || self.dice.network.chance(1, 3)) {
            self.life.shards[core].sink.conns.remove(key);
            self.hang_up(at);
        }
        Ok(())
    }

    /// What a client has to say goes on its way.
    pub(super) fn speak(&mut self, at: usize) {
        let says = std::mem::take(&mut self.clients[at].says);
        if let Some(wire) = self.clients[at].wire {
            self.life.wires[wire].up.extend(says);
        }
    }

    /// A client's connection is no more, as far as it knows.
    pub(super) fn hang_up(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if let Some(will) = client.will.filter(|_| client.will_is_sure) {
            if client.closed.is_none() {
                self.ledger.vanishes(will);
            }
            client.pending = Some(will);
        }
        client.hang_up(&mut self.ledger);
        // It was gone before as well, if it was never told of a session.
        let closed = client.closed.take().unwrap_or(self.now);
        let since = client.gone.map_or(closed, |(first, _)| first);
        client.gone = Some((since, self.now));
    }

    /// A core knows that a connection is no more.
    pub(super) fn left(&mut self, core: usize, key: ConnKey) {
        let Some(conn) = self.life.shards[core].sink.conns.get(key) else { return };
        let client = &mut self.clients[self.life.wires[conn.socket].client];
        if client.wire == Some(conn.socket) {
            client.closed = Some(self.now);
            if let Some(will) = client.will.filter(|_| client.will_is_sure) {
                self.ledger.vanishes(will);
            }
        } else if let Some((_, last)) = &mut client.gone {
            *last = self.now;
        }
    }

    /// A client's CONNECT is read: whether it is too late for its will. One that was published and is not on disk yet may be
    /// forgotten with the broker, for the store has the will of the new connection in its place.
    pub(super) fn back(&mut self, at: usize, calm: bool) {
        let calm = calm && self.life.is_kept();
        let client = &mut self.clients[at];
        let Some(will) = client.pending.take() else { return };
        let (_, delay) = client.habits.will.as_ref().expect("it has one");
        let delay = Span(u64::from(*delay) * 1_000 + TICK.0);
        if calm && client.gone.is_some_and(|(_, last)| last + delay < self.now) {
            self.ledger.dies(will);
        }
    }

    pub(super) fn act(&mut self, at: usize) -> Verdict {
        if self.clients[at].wire.is_none() {
            if self.dice.workload.chance(1, 5) {
                let clean = self.dice.workload.chance(1, 12);
                self.come(at, clean);
            }
            return Ok(());
        }
        match self.dice.workload.below(100) {
            0..50 => {
                let burst = if self.dice.workload.chance(1, 8) { 6 } else { 1 };
                (0..burst).for_each(|_| self.publish(at));
            }
            50..70 if self.clients[at].open => {
                let wish = *self.dice.workload.pick(&self.clients[at].habits.wishes);
                self.clients[at].subscribe(wish, &mut self.ledger);
            }
            70..73 if self.clients[at].open => {
                let (filter, _) = *self.dice.workload.pick(&self.clients[at].habits.wishes);
                self.clients[at].unsubscribe(filter, &mut self.ledger);
            }
            73..77 => self.vanish(at, true),
            77..79 => self.goodbye(at),
            _ => {}
        }
        self.speak(at);
        Ok(())
    }

    /// A client connects, if somebody is there.
    pub(super) fn come(&mut self, at: usize, clean: bool) {
        if !self.life.accepts() || self.life.is_stopping() {
            return;
        }
        let number = self.life.wires.len();
        let client = &mut self.clients[at];
        let core = self.life.placement.owner(&client.habits.name);
        let key: ConnKey = self.life.shards[core].sink.adopt(number, Vec::new());
        self.life.wires.push(Wire { client: at, core, key, up: VecDeque::new(), hung_up: false });
        client.connect(number, self.now, clean, &mut self.ledger);
        self.speak(at);
    }

    fn publish(&mut self, at: usize) {
        if !self.clients[at].may_publish() {
            return;
        }
        let rng = &mut self.dice.workload;
        // A retained message's topic has one publisher and one QoS, so that everybody knows which is the newest: one of QoS 1
        // that is sent again counts once more, and then comes behind a later one of QoS 2.
        let topic = match rng.below(10) {
            0..6 => (*rng.pick(&["t/0", "t/1", "t/2"])).to_owned(),
            6..8 => (*rng.pick(&["s/0", "s/1"])).to_owned(),
            _ => format!("r/{at}"),
        };
        let retain = topic.starts_with('r');
        let empty = retain && rng.chance(1, 4);
        let len = if empty { 0 } else { *rng.pick(&[1, 20, 20, 200]) };
        let expiry_s = (!retain && self.clients[at].habits.version.is_v5() && rng.chance(1, 8)).then_some(5);
        let qos = if retain { LEVELS[at % 2] } else { *rng.pick(&LEVELS) };
        let draft = Draft { topic, qos, retain, len, expiry_s };
        let expiry = expiry_s.map(|secs| Span::from_secs(secs.into()));
        let client = &mut self.clients[at];
        let message =
            self.ledger.publish(client.account, &draft.topic, draft.qos, (draft.retain, len == 0), expiry);
        client.publish(message, draft);
    }

    /// A client's connection breaks; what it sent last may never arrive.
    pub(super) fn vanish(&mut self, at: usize, broken: bool) {
        let Some(wire) = self.clients[at].wire else { return };
        let wire = &mut self.life.wires[wire];
        wire.hung_up = true;
        if broken {
            let arrives = index(&mut self.dice.network, wire.up.len() + 1);
            wire.up.truncate(arrives);
        }
        self.say(|| format!("client {at} vanishes"));
        self.hang_up(at);
    }

    fn goodbye(&mut self, at: usize) {
        if !self.clients[at].open {
            return;
        }
        self.clients[at].goodbye();
        self.speak(at);
        // It may never arrive, and then its will has to be published all the same: who says goodbye counts on neither.
        self.clients[at].will = None;
        self.vanish(at, false);
    }
}
