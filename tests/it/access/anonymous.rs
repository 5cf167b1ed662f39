//! Clients that prove nothing: let in from this machine, and from others where the operator says so.

use crate::support::{Broker, Connect, Raw, Scram, connack, user};
use std::net::{Ipv4Addr, SocketAddr};

/// What a client of 3.1.1 without permission is told.
const NOT_AUTHORIZED: u8 = 5;

/// Beside its listener on loopback, one that other machines reach, with these settings.
fn public(settings: &str, listener: &str) -> Broker {
    let listener = format!("[[listener]]\nurl = \"tcp://0.0.0.0:0\"\n{listener}");
    Broker::with_listener(&format!("{listener}\n{settings}"))
}

/// A connection through the public listener, which stands for one from another machine: the address that the broker listens
/// on is what counts.
fn stranger(broker: &Broker) -> Raw {
    Raw::open(SocketAddr::from((Ipv4Addr::LOCALHOST, broker.beside.port())))
}

#[track_caller]
fn refused(broker: &Broker, connect: &Connect<'_>) {
    let mut raw = stranger(broker);
    raw.send(&connect.bytes());
    if connect.level == 5 {
        assert_eq!(raw.packet()[3], 0x87, "Not authorized");
    } else {
        raw.expect(&connack(false, NOT_AUTHORIZED));
    }
    raw.expect_closed();
}

#[test]
fn strangers_are_refused_where_other_machines_reach_the_broker_and_served_on_loopback() {
    let broker = public("", "");
    for level in [3, 4, 5] {
        refused(&broker, &Connect { level, ..Connect::new("stranger") });
        refused(&broker, &Connect { level, username: Some("root"), ..Connect::new("stranger") });
    }
    broker.serves();
    let log = broker.log();
    assert!(log.contains("its listener does not say anonymous = true"), "{log}");
}

#[test]
fn strangers_are_served_where_the_listener_says_so() {
    let broker = public("", "anonymous = true");
    stranger(&broker).connect("stranger");
}

#[test]
fn nobody_without_a_name_is_served_where_the_listener_says_so_even_on_loopback() {
    let broker = Broker::with_listener("anonymous = false");
    let mut raw = broker.raw();
    raw.send(&Connect::new("local").bytes());
    raw.expect(&connack(false, NOT_AUTHORIZED));
    raw.expect_closed();
}

#[test]
fn a_stranger_that_proves_who_it_is_is_served() {
    let broker = public(&user("ann", "pencil"), "");
    let mut raw = stranger(&broker);
    assert_eq!(Scram::new("ann", "pencil").log_in(&mut raw, "c"), 0);
    raw.expect_silence();
}
