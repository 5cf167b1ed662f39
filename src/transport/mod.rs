//! Bytes in and out of sockets: listening, reading, and output that waits.
//!
//! Runs on: the core that owns the socket. Every call returns at once; readiness is for the shard to know.

mod channel;
mod gate;
mod identity;
mod listen;
mod output;
mod peer;
mod proxy;
pub mod settings;
pub mod tls;

pub use channel::{CIPHER_BYTES, Channel, Ending, Received};
pub use gate::{Gate, Seat};
pub use identity::{Identity, IdentityError};
pub use listen::{Address, ListenError, open, remove};
pub use output::{Output, Pool, Written};
pub use peer::Peer;
pub use proxy::{BadHeader, HEADER_BYTES_MAX, Header, read as read_proxy_header};
pub use settings::ListenerSettings;
