//! What is settled, and goes out of memory piece by piece.

use super::delta::{Changes, Delta};
use crate::types::{Message, SessionId};
use hashbrown::hash_map::IntoIter;
use std::sync::Arc;

/// What a checkpoint has settled. Its memory came from the shards' own, so that freeing all of it in one go would keep them
/// from theirs: tens of milliseconds for a hundred thousand messages.
#[derive(Debug)]
pub struct Spent {
    /// What is left of one session's changes.
    changes: Changes,
    sessions: IntoIter<SessionId, Changes>,
    retained: IntoIter<Box<str>, Option<Arc<Message>>>,
}

impl Spent {
    pub(super) fn new(delta: Delta) -> Self {
        let Delta { sessions, retained, .. } = delta;
        Self { changes: Changes::default(), sessions: sessions.into_iter(), retained: retained.into_iter() }
    }

    /// Frees so many messages or other small things. Whether something is left.
    pub fn free(&mut self, count: usize) -> bool {
        (0..count).all(|_| self.free_one())
    }

    fn free_one(&mut self) -> bool {
        let Changes { slots, done, received, inbound, subscriptions, .. } = &mut self.changes;
        if slots.pop_front().is_some()
            || done.pop_first().is_some()
            || received.pop_first().is_some()
            || inbound.pop_first().is_some()
            || subscriptions.pop_first().is_some()
        {
            return true;
        }
        match self.sessions.next() {
            Some((_, changes)) => self.changes = changes,
            None => return self.retained.next().is_some(),
        }
        true
    }
}
