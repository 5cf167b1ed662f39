//! TLS: handshakes in memory, files that are wrong, and real clients over real sockets.

mod authority;
mod client_certificates;
mod files;
mod flood;
mod handshakes;
mod memory;
mod openssl;
mod programs;
mod reload;
mod site;
mod start;
mod storm;
mod suites;
