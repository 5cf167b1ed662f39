//! Everything one core decides, with no way to touch the outside world except [`Effects`].
//!
//! Runs on: the owning core only. Never shared, never locked.
//! Invariant: nothing here awaits, blocks, reads a clock, or draws randomness it was not given.
//! Start reading at [`Engine::packet`]; `publish.rs` holds the way of a message.
//! Tests: `tests/sim` drives several engines from one seed.

mod acknowledge;
mod auth;
mod connect;
mod counters;
mod durable;
mod effects;
mod expire;
mod fanout;
mod frames;
mod groups;
mod handover;
mod hold;
mod interest;
mod peer;
mod persist;
mod publish;
mod pump;
mod remote;
mod replay;
mod respond;
mod restore;
mod retain;
mod rights;
mod share;
mod subscribe;
#[cfg(test)]
mod tests;
mod tick;

pub use counters::{Counters, Dropped, Report};
pub use effects::{CloseReason, Effects, Note, Null};
pub use peer::{PeerMessage, RetainedFetch, Share};
pub use persist::{
    Batch, Expired, Fetch, Fetched, PersistOp, Place, Recipient, Restored, RestoredSession, StoreState,
    StoredSession,
};

pub use rights::Introduction;

use crate::codec::{self, DecodeError, Frame, Packet, PacketType, Publish};
use crate::sasl::{Secret, Users};
use crate::session::{Session, Violation};
use crate::topic::{CacheBounds, MatchCache, Trie};
use crate::types::{ConnKey, Features, HashSeed, Limits, Map, Now, SessionKey, ShardId, Slab, Wheel};
use auth::Logins;
use bytes::{Bytes, BytesMut};
use durable::{Durable, Waiter};
use frames::Frames;
use groups::Groups;
use handover::Handovers;
use hold::Held;
use interest::Interest;
use replay::Replays;
use retain::Retention;
use rights::Rights;
use std::collections::VecDeque;
use std::sync::Arc;

/// What an engine is told once.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which core it is.
    pub shard: ShardId,
    /// How many there are.
    pub shards: u16,
    /// The operator's bounds.
    pub limits: Limits,
    /// What is offered of MQTT's optional parts.
    pub features: Features,
    /// Who can log in with SCRAM-SHA-256.
    pub users: Arc<Users>,
    /// Its nonces are made of it: one that no other core has.
    pub secret: Secret,
    /// The same for all cores: they have to agree on who keeps which topic's retained message.
    pub seed: HashSeed,
    /// Whether there is a store.
    pub store: StoreState,
    /// The lowest number that the store has not given to a session.
    pub first_session: u64,
}

impl Setup {
    /// With everything offered and no users.
    pub fn new(shard: ShardId, shards: u16, limits: Limits, seed: HashSeed) -> Self {
        let (features, users, secret) = (Features::default(), Arc::default(), Secret([0; 32]));
        let (store, first_session) = (StoreState::Off, 0);
        Self { shard, shards, limits, features, users, secret, seed, store, first_session }
    }
}

/// One core's sessions, subscriptions and retained messages, and all decisions about them.
///
/// Invariant: `conns[slot]` names a session exactly while that session's [`crate::session::Link`] names the slot.
/// Invariant: every filter of every session's `subscriptions` is in `trie` for that session, and nothing else is.
#[derive(Debug)]
pub struct Engine {
    setup: Setup,
    sessions: Slab<SessionKey, Session>,
    by_client: Map<Box<str>, SessionKey>,
    /// By connection slot: its generation and the session that it serves.
    conns: Vec<Option<(u32, SessionKey)>>,
    trie: Trie,
    cache: MatchCache,
    interest: Interest,
    durable: Durable,
    groups: Groups,
    handovers: Handovers,
    held: Held,
    logins: Logins,
    rights: Rights,
    retention: Retention,
    replays: Replays,
    timers: Wheel<(Now, SessionKey)>,
    due: Vec<(Now, SessionKey)>,
    /// Sessions whose retained messages are searched further in the next turn.
    later: VecDeque<SessionKey>,
    /// Clients to disconnect once the message in hand is delivered: their queues are full.
    evict: Vec<SessionKey>,
    /// The broker stops: wills of stored sessions are for its next run.
    stopping: bool,
    frames: Frames,
    /// Where responses are put together.
    response: BytesMut,
    counters: Counters,
    gauges: Gauges,
}

