//! TLS: certificates and keys, and sessions without their sockets.

mod acceptor;
mod name;
mod session;

pub use acceptor::{Acceptor, TlsError};
pub use name::client_name;
pub use rustls::Error;
pub use session::{Opened, RECORD_BYTES_MAX, Session};
