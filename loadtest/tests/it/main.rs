//! The load generator as its users run it: against brokers that do well, and through a proxy that makes one mistake.

#![expect(clippy::disallowed_methods, reason = "tests bound how long they wait")]

mod brokers;
mod compare;
mod faults;
mod proxy;
mod support;
