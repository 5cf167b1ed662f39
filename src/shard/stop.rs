//! The end: no new connections, a goodbye to every client, and a bounded time to say it.

use super::Shard;
use super::conn::Phase;
use crate::types::{ConnKey, Now, Span};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How long clients may take to accept the goodbye.
const STOP_WITHIN: Span = Span::from_secs(3);

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

impl Shard {
    /// Stops accepting and says goodbye to every client. [MQTT 3.14.2.1, 0x8B]
    pub(super) fn begin_stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(self.world.now + STOP_WITHIN);
        let _ = rustix::event::epoll::delete(&self.epoll, self.stop.as_fd());
        self.listeners.clear();
        self.rested = None;
        self.engine.shut_down(self.world.now, &mut self.world);
        let waiting: Vec<ConnKey> = self
            .world
            .conns
            .iter()
            .filter(|(_, c)| matches!(c.phase, Phase::Hello(_)))
            .map(|(key, _)| key)
            .collect();
        waiting.into_iter().for_each(|key| self.drop_conn(key));
    }

    /// Whether the shard has stopped.
    pub(super) fn finished(&self) -> bool {
        self.stopping.is_some_and(|until: Now| self.world.conns.is_empty() || self.world.now >= until)
    }
}
