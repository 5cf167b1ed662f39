//! A core's turn, in the order of `Shard::turn`, and what its engine says to clients.

use super::Stored;
use super::broker::{Life, Wire, shard_id};
use super::client::number;
use crate::dice::index;
use crate::oracle::{Verdict, ensure};
use crate::shard::{Cause, Item, Phase};
use bytes::BytesMut;
use pantala::codec::{Connect, Packet, PacketType, Split, Version, decode, split};
use pantala::session::connect::ClientId;
use pantala::types::ConnKey;

impl Stored {
    /// A turn of a core; all that there is to do, or some.
    pub(super) fn turn(&mut self, core: usize, all: bool) -> Verdict {
        for (from, item) in self.life.arriving(core, all, &mut self.dice.network) {
            self.hear(core, from, item)?;
        }
        self.life.serve(core);
        if !self.life.is_stopping() {
            for key in self.life.shards[core].sink.round(&mut self.dice.schedule) {
                self.read(core, key, all)?;
            }
            let deadline = self.life.shards[core].engine.next_deadline();
            if self.life.phases[core].serving && deadline.is_some_and(|at| at <= self.now) {
                self.call(core, &Cause::Tick)?;
            }
        }
        self.call(core, &Cause::TurnEnd)?;
        self.life.flush(core);
        for key in self.life.shards[core].sink.round(&mut self.dice.schedule) {
            self.relieve(core, key)?;
        }
        self.life.flush(core);
        Ok(())
    }

    fn hear(&mut self, core: usize, from: usize, item: Item) -> Verdict {
        let cause = match item {
            Item::Restored(all) => {
                return all.into_iter().try_for_each(|restored| self.call(core, &Cause::Restored(restored)));
            }
            Item::Engine(message) => Cause::Peer { from: shard_id(from), message },
            Item::Durable(until) => Cause::Durable(until),
            Item::Fetched(fetched) => Cause::Fetched(fetched),
            Item::StoreIs(state) => Cause::StoreIs(state),
            Item::StoreStuck => Cause::StoreStuck,
            other => return self.life.note(core, other),
        };
        self.call(core, &cause)
    }

    /// Tells an engine that there is room again.
    fn relieve(&mut self, core: usize, key: ConnKey) -> Verdict {
        let Some(conn) = self.life.shards[core].sink.conns.get_mut(key) else { return Ok(()) };
        if !conn.refused || conn.output.len() > self.limits.output_bytes_max / 2 {
            return Ok(());
        }
        conn.refused = false;
        self.call(core, &Cause::Writable { conn: key })
    }

    /// Reads what a client sent.
    fn read(&mut self, core: usize, key: ConnKey, all: bool) -> Verdict {
        let Some(conn) = self.life.shards[core].sink.conns.get(key) else { return Ok(()) };
        let wire = conn.socket;
        let waiting = self.life.wires[wire].up.len();
        let count = if all { waiting } else { index(&mut self.dice.network, waiting + 1) };
        for _ in 0..count {
            let conn = self.life.shards[core].sink.conns.get(key);
            if conn.is_none_or(|conn| conn.held || conn.phase == Phase::Closing) {
                break;
            }
            let Some(bytes) = self.life.wires[wire].up.pop_front() else { break };
            self.packet(core, key, &bytes)?;
        }
        let closing =
            self.life.shards[core].sink.conns.get(key).is_none_or(|conn| conn.phase == Phase::Closing);
        let wire = &mut self.life.wires[wire];
        if closing {
            wire.up.clear();
        }
        if wire.hung_up && wire.up.is_empty() {
            return self.lose(core, key);
        }
        Ok(())
    }

    /// A client is gone, and all that was read of it.
    fn lose(&mut self, core: usize, key: ConnKey) -> Verdict {
        let conn = self.life.shards[core].sink.conns.get(key);
        let open = conn.is_some_and(|conn| matches!(conn.phase, Phase::Open(_)));
        if open {
            self.left(core, key);
            self.call(core, &Cause::Lost { conn: key })?;
        }
        self.life.shards[core].sink.conns.remove(key);
        Ok(())
    }

