//! Links between all pairs of shards: bounded, lock-free, a batch and at most one wake-up per turn and peer.
//!
//! Each shard's thread owns a [`Port`]. What it pushes stays with it until it flushes, once at the end of its turn; then
//! everything for one peer goes out as one batch. Order is kept for each ordered pair of shards; nothing is promised
//! across pairs.
//!
//! Nothing waits in here and nothing is lost. When a peer lags behind so far that its link is full, its items stay with
//! the sender, which is [`congested`](Port::congested) until they are out and should take in nothing meanwhile that
//! would make more of them. The peer wakes it when there is room.
//!
//! Runs on: one port per shard thread; what they share are the channels and atomics of `link` and `doorbell`.

mod doorbell;
mod link;

use crate::types::{SHARDS_MAX, ShardId};
use doorbell::Doorbell;
use link::{Inlet, Outlet};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Items that are taken from one peer before the next one has its turn.
const QUANTUM: usize = 256;

/// Maker of ports.
#[derive(Clone, Copy, Debug)]
pub struct Mesh;

/// The most ends that a mesh has: as many shards as there may be, the store's thread and the control thread.
pub const ENDS_MAX: usize = SHARDS_MAX + 2;

impl Mesh {
    /// One port for each of `ends` ends, the shards and after them who serves them all, in order, with room for
    /// `capacity_batches` batches in each link.
    ///
    /// # Errors
    /// Out of file descriptors: each port has one.
    ///
    /// # Panics
    /// When there is no room for a batch, or more ends than [`ENDS_MAX`].
    #[expect(clippy::new_ret_no_self, reason = "a mesh is nothing but its ports")]
    pub fn new<T>(ends: u16, capacity_batches: usize) -> Result<Vec<Port<T>>, Errno> {
        assert!(capacity_batches > 0, "a link without room passes nothing on");
        assert!(usize::from(ends) <= ENDS_MAX, "at most {ENDS_MAX} ends");
        let bells = (0..ends).map(|_| Doorbell::new()).collect::<Result<Arc<[_]>, _>>()?;
        let mut ports: Vec<_> = (0..ends).map(|id| Port::new(ShardId(id), bells.clone())).collect();
        for from in 0..ports.len() {
            for to in 0..ports.len() {
                let (outlet, inlet) = (from != to).then(|| link::link(capacity_batches)).unzip();
                ports[from].outlets.push(outlet);
                ports[to].inlets.push(inlet);
            }
        }
        Ok(ports)
    }
}

/// One shard's end of its links to all others.
pub struct Port<T> {
    id: ShardId,
    bells: Arc<[Doorbell]>,
    /// By peer; none to itself.
    outlets: Vec<Option<Outlet<T>>>,
    /// By peer; none from itself.
    inlets: Vec<Option<Inlet<T>>>,
    /// Peers for which something is pending. Invariant: each once.
    touched: Vec<ShardId>,
    /// The last flush found some of them congested.
    congested: bool,
    /// Something was pushed, or somebody rang while congested, since the last flush.
    flush_due: bool,
    /// Peers that have something, in the order in which they have their turn. Invariant: those that are `listed`.
    ready: VecDeque<ShardId>,
}

impl<T> Port<T> {
    fn new(id: ShardId, bells: Arc<[Doorbell]>) -> Self {
        Self {
            id,
            bells,
            outlets: Vec::new(),
            inlets: Vec::new(),
            touched: Vec::new(),
            congested: false,
            flush_due: false,
            ready: VecDeque::new(),
        }
    }

    /// The shard that this port belongs to.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Keeps an item for a peer until the next flush.
    ///
    /// # Panics
    /// When `to` is the shard itself, or none of the mesh.
    pub fn push(&mut self, to: ShardId, item: T) {
        let outlet = self.outlets[to.index()].as_mut().expect("a shard has no link to itself");
        if outlet.pending.is_empty() {
            self.touched.push(to);
        }
        outlet.pending.push_back(item);
        self.flush_due = true;
    }

    /// Sends each peer what was pushed for it, as one batch, and rings its doorbell once. What does not fit into a link
    /// stays, in order, for the next flush.
    pub fn flush(&mut self) {
        let Self { id, bells, outlets, touched, .. } = self;
        touched.retain(|to| {
            let outlet = outlets[to.index()].as_mut().expect("only peers are touched");
            let out = outlet.flush();
            if out {
                bells[to.index()].ring(*id);
            }
            !out
        });
        self.congested = !self.touched.is_empty();
        self.flush_due = false;
    }

    /// Whether the last flush left something behind. It is to be tried again when the doorbell was rung.
    pub fn congested(&self) -> bool {
        self.congested
    }

    /// How many items wait to be flushed.
    pub fn pending(&self) -> usize {
        self.touched
            .iter()
            .filter_map(|to| self.outlets[to.index()].as_ref())
            .map(|out| out.pending.len())
            .sum()
    }

    /// Hands over `budget` items at most, a share from each peer in turn; whether there may be more.
    pub fn drain(&mut self, budget: usize, visit: &mut dyn FnMut(ShardId, T)) -> bool {
        self.list_arrivals();
        let mut left = budget;
        while left > 0 {
            let Some(from) = self.ready.pop_front() else { break };
            let inlet = self.inlets[from.index()].as_mut().expect("only peers are ready");
            let found = inlet.visit(left.min(QUANTUM), |item| visit(from, item));
            left -= found.taken;
            inlet.listed = found.more;
            if found.more {
                self.ready.push_back(from);
            }
            if found.made_room {
                self.bells[from.index()].ring(self.id);
            }
        }
        !self.ready.is_empty()
    }

    /// To be called before waiting for `doorbell`(Self::doorbell): whether to wait at all. False when there is something
    /// to drain or a reason to flush. After true, every ring wakes until [`awake`](Self::awake).
    pub fn prepare_sleep(&mut self) -> bool {
        self.ready.is_empty() && !self.flush_due && self.bell().prepare_sleep()
    }

    /// To be called after waiting. The peers then save themselves the system call.
    pub fn awake(&mut self) {
        self.bell().awake();
    }

    /// Becomes readable at each wake-up. Nobody needs to read it: watch it edge-triggered.
    pub fn doorbell(&self) -> BorrowedFd<'_> {
        self.bell().as_fd()
    }

    fn bell(&self) -> &Doorbell {
        &self.bells[self.id.index()]
    }

    fn list_arrivals(&mut self) {
        let Self { id, bells, inlets, ready, congested, flush_due, .. } = self;
        bells[id.index()].arrivals(|from| {
            // It may have made room.
            *flush_due |= *congested;
            let inlet = inlets[from.index()].as_mut().expect("only peers ring");
            if !inlet.listed {
                inlet.listed = true;
                ready.push_back(from);
            }
        });
    }
}

/// A port that goes takes nothing any more; peers that wait for room in its links are woken to find that out.
impl<T> Drop for Port<T> {
    fn drop(&mut self) {
        for (inlet, bell) in self.inlets.drain(..).zip(self.bells.iter()) {
            if inlet.is_some_and(Inlet::close) {
                bell.ring(self.id);
            }
        }
    }
}

impl<T> fmt::Debug for Port<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({}: {} items pending, congested: {})", self.id, self.pending(), self.congested)
    }
}

#[cfg(all(test, not(pantala_loom)))]
mod tests;
