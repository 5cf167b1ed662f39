//! Random numbers from one seed, a stream for each concern: one draw more in the workload does not shift the network.

use pantala::types::{HashSeed, Rng};
use std::hash::BuildHasher;

/// All streams of a run.
#[derive(Debug)]
pub(crate) struct Dice {
    /// What the broker and its clients are like.
    pub(crate) setup: Rng,
    /// Who does something next, and when.
    pub(crate) schedule: Rng,
    /// How byte streams are cut and links deliver.
    pub(crate) network: Rng,
    /// What clients do.
    pub(crate) workload: Rng,
    /// What goes wrong.
    pub(crate) faults: Rng,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let stream = |concern: &str| Rng::new(HashSeed(seed).state().hash_one(concern));
        Self {
            setup: stream("setup"),
            schedule: stream("schedule"),
            network: stream("network"),
            workload: stream("workload"),
            faults: stream("faults"),
        }
    }
}

/// A random index below `len`.
pub(crate) fn index(rng: &mut Rng, len: usize) -> usize {
    usize::try_from(rng.below(len as u64)).expect("below a usize")
}