/// Sums over all sessions, kept as they change so that a report need not visit every session.
#[derive(Clone, Copy, Debug, Default)]
struct Gauges {
    connected: u64,
    subscriptions: u64,
    queued_messages: u64,
    queued_bytes: u64,
}

impl Engine {
    /// An engine without sessions.
    pub fn new(setup: Setup) -> Self {
        Self {
            sessions: Slab::new(),
            by_client: setup.seed.map(),
            conns: Vec::new(),
            trie: Trie::new(setup.seed),
            cache: MatchCache::new(setup.seed, CacheBounds::default()),
            interest: Interest::new(&setup),
            durable: Durable::new(&setup),
            groups: Groups::new(&setup),
            handovers: Handovers::new(setup.seed),
            held: Held::new(setup.seed),
            logins: Logins::new(setup.seed),
            rights: Rights::new(setup.seed),
            retention: Retention::new(&setup),
            replays: Replays::new(setup.seed),
            timers: Wheel::default(),
            due: Vec::new(),
            later: VecDeque::new(),
            evict: Vec::new(),
            stopping: false,
            frames: Frames::default(),
            response: BytesMut::new(),
            counters: Counters::default(),
            gauges: Gauges::default(),
            setup,
        }
    }

    /// Handles one whole packet of a connection whose CONNECT was accepted. `shared` is the memory that the frame's body
    /// lies in, when that holds this packet alone: a large payload is then referenced instead of copied.
    pub fn packet(
        &mut self,
        now: Now,
        conn: ConnKey,
        frame: Frame<'_>,
        shared: Option<&Bytes>,
        fx: &mut impl Effects,
    ) {
        let Some(key) = self.session_of(conn) else {
            return self.without_session(now, conn, frame, fx);
        };
        self.counters.packets_in += 1;
        if let Err(violation) = self.dispatch(now, conn, key, frame, shared, fx) {
            self.violated(now, conn, violation, fx);
        }
        self.evict(now, fx);
    }

