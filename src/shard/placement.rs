//! Which shard owns a client. The only file that knows.

use crate::types::{HashSeed, ShardId};
use std::fmt::Write;
use std::hash::BuildHasher;

/// Maps client ids to shards, the same on every shard of a broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    seed: HashSeed,
    shards: u16,
}

impl Placement {
    pub(super) fn new(seed: HashSeed, shards: u16) -> Self {
        Self { seed, shards }
    }

    /// The shard that owns a client's session and connection.
    pub(super) fn owner(&self, client_id: &str) -> ShardId {
        let hash = self.seed.state().hash_one(client_id);
        // The high half of the product: every shard gets an equal share, without a division.
        let shard = (u128::from(hash) * u128::from(self.shards)) >> 64;
        ShardId(u16::try_from(shard).expect("below the number of shards"))
    }

    /// A new client id that `shard` owns, made of random numbers that nobody can guess. [MQTT-3.1.3-6]
    pub(super) fn assign(&self, shard: ShardId, mut random: impl FnMut() -> u128) -> String {
        let mut id = String::new();
        loop {
            id.clear();
            let _ = write!(id, "auto-{:032x}", random());
            if self.owner(&id) == shard {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_spread_evenly_and_stay_where_they_are() {
        let placement = Placement::new(HashSeed(42), 4);
        let mut counts = [0; 4];
        for client in 0..4_000 {
            let id = format!("client-{client}");
            counts[placement.owner(&id).index()] += 1;
            assert_eq!(placement.owner(&id), Placement::new(HashSeed(42), 4).owner(&id));
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn an_assigned_id_belongs_to_the_shard_that_assigned_it() {
        let mut draws = 0;
        let mut random = || {
            draws += 1;
            draws
        };
        let placement = Placement::new(HashSeed(1), 7);
        for shard in (0..7).map(ShardId) {
            let id = placement.assign(shard, &mut random);
            assert_eq!(placement.owner(&id), shard);
            assert_ne!(id, placement.assign(shard, &mut random));
        }
    }
}
