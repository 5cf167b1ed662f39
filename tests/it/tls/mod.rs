//! TLS: handshakes in memory, files that are wrong, and real clients over real sockets.

mod authority;
mod client_certificates;
mod handshakes;
mod memory;