    fn dispatch(
        &mut self,
        now: Now,
        conn: ConnKey,
        key: SessionKey,
        frame: Frame<'_>,
        shared: Option<&Bytes>,
        fx: &mut impl Effects,
    ) -> Result<(), Violation> {
        let Some(link) = self.sessions.get_mut(key).and_then(Session::link_mut) else { return Ok(()) };
        link.heard = now;
        let version = link.version;
        if frame.packet_type() == Some(PacketType::Publish) {
            let publish = Publish::decode(frame.first, frame.body, version)?;
            return self.on_publish(now, key, &publish, shared, fx);
        }
        match codec::decode(frame, version)? {
            Packet::PubAck(ack) => self.on_puback(now, key, ack, fx),
            Packet::PubRec(ack) => self.on_pubrec(now, key, ack, fx),
            Packet::PubRel(ack) => self.on_pubrel(key, ack, fx),
            Packet::PubComp(ack) => self.on_pubcomp(now, key, ack, fx),
            Packet::Subscribe(subscribe) => return self.on_subscribe(now, conn, key, &subscribe, fx),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(now, conn, key, &unsubscribe, fx),
            Packet::PingReq => self.respond(key, Packet::PingResp, fx),
            Packet::Disconnect(disconnect) => return self.on_disconnect(now, conn, key, &disconnect, fx),
            Packet::Auth(auth) => return self.on_auth(key, &auth, fx),
            Packet::Connect(_) => return Err(Violation::ConnectTwice),
            Packet::Publish(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => return Err(Violation::ServerPacket),
        }
        Ok(())
    }

    /// Handles bytes that are no MQTT packet: the connection is closed.
    pub fn malformed(&mut self, now: Now, conn: ConnKey, error: DecodeError, fx: &mut impl Effects) {
        self.violated(now, conn, error.into(), fx);
        self.malformed_login(conn, error, fx);
        self.evict(now, fx);
    }

    /// The connection that a client has now.
    pub fn connection(&self, client_id: &str) -> Option<ConnKey> {
        let session = self.sessions.get(*self.by_client.get(client_id)?)?;
        session.link().map(|link| link.conn)
    }

    /// Goes on sending to a client whose output refused a message and has drained to half of its bound since.
    pub fn writable(&mut self, now: Now, conn: ConnKey, fx: &mut impl Effects) {
        let Some(key) = self.session_of(conn) else { return };
        if let Some(link) = self.sessions.get_mut(key).and_then(Session::link_mut) {
            link.blocked = false;
        }
        self.pump(now, key, fx);
    }

    /// Ends a turn: what was put together over its packets goes out. Call it before the links are flushed.
    pub fn turn_end(&mut self, now: Now, fx: &mut impl Effects) {
        self.look_for_room(now, fx);
        self.hand_over_more(now, fx);
        while self.durable.hand_over(now, fx) {
            self.go_on(now, fx);
        }
        self.retention.acknowledge(&self.durable, fx);
        self.interest.acknowledge(&self.retention, fx);
    }

    /// The store has all requests of this core up to the one of this number.
    pub fn durable(&mut self, now: Now, until: u64, fx: &mut impl Effects) {
        self.durable.kept(until);
        self.go_on(now, fx);
    }

    /// Whether the store has all that it was to have.
    pub fn is_kept(&self) -> bool {
        self.durable.is_idle()
    }

    /// Whether the store takes more has changed.
    pub fn store_is(&mut self, state: StoreState) {
        self.durable.state = state;
    }

    /// The store cannot keep what it was handed. Whoever waits for that is disconnected, with 0x97 where its version knows it:
    /// an acknowledgement may be long in coming, and who comes back with its session is promised the same.
    pub fn store_is_stuck(&mut self, now: Now, fx: &mut impl Effects) {
        for conn in self.durable.held_up() {
            if let Some(key) = self.session_of(conn) {
                self.disconnect(now, key, CloseReason::StoreRefuses, fx);
            }
        }
        self.evict(now, fx);
    }

    /// Goes on with what waited for the store.
    fn go_on(&mut self, now: Now, fx: &mut impl Effects) {
        while let Some(waiter) = self.durable.next_ready() {
            self.waited(waiter, fx);
        }
        self.release_subacks(now, fx);
        self.tend_parked(now, fx);
        self.evict(now, fx);
    }

    /// What this core holds, and what happened.
    pub fn report(&self) -> Report {
        Report {
            counters: self.counters,
            connected: self.gauges.connected,
            sessions: self.sessions.len() as u64,
            subscriptions: self.gauges.subscriptions,
            retained_messages: self.retention.index.len() as u64,
            retained_bytes: self.retention.index.bytes(),
            queued_messages: self.gauges.queued_messages,
            queued_bytes: self.gauges.queued_bytes,
            store: self.durable.state,
        }
    }

    /// Something has waited long enough.
    fn waited(&mut self, waiter: Waiter, fx: &mut impl Effects) {
        match waiter {
            Waiter::Ack(conn, ack) => self.complete(conn, ack, fx),
            Waiter::PubRel(conn, id) => self.release(conn, id, fx),
            Waiter::Output(conn) => fx.cork(conn, false),
            Waiter::Peer(shard, number) => fx.peer(shard, PeerMessage::Kept { number }),
            Waiter::Moved(session) => self.moved(session),
            Waiter::Close(conn) => fx.close(conn, CloseReason::Goodbye),
            Waiter::Will(key, session) => self.will_is_kept(key, session),
        }
    }

    fn session_of(&self, conn: ConnKey) -> Option<SessionKey> {
        let &(generation, key) = self.conns.get(conn.slot as usize)?.as_ref()?;
        (generation == conn.generation).then_some(key)
    }
}
