//! Bytes in and out of sockets: listening, reading, and output that waits.
//!
//! Runs on: the core that owns the socket. Every call returns at once; readiness is for the shard to know.

mod listen;
mod output;
mod peer;
pub mod settings;

pub use listen::open;
pub use output::{Output, Pool, Written};
pub use peer::Peer;
pub use settings::ListenerSettings;
