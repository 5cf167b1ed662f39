//! Handshakes that begin and do not end: others are served meanwhile.

use super::site::{Site, s_client};
use crate::support::{Broker, PATIENCE, Raw, until};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::Read;
use std::sync::Arc;

/// What a client says first.
fn hello(site: &Site) -> Vec<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(site.authority.cert.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a good configuration");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory");
    hello
}

/// A client that gets no further than the first so many bytes.
fn half_open(broker: &Broker, said: &[u8]) -> Raw {
    let mut raw = Raw::open(broker.beside);
    raw.send(said);
    raw
}

#[track_caller]
fn serves_tls(broker: &Broker, site: &Site) {
    let ca = site.path("ca.pem").display().to_string();
    s_client(broker, &["-CAfile", &ca]).is_served();
}

#[test]
fn handshakes_that_do_not_go_on_keep_nobody_out() {
    let site = Site::new();
    let broker = Broker::beside("tls", 2, "", &site.listener());
    let hello = hello(&site);
    let silent: Vec<_> = (0..200).map(|n| half_open(&broker, &hello[..hello.len() * (n % 5) / 4])).collect();
    serves_tls(&broker, &site);
    broker.serves();
    drop(silent);
    serves_tls(&broker, &site);
}

#[test]
fn a_handshake_that_takes_too_long_is_ended_and_named() {
    let site = Site::new();
    let broker = Broker::beside("tls", 2, "", &(site.listener() + "handshake_timeout_ms = 100\n"));
    let hello = hello(&site);
    for said in [&hello[..0], &hello[..7], &hello[..]] {
        let mut raw = half_open(&broker, said);
        raw.0.read_to_end(&mut Vec::new()).expect("it is closed");
    }
    let said = "TLS handshake not done within handshake_timeout_ms";
    until("all are named", || broker.log().matches(said).count() == 3);
    serves_tls(&broker, &site);
}

#[test]
fn past_the_bound_connections_wait_until_others_are_done() {
    let site = Site::new();
    let few = "handshakes_max = 3\nhandshake_timeout_ms = 1_000\n";
    let broker = Broker::beside("tls", 1, "", &(site.listener() + few));
    let hello = hello(&site);
    let silent: Vec<_> = (0..12).map(|_| half_open(&broker, &hello[..9])).collect();
    // Those on the plain listener do not wait.
    broker.serves();
    // This one waits behind all of them, three at a time.
    serves_tls(&broker, &site);
    for mut raw in silent {
        raw.0.read_to_end(&mut Vec::new()).expect("it is closed");
    }
}

#[test]
fn a_handshake_in_small_pieces_is_served() {
    let site = Site::new();
    let broker = Broker::beside("tls", 1, "", &site.listener());
    let hello = hello(&site);
    let mut raw = Raw::open(broker.beside);
    hello.chunks(3).for_each(|piece| raw.send(piece));
    let mut answer = [0; 3];
    raw.0.set_read_timeout(Some(PATIENCE)).expect("a live socket");
    raw.0.read_exact(&mut answer).expect("an answer");
    // A handshake record, as every version since 1.0 begins it.
    assert_eq!(answer, [22, 3, 3]);
}

#[test]
fn bytes_that_are_not_tls_are_answered_with_an_alert_and_named() {
    let site = Site::new();
    let broker = Broker::beside("tls", 2, "", &site.listener());
    let mut raw = Raw::open(broker.beside);
    raw.send(&crate::support::Connect::new("plain").bytes());
    let mut answer = Vec::new();
    raw.0.read_to_end(&mut answer).expect("it is closed");
    assert_eq!(answer.first(), Some(&21), "an alert");
    until("it is logged", || broker.log().contains("closed before CONNECT: TLS: received corrupt message"));
}
