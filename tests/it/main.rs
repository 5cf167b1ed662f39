//! The broker as its users meet it: the program, real sockets, real clients.
//!
//! Each test starts a broker of its own on a free port. `tests/run` installs the clients that are not Rust.

#![expect(clippy::disallowed_methods, reason = "tests bound how long they wait")]

mod abuse;
mod access;
mod clients;
mod conformance;
mod hold;
mod http;
mod identity;
mod listeners;
mod mosquitto;
mod process;
mod protocol;
mod readme;
mod redirect;
mod rumqttc;
mod rumqttc_v5;
mod sessions;
mod shards;
mod sockets;
mod store;
mod support;
mod tls;
mod websocket;
