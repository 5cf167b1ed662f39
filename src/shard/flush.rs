//! The end of a turn: one write per connection that has output. Batching happens here and nowhere else; it is where
//! nearly all of the speed comes from.

use super::Shard;
use super::conn::Phase;
use super::journal::NoClient;
use super::login::{Login, Refused};
use crate::types::{ConnKey, Span};
use rustix::net::{Shutdown, shutdown};

/// When to look again at a connection without CONNECT that was not read for a while.
const GRACE: Span = Span::from_millis(100);
/// How long a closed connection's peer may take to close its side.
const LINGER: Span = Span::from_secs(1);

impl Shard {
    /// Writes what waits, tells the engine where there is room again, and closes what is to be closed.
    pub(super) fn flush(&mut self) {
        let dirty = self.world.take_dirty();
        for &key in &dirty {
            self.flush_conn(key);
        }
        self.world.return_dirty(dirty);
    }

    fn flush_conn(&mut self, key: ConnKey) {
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        conn.flags.dirty = false;
        self.world.traffic.bytes_sent += conn.write(&mut self.world.pool);
        if conn.flags.failed {
            return self.read_rest(key);
        }
        let waiting = conn.output.len();
        if conn.flags.paused && waiting <= self.world.output_bytes_max {
            conn.flags.paused = false;
            conn.flags.ready = true;
            self.ready.push_back(key);
        }
        match conn.phase {
            Phase::Closing(_) if !conn.has_output() => self.linger(key),
            Phase::Open if conn.flags.refused && waiting <= self.world.output_bytes_max / 2 => {
                conn.flags.refused = false;
                self.engine.writable(self.world.now, key, &mut self.world);
            }
            _ => {}
        }
    }

    /// Writing failed: what the peer sent before, perhaps its goodbye, is in the socket still.
    fn read_rest(&mut self, key: ConnKey) {
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        if matches!(conn.phase, Phase::Closing(_) | Phase::Lingering(_)) {
            return self.drop_conn(key);
        }
        conn.flags.hangup = true;
        conn.flags.paused = false;
        if !conn.flags.ready {
            conn.flags.ready = true;
            self.ready.push_back(key);
        }
    }

    /// Announces the end and waits for the peer's.
    fn linger(&mut self, key: ConnKey) {
        let deadline = self.world.now + LINGER;
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        if shutdown(&conn.socket, Shutdown::Write).is_err() {
            return self.drop_conn(key);
        }
        conn.phase = Phase::Lingering(deadline);
        self.world.deadlines.arm(deadline, key);
        if !conn.flags.ready {
            // What came before is still to be thrown away.
            conn.flags.ready = true;
            self.ready.push_back(key);
        }
    }

    /// Ends phases whose time is over.
    pub(super) fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.world.deadlines.advance(self.world.now, crate::types::limits::TIMERS_PER_TURN, &mut due);
        for key in due.drain(..) {
            self.read_on(key);
            let Some(conn) = self.world.conns.get(key) else { continue };
            if conn.deadline().is_none_or(|deadline| deadline > self.world.now) {
                continue;
            }
            // The client has done its part, and is told that the broker did not.
            if self.end_wait(key, Login::Refused(Refused::Late)) {
                continue;
            }
            let Some(conn) = self.world.conns.get(key) else { continue };
            match conn.phase {
                // It may have come in time.
                Phase::Hello(_) if conn.flags.ready => self.world.deadlines.arm(self.world.now + GRACE, key),
                Phase::Hello(_) if conn.flags.handshaking => {
                    self.refuse_connection(key, NoClient::HandshakeTimeout);
                }
                Phase::Hello(_) => self.refuse_connection(key, NoClient::Timeout),
                Phase::Closing(_) | Phase::Lingering(_) => self.drop_conn(key),
                Phase::Open => {}
            }
        }
        self.due = due;
    }

    /// Forgets a connection and closes its socket.
    pub(super) fn drop_conn(&mut self, key: ConnKey) {
        self.world.keep_input(key, Vec::new(), 0);
        self.world.handshake_over(key);
        if let Some(mut conn) = self.world.conns.remove(key) {
            conn.output.clear(&mut self.world.pool);
        }
    }
}
