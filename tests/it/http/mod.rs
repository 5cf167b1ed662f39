//! HTTP and WebSocket on one port, for browsers and byte by byte.

mod bundle;
mod client;
mod files;
mod page;
mod upgrade;

use crate::support::{Broker, Certificates};
use tempfile::TempDir;

/// The page of tests/clients/page.
fn page() -> String {
    format!("static_dir = {:?}\n", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/page"))
}

/// A broker with two shards that serves HTTP with these settings, beside a plain listener.
fn broker(listener: &str) -> Broker {
    Broker::beside("http", 2, "", listener)
}

/// The same over TLS, with an authority of its own.
fn encrypted(listener: &str) -> (Broker, Certificates, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certificates = Certificates::new(folder.path());
    let broker = Broker::beside("https", 2, "", &format!("{}{listener}", certificates.listener()));
    (broker, certificates, folder)
}
