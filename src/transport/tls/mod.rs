//! TLS: certificates and keys, and sessions without their sockets.

mod acceptor;
mod certificate;
mod choice;
mod clients;
mod error;
mod files;
mod name;
mod session;
mod suite;

pub use acceptor::Acceptor;
pub use error::{Fault, Found, TlsError, Wanted};
pub use name::{client_name, client_subject};
pub use rustls::Error;
pub use rustls::server::Acceptor as HelloReader;
pub use session::{Opened, RECORD_BYTES_MAX, Session};
