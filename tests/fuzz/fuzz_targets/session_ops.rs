//! Sequences of packets, time, losses and messages between two engines: nothing panics, and no client is sent what it may
//! not be sent. The test `session_ops` of the broker does the same with pseudo-random bytes.
//!
//! `cargo +nightly fuzz run session_ops --fuzz-dir tests/fuzz`

#![no_main]

#[path = "../../session_ops/ops.rs"]
mod ops;
#[path = "../../session_ops/watcher.rs"]
mod watcher;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ops::run(data));