    fn packet(&mut self, core: usize, key: ConnKey, bytes: &BytesMut) -> Verdict {
        let Ok(Split::Whole { frame, .. }) = split(bytes, u32::MAX) else {
            return Err("no packet".to_owned());
        };
        if frame.packet_type() == Some(PacketType::Connect) {
            return self.connect(core, key, frame.body);
        }
        let at = self.client_of(core, key);
        let version = self.clients[at].habits.version;
        let message = match decode(frame, version) {
            // One that clears what is retained has no number.
            Ok(Packet::Publish(publish)) => {
                let known = || self.clients[at].published(publish.packet_id?);
                number(publish.payload).ok().or_else(known)
            }
            _ => None,
        };
        let refused = |life: &Life| life.shards[core].engine.report().counters.dropped.store_refused;
        let before = refused(&self.life);
        if let Some(message) = message {
            self.ledger.taken(message, self.now, self.keeper.commits);
        }
        self.call(core, &Cause::Packet { conn: key, frame, shared: None })?;
        if let Some(message) = message.filter(|_| refused(&self.life) > before) {
            self.ledger.turned_away(message);
        }
        Ok(())
    }

    fn client_of(&self, core: usize, key: ConnKey) -> usize {
        let conn = self.life.shards[core].sink.conns.get(key).expect("it was read");
        self.life.wires[conn.socket].client
    }

    fn connect(&mut self, core: usize, key: ConnKey, body: &[u8]) -> Verdict {
        let at = self.client_of(core, key);
        // What the client sent on an earlier connection counts before its CONNECT on this one.
        let mut wires = self.life.wires.iter().enumerate();
        let number = wires.position(|(_, wire)| (wire.core, wire.key) == (core, key)).unwrap_or_default();
        for number in 0..number {
            let Wire { client, key: earlier, .. } = self.life.wires[number];
            if client == at {
                self.read(core, earlier, true)?;
            }
        }
        let shard = &mut self.life.shards[core];
        let calm = shard.engine.next_deadline().is_none_or(|deadline| deadline > self.now);
        let Some(conn) = shard.sink.conns.get_mut(key) else { return Ok(()) };
        let client = &mut self.clients[at];
        conn.phase = Phase::Open(client.habits.version);
        let wire = conn.socket;
        let is_last = client.wire == Some(wire);
        let same = client.connecting(self.now, calm, &mut self.ledger);
        if !is_last && !same && client.wire.is_some() {
            // It could not know whose session the answer on its last connection is about.
            self.vanish(at, true);
        }
        self.back(at, calm);
        let name = self.clients[at].habits.name.clone();
        let connect = Connect::decode(body).map_err(|error| error.to_string())?;
        let client = ClientId { text: &name, assigned: false };
        self.call(core, &Cause::Connect { conn: key, connect, client })
    }

    /// A message is put into a client's output.
    pub(super) fn offered(&self, core: usize, key: ConnKey, frame: &[u8]) -> Verdict {
        let version = self.clients[self.client_of(core, key)].habits.version;
        let Packet::Publish(publish) = whole(frame, version)? else {
            return Err(format!("{frame:02x?} is no PUBLISH"));
        };
        // What a client began to get may come once more, however late.
        if publish.payload.is_empty() || publish.dup {
            return Ok(());
        }
        self.ledger.offered(number(publish.payload)?, self.now)
    }

    /// A response is put into a client's output.
    pub(super) fn sent(&self, core: usize, key: ConnKey, frame: &[u8]) -> Verdict {
        let at = self.client_of(core, key);
        let client = &self.clients[at];
        let (Packet::PubAck(ack) | Packet::PubRec(ack)) = whole(frame, client.habits.version)? else {
            return Ok(());
        };
        let Some(message) = client.published(ack.packet_id).filter(|_| !ack.reason.is_error()) else {
            return Ok(());
        };
        // Whose session may have expired needs nothing.
        let owed = self.ledger.unkept(message, self.keeper.commits);
        let mut owed = owed.into_iter().filter(|who| {
            let client = self.clients.iter().find(|client| client.account == *who);
            client.is_some_and(|client| client.session(self.now).0)
        });
        ensure!(
            owed.next().is_none(),
            "{} has an acknowledgement for {message}, of which nothing was kept",
            client.habits.name
        );
        Ok(())
    }
}

fn whole(frame: &[u8], version: Version) -> Verdict<Packet<'_>> {
    match split(frame, u32::MAX) {
        Ok(Split::Whole { frame: whole, len }) if len == frame.len() => {
            decode(whole, version).map_err(|error| format!("{frame:02x?}: {error}"))
        }
        other => Err(format!("{frame:02x?} is not one packet: {other:?}")),
    }
}
