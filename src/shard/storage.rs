//! The store's two threads: one commits what the shards ask for, one settles it and reads it back.
//!
//! Runs on: ordinary threads, unpinned. The first has the mesh's last port and sleeps until a shard rings; the second may
//! block for as long as a disk does and is talked to through a queue. Neither is ever waited for by a shard.

mod committer;
mod settler;

use super::{Clock, Item, Stop};
use crate::mesh::Port;
use crate::store::{NoStore, Options, Parts, Reading, RealDisk, SledSettled, Store, Sweep, open};
use crate::types::{HashSeed, Now, Span};
use committer::Committer;
use crossbeam_channel::unbounded;
use rustix::event::{EventfdFlags, eventfd};
use settler::{Settler, leave, unreadable};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use tracing::error;

/// What the settled state has for itself when space is short: the journal stops at twice as much.
const RESERVE_PART: u64 = 2;

/// Where and how a store is kept.
#[derive(Clone, Debug)]
pub struct StorePlan {
    /// Its folder.
    pub path: PathBuf,
    /// How.
    pub options: Options,
    /// With less free space on its file system, nothing more is taken.
    pub reserve_bytes: u64,
    /// How long a message waits for a session where its publisher set no bound.
    pub queued_expiry: Option<Span>,
}

/// A store that is open, before its threads run.
#[derive(Debug)]
pub struct Opened {
    plan: StorePlan,
    store: Store<RealDisk>,
    settled: SledSettled,
}

impl Opened {
    /// Opens a store, or makes one.
    ///
    /// # Errors
    /// See [`NoStore`].
    pub fn open(plan: StorePlan, seed: HashSeed, random: u128) -> Result<Self, NoStore> {
        let reserve_bytes = plan.reserve_bytes / RESERVE_PART;
        let Parts { store, settled } = open(&plan.path, plan.options, reserve_bytes, seed, random)?;
        Ok(Self { plan, store, settled })
    }

    /// The lowest number that no session ever had.
    pub fn next_session(&self) -> u64 {
        self.store.next_session()
    }

    /// When the broker last ran, by its own clock.
    pub fn alive(&self) -> Now {
        self.store.alive()
    }

    /// Gives back to each shard what is its own, and starts the threads.
    ///
    /// # Errors
    /// Out of descriptors or threads.
    pub fn start(
        self,
        port: Port<Item>,
        (seed, shards): (HashSeed, u16),
        clock: Clock,
        stop: &Stop,
    ) -> Result<Storage, NoStore> {
        let Self { plan, store, settled } = self;
        let bell =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
        let (jobs, queue) = unbounded();
        let (done, results) = unbounded();
        let (bell, path, sweep) = (Arc::new(bell), plan.path.clone(), Sweep::new(plan.queued_expiry));
        let mut committer = Committer::new(
            (plan, store),
            port,
            (seed, shards),
            clock,
            (jobs, results),
            [bell.as_fd(), stop.as_fd()],
        )?;
        let committer = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            if let Err(error) = committer.restore(&settled) {
                // Not a shard serves; its destructors could wait for ever.
                unreadable(&path, &error);
            }
            let reading = Reading::default();
            let settler =
                Settler { path, settled, jobs: queue, done, bell, reading, sweep, spent: Vec::new() };
            let settler = std::thread::Builder::new().name("store-settle".to_owned()).spawn(|| settler.run());
            match settler {
                Ok(settler) => {
                    committer.run();
                    drop(committer);
                    // It ends with the queue, and says itself what went wrong.
                    let _ = settler.join();
                }
                Err(error) => leave(&error),
            }
        })?;
        Ok(Storage(committer))
    }
}

/// The threads of a store.
#[derive(Debug)]
pub struct Storage(JoinHandle<()>);

impl Storage {
    /// Waits until everything is kept. The threads must have been told to stop.
    pub fn join(self) {
        if self.0.join().is_err() {
            error!("the store's thread had failed");
        }
    }
}
