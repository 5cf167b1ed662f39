//! Publishers to full queues are held back, where the operator wants that: nothing more is read of them until there is room.
//!
//! What a publisher sent already is queued beyond the bound, so that a queue is longer than it may be by what its
//! publishers have sent at once. The core of the queue tells the publisher's; when any of its full queues has room again,
//! it lets all of them go on, and those that find another one full are held again.

use super::{Effects, Engine, PeerMessage};
use crate::session::{Session, Violation};
use crate::types::{ConnKey, Map, Now, SessionKey, ShardId, ShardSet};

/// Who is held back, and for whom.
#[derive(Debug)]
pub(super) struct Held {
    /// Publishers of this core, with the cores of the queues.
    publishers: Map<ConnKey, ShardSet>,
    /// Cores whose publishers wait for queues of this one.
    waiting: ShardSet,
    /// Sessions whose queues were full when something was queued last.
    full: Vec<SessionKey>,
}

impl Held {
    pub(super) fn new(seed: crate::types::HashSeed) -> Self {
        Self { publishers: seed.map(), waiting: ShardSet::EMPTY, full: Vec::new() }
    }

    /// A session's queue has no room for another message.
    pub(super) fn filled(&mut self, key: SessionKey) {
        if self.full.last() != Some(&key) {
            self.full.push(key);
        }
    }
}

impl Engine {
    /// Holds a message's publisher back, if a queue that it went to is full.
    pub(super) fn hold_publisher(
        &mut self,
        from: ShardId,
        publisher: Option<ConnKey>,
        fx: &mut impl Effects,
    ) {
        let Some(conn) = publisher else { return };
        self.held.waiting.insert(from);
        if from == self.setup.shard {
            self.hold(from, conn, fx);
        } else {
            fx.peer(from, PeerMessage::Hold { publisher: conn });
        }
    }

    /// A queue of another core, or of this one, has no room for more of a publisher of this core.
    pub(super) fn hold(&mut self, by: ShardId, conn: ConnKey, fx: &mut impl Effects) {
        let Some(key) = self.session_of(conn) else { return };
        let Some(link) = self.sessions.get_mut(key).and_then(Session::link_mut) else { return };
        link.held = true;
        self.held.publishers.entry(conn).or_insert(ShardSet::EMPTY).insert(by);
        fx.hold(conn, true);
    }

    /// A connection is not read for a while, so that its silence means nothing; or it is again.
    pub fn not_read(&mut self, now: Now, conn: ConnKey, held: bool) {
        let held = held || self.held.publishers.contains_key(&conn);
        let link = self.session_of(conn).and_then(|key| self.sessions.get_mut(key)?.link_mut());
        if let Some(link) = link {
            (link.held, link.heard) = (held, now);
        }
    }

    /// A client has published more than it may, where that ends its connection.
    pub fn published_too_much(&mut self, now: Now, conn: ConnKey, fx: &mut impl Effects) {
        self.violated(now, conn, Violation::MessageRate, fx);
        self.evict(now, fx);
    }

    /// There is room again in a queue of a core that was full.
    pub(super) fn let_go_on(&mut self, now: Now, by: ShardId, fx: &mut impl Effects) {
        let mut released = Vec::new();
        self.held.publishers.retain(|conn, holders| {
            holders.remove(by);
            if holders.is_empty() {
                released.push(*conn);
            }
            !holders.is_empty()
        });
        for conn in released {
            let link = self.session_of(conn).and_then(|key| self.sessions.get_mut(key)?.link_mut());
            if let Some(link) = link {
                // It could not be heard meanwhile.
                (link.held, link.heard) = (false, now);
            }
            fx.hold(conn, false);
        }
    }

    /// Looks whether a queue that was full has room, or is no more, and lets publishers go on.
    pub(super) fn look_for_room(&mut self, now: Now, fx: &mut impl Effects) {
        if self.held.full.is_empty() || self.held.waiting.is_empty() {
            return;
        }
        let (sessions, limits) = (&self.sessions, &self.setup.limits);
        let before = self.held.full.len();
        self.held.full.retain(|&key| {
            sessions.get(key).is_some_and(|session| {
                let (messages, bytes) = (session.queue.len(), session.queue.bytes());
                messages > limits.queue_messages_max as usize / 2 || bytes > limits.queue_bytes_max / 2
            })
        });
        if self.held.full.len() < before {
            for shard in std::mem::take(&mut self.held.waiting).iter() {
                if shard == self.setup.shard {
                    self.let_go_on(now, shard, fx);
                } else {
                    fx.peer(shard, PeerMessage::Room);
                }
            }
        }
    }
}
