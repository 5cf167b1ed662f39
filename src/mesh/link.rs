//! One direction between two shards: a bounded channel of batches, and one that brings the emptied ones back.
//!
//! A batch is a [`VecDeque`] so that a receiver can stop in the middle of one without moving the rest. Emptied batches go
//! back to the sender because memory that one thread allocates and another frees is the slow path of every allocator,
//! and because a batch that comes back has its capacity already.

use super::doorbell::Flag;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::VecDeque;
use std::sync::Arc;

/// Emptied batches that wait to be used again. Few: more are only in flight while a receiver lags.
const SPARES: usize = 4;
/// A batch that grew to more items than this is not kept, so that one burst does not hold memory for ever.
const SPARE_ITEMS_MAX: usize = 1_024;

/// A link from one shard to another that keeps `capacity` batches.
pub(super) fn link<T>(capacity: usize) -> (Outlet<T>, Inlet<T>) {
    let (full_out, full_in) = bounded(capacity);
    let (empty_out, empty_in) = bounded(SPARES);
    let starved = Arc::new(Flag::new());
    (
        Outlet { full: full_out, empty: empty_in, starved: starved.clone(), pending: VecDeque::new() },
        Inlet { full: full_in, empty: empty_out, starved, current: VecDeque::new(), listed: false },
    )
}

/// The sender's end.
pub(super) struct Outlet<T> {
    full: Sender<VecDeque<T>>,
    empty: Receiver<VecDeque<T>>,
    /// Raised while the link is full; the receiver takes it when it made room.
    starved: Arc<Flag>,
    /// What was pushed since the last batch that went out.
    pub(super) pending: VecDeque<T>,
}

impl<T> Outlet<T> {
    /// Sends what is pending as one batch; whether it is out. When the link is full everything stays where it is.
    pub(super) fn flush(&mut self) -> bool {
        let batch = std::mem::take(&mut self.pending);
        let sent = match self.full.try_send(batch) {
            // The receiver may have made room before it could see that somebody waits for it.
            Err(TrySendError::Full(batch)) => {
                self.starved.raise();
                self.full.try_send(batch).inspect(|()| self.starved.lower())
            }
            other => other,
        };
        match sent {
            Err(TrySendError::Full(batch)) => {
                self.pending = batch;
                false
            }
            // Nobody is there to take what goes to a shard that ended.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {
                self.pending = self.empty.try_recv().unwrap_or_default();
                true
            }
        }
    }
}

/// The receiver's end.
pub(super) struct Inlet<T> {
    full: Receiver<VecDeque<T>>,
    empty: Sender<VecDeque<T>>,
    starved: Arc<Flag>,
    /// The rest of the batch that was last taken out.
    current: VecDeque<T>,
    /// It is among those that have something.
    pub(super) listed: bool,
}

/// What one visit to a link came to.
pub(super) struct Visit {
    /// Items taken.
    pub(super) taken: usize,
    /// The link is not known to be empty.
    pub(super) more: bool,
    /// A sender that found it full waits to hear that there is room.
    pub(super) made_room: bool,
}

impl<T> Inlet<T> {
    /// Takes `budget` items at most, in the order in which they were pushed.
    pub(super) fn visit(&mut self, budget: usize, mut take: impl FnMut(T)) -> Visit {
        let (mut taken, mut received) = (0, false);
        while taken < budget {
            if self.current.is_empty() {
                let Ok(batch) = self.full.try_recv() else { break };
                self.current = batch;
                received = true;
            }
            let count = self.current.len().min(budget - taken);
            self.current.drain(..count).for_each(&mut take);
            taken += count;
            if self.current.is_empty() {
                self.give_back();
            }
        }
        Visit { taken, more: taken == budget, made_room: received && self.starved.take() }
    }

    /// Ends the link; whether a sender waits for room.
    pub(super) fn close(self) -> bool {
        let Self { full, starved, .. } = self;
        drop(full);
        starved.take()
    }

    fn give_back(&mut self) {
        let emptied = std::mem::take(&mut self.current);
        if emptied.capacity() <= SPARE_ITEMS_MAX {
            // Otherwise there are enough of them.
            _ = self.empty.try_send(emptied);
        }
    }
}
