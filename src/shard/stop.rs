//! The end: no new connections and no new packets; what was published before is delivered; a goodbye to every client;
//! and a bounded time for all of it.

use super::{Item, Shard, conn};
use crate::types::{ConnKey, Now, ShardId, Span};
use crate::websocket::CloseCode;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How long shards wait for each other.
const DRAIN_WITHIN: Span = Span::from_secs(1);
/// How long clients may take to accept the goodbye.
const CLOSE_WITHIN: Span = Span::from_secs(3);

/// Raised once, seen by all shards.
#[derive(Debug)]
pub struct Stop(OwnedFd);

impl Stop {
    /// One that is not raised.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Raises it.
    pub fn raise(&self) {
        // It fails only when the counter is full, and then it is raised.
        let _ = write(&self.0, &1u64.to_ne_bytes());
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) struct Ending {
    phase: Phase,
    /// Other shards that said their last word.
    pub(super) last_words: u16,
}

/// One after the other.
#[derive(Debug, Default)]
enum Phase {
    /// It is not the end.
    #[default]
    Running,
    /// Nobody is accepted or read any more. What other shards had read before is still to come, until then at the latest.
    Draining(Now),
    /// All clients are told; what is queued for them goes out, until then at the latest.
    Closing(Now),
}

impl Ending {
    /// When its phase ends by itself.
    pub(super) fn deadline(&self) -> Option<Now> {
        match self.phase {
            Phase::Running => None,
            Phase::Draining(until) | Phase::Closing(until) => Some(until),
        }
    }
}

impl Shard {
    /// Stops accepting and reading, and tells the other shards so: everything that was published before is on its way to
    /// them then, and their last words come after everything that they had for this one.
    pub(super) fn begin_stop(&mut self) {
        if self.stopping() {
            return;
        }
        self.ending.phase = Phase::Draining(self.world.now + DRAIN_WITHIN);
        let _ = rustix::event::epoll::delete(&self.epoll, self.stop.as_fd());
        self.listeners.clear();
        self.rested = None;
        for peer in (0..self.shards).map(ShardId).filter(|&peer| peer != self.id) {
            self.world.port.push(peer, Item::LastWord);
        }
        let conns = self.world.conns.iter();
        let strangers: Vec<ConnKey> = conns
            .filter(|(_, conn)| matches!(conn.phase, conn::Phase::Hello(_)))
            .map(|(key, _)| key)
            .collect();
        strangers.into_iter().for_each(|key| self.leave_stranger(key));
    }

    /// Ends a connection whose CONNECT nobody will read. What its layers have to say is said if the socket takes it now.
    fn leave_stranger(&mut self, key: ConnKey) {
        if let Some(conn) = self.world.conns.get_mut(key)
            && let Some(channel) = &mut conn.channel
        {
            channel.close(CloseCode::GOING_AWAY);
            self.world.traffic.bytes_sent += conn.write(&mut self.world.pool);
        }
        self.drop_conn(key);
    }

    /// Says goodbye to every client, once all is said. [MQTT 3.14.2.1, 0x8B]
    pub(super) fn go_on_stopping(&mut self) {
        let Phase::Draining(until) = self.ending.phase else { return };
        let now = self.world.now;
        if self.ending.last_words + 1 >= self.shards || now >= until {
            self.ending.phase = Phase::Closing(now + CLOSE_WITHIN);
            self.engine.shut_down(now, &mut self.world);
        }
    }

    /// Whether the broker stops.
    pub(super) fn stopping(&self) -> bool {
        !matches!(self.ending.phase, Phase::Running)
    }

    /// Whether this shard waits for what other shards have for it.
    pub(super) fn draining(&self) -> bool {
        matches!(self.ending.phase, Phase::Draining(_))
    }

    /// Whether the shard has stopped.
    pub(super) fn finished(&self) -> bool {
        matches!(self.ending.phase, Phase::Closing(until) if self.world.conns.is_empty() && self.engine.is_kept() || self.world.now >= until)
    }
}
