//! The engine's decisions become bytes in outputs and messages in links. Nothing here makes a system call, but for a client
//! whose output is full.

use super::Item;
use super::conn::{Conn, Phase};
use super::journal::Journal;
use crate::engine::{Batch, CloseReason, Effects, Fetch, Note, PeerMessage};
use crate::mesh::Port;
use crate::metrics::Traffic;
use crate::transport::Pool;
use crate::types::{ConnKey, Now, ShardId, Slab, Span, Wheel};
use crate::websocket::CloseCode;
use bytes::Bytes;

/// How long a closed connection may take to accept what is queued for it.
const CLOSE_WITHIN: Span = Span::from_secs(5);
/// Memory that the list of connections to write keeps.
const DIRTY_KEPT: usize = 4_096;

/// Everything of a shard but the engine: what the engine acts on.
#[derive(Debug)]
pub(super) struct World {
    pub(super) conns: Slab<ConnKey, Conn>,
    /// Connections with output, or to be closed, in no order.
    pub(super) dirty: Vec<ConnKey>,
    pub(super) pool: Pool,
    pub(super) port: Port<Item>,
    /// The store's end of the mesh, if there is a store.
    pub(super) store: Option<ShardId>,
    /// A connection was held in this turn: it may be the one that is being read.
    pub(super) holding: bool,
    /// Connections that are read again.
    pub(super) released: Vec<ConnKey>,
    /// Deadlines of phases.
    pub(super) deadlines: Wheel<ConnKey>,
    pub(super) journal: Journal,
    pub(super) traffic: Traffic,
    /// When the turn began.
    pub(super) now: Now,
    /// Bound of each connection's output.
    pub(super) output_bytes_max: usize,
    /// TLS handshakes that go on.
    pub(super) handshaking: u32,
    /// What is kept of CONNECTs that are not whole.
    pub(super) strangers_bytes: usize,
}

impl World {
    pub(super) fn mark(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.flags.dirty
        {
            conn.flags.dirty = true;
            self.dirty.push(key);
        }
    }

    /// The list of connections to write; [`World::return_dirty`] gives its memory back.
    pub(super) fn take_dirty(&mut self) -> Vec<ConnKey> {
        std::mem::take(&mut self.dirty)
    }

    pub(super) fn return_dirty(&mut self, mut list: Vec<ConnKey>) {
        list.clear();
        if self.dirty.is_empty() && list.capacity() <= DIRTY_KEPT.max(self.conns.len()) {
            self.dirty = list;
        }
    }

    /// Keeps the beginning of a packet of `need` bytes, or nothing, until more comes. Returns what was kept before.
    pub(super) fn keep_input(&mut self, key: ConnKey, input: Vec<u8>, need: usize) -> Vec<u8> {
        let Some(conn) = self.conns.get_mut(key) else { return Vec::new() };
        if matches!(conn.phase, Phase::Hello(_)) {
            self.strangers_bytes = self.strangers_bytes + input.len() - conn.input.len();
        }
        conn.need = need;
        std::mem::replace(&mut conn.input, input)
    }

    /// A connection's TLS handshake is done or given up.
    pub(super) fn handshake_over(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key)
            && std::mem::take(&mut conn.flags.handshaking)
        {
            self.handshaking -= 1;
        }
    }

    /// Lets what is queued go out, for a bounded time, and then closes; a WebSocket with this code.
    pub(super) fn begin_close(&mut self, key: ConnKey, code: CloseCode) {
        let deadline = self.now + CLOSE_WITHIN;
        self.keep_input(key, Vec::new(), 0);
        self.handshake_over(key);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.phase = Phase::Closing(deadline);
            // Who comes next need not wait for the last words.
            conn.places = None;
            conn.channel.iter_mut().for_each(|channel| channel.close(code));
            self.deadlines.arm(deadline, key);
            self.mark(key);
        }
    }

    /// The connection, where an offered message fits its output.
    #[inline]
    fn room(&mut self, key: ConnKey, len: usize) -> Option<(&mut Conn, &mut Pool, &mut Vec<ConnKey>)> {
        let conn = self.conns.get_mut(key)?;
        if conn.output.len() + len > self.output_bytes_max
            && !relieve(conn, len, self.output_bytes_max, &mut self.pool, &mut self.traffic)
        {
            conn.flags.refused = true;
            return None;
        }
        self.traffic.packets_sent += 1;
        Some((conn, &mut self.pool, &mut self.dirty))
    }
}

/// Makes room for so many bytes by writing before the end of the turn: a burst above the bound is no reason to drop
/// messages of a client whose socket takes them. Whether there is room then.
#[cold]
fn relieve(conn: &mut Conn, len: usize, max: usize, pool: &mut Pool, traffic: &mut Traffic) -> bool {
    traffic.bytes_sent += conn.write(pool);
    // A message larger than the bound goes out when nothing else waits.
    conn.output.is_empty() || conn.output.len() + len <= max
}

#[inline]
fn mark(conn: &mut Conn, key: ConnKey, dirty: &mut Vec<ConnKey>) {
    if !conn.flags.dirty {
        conn.flags.dirty = true;
        dirty.push(key);
    }
}

impl Effects for World {
    fn send(&mut self, key: ConnKey, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.output.push(bytes, &mut self.pool);
            self.traffic.packets_sent += 1;
            mark(conn, key, &mut self.dirty);
        }
    }

    #[inline]
    fn offer(&mut self, key: ConnKey, frame: &[u8]) -> bool {
        let Some((conn, pool, dirty)) = self.room(key, frame.len()) else { return false };
        conn.output.push(frame, pool);
        mark(conn, key, dirty);
        true
    }

    fn offer_shared(&mut self, key: ConnKey, head: &[u8], payload: &Bytes) -> bool {
        let Some((conn, pool, dirty)) = self.room(key, head.len() + payload.len()) else { return false };
        conn.output.push_shared(head, payload, pool);
        mark(conn, key, dirty);
        true
    }

    fn close(&mut self, key: ConnKey, why: CloseReason) {
        let code = match why {
            CloseReason::Goodbye => CloseCode::NORMAL,
            CloseReason::ShuttingDown => CloseCode::GOING_AWAY,
            _ => CloseCode::POLICY,
        };
        self.begin_close(key, code);
    }

    fn peer(&mut self, to: ShardId, message: PeerMessage) {
        self.port.push(to, Item::Engine(message));
    }

    fn persist(&mut self, batch: Batch) {
        if let Some(store) = self.store {
            self.port.push(store, Item::Persist(Box::new(batch)));
        }
    }

    fn fetch(&mut self, fetch: Fetch) {
        if let Some(store) = self.store {
            self.port.push(store, Item::Fetch(fetch));
        }
    }

    fn cork(&mut self, key: ConnKey, corked: bool) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.flags.corked = corked;
            mark(conn, key, &mut self.dirty);
        }
    }

    fn hold(&mut self, key: ConnKey, held: bool) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.flags.held = held;
            if held {
                self.holding = true;
            } else {
                self.released.push(key);
            }
        }
    }

    fn note(&mut self, key: ConnKey, note: Note<'_>) {
        match note {
            Note::Connected { user: Some(_), .. } => self.traffic.logins += 1,
            Note::Refused { of_login: true, .. } => self.traffic.refused.scram += 1,
            _ => {}
        }
        if let Some(conn) = self.conns.get(key) {
            self.journal.note(self.now, conn.peer, note);
        }
    }
}
