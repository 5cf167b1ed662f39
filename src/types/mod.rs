//! The words that every layer uses: identifiers, time, maps with a seed, bounds, the shared message.
//!
//! Invariant: nothing here reads a clock, draws randomness it was not given, or touches the outside world.

mod features;
mod ids;
pub mod limits;
mod map;
mod message;
mod network;
mod slab;
mod throttle;
mod time;
mod wheel;

pub use features::{Balance, Features, Redirect};
pub use ids::{ConnKey, GroupKey, PacketId, SHARDS_MAX, SessionId, SessionKey, ShardId, ShardSet};
pub use limits::Limits;
pub use map::{HashSeed, Map, Rng, Set};
pub use message::{Delivery, Message, QoS};
pub use network::{BadNetwork, Network, any_contains};
pub use slab::{Key, Slab};
pub use throttle::Throttle;
pub use time::{Now, Span};
pub use wheel::{TICK, Wheel};
