//! What a listener lets in besides, and whom it keeps out: UNIX sockets, load balancers, networks, numbers.

use crate::support::{Broker, Connect, Raw, connack, publish, until};
use ppp::v2::{Builder, Command, Protocol, Version};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

#[test]
fn a_unix_socket_has_its_mode_and_its_clients_meet_those_of_tcp() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("mqtt");
    let listeners = format!(
        "[[listener]]\nurl = \"unix://{}\"\nmode = \"600\"\n[[listener]]\nurl = \"tcp://127.0.0.1:0\"\n",
        path.display()
    );
    let broker = Broker::with_listener(&listeners);
    let stat = std::fs::metadata(&path).expect("a socket");
    assert_eq!(stat.mode() & 0o777, 0o600);
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("local", 0);
    let mut local = UnixStream::connect(&path).expect("it listens");
    local.write_all(&Connect::new("local").bytes()).expect("it is taken");
    let mut answer = connack(true, 1);
    local.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, connack(false, 0));
    local.write_all(&publish(0, "local", None, b"here")).expect("it is taken");
    watcher.expect(&publish(0, "local", None, b"here"));
    broker.stop();
    assert!(!path.exists(), "it goes with the broker");
}

/// A connection that a load balancer opened for this client.
fn behind(broker: &Broker, client: &str) -> Raw {
    let mut raw = broker.raw();
    raw.send(format!("PROXY TCP4 {client} 198.51.100.1 1000 1883\r\n").as_bytes());
    raw
}

#[test]
fn a_trusted_balancer_says_for_whom_it_connects_and_nobody_else_does() {
    let broker = Broker::with_listener(
        "proxy_protocol_from = [\"127.0.0.1\"]\ndeny = [\"192.0.2.66\"]\n[[listener]]\nurl = \"tcp://127.0.0.1:0\"\n",
    );
    behind(&broker, "192.0.2.7").connect("behind");
    until("it is named", || broker.log().contains("peer=192.0.2.7:1000"));
    behind(&broker, "192.0.2.66").expect_closed();
    // From there nothing but a header comes first,
    let mut bare = broker.raw();
    bare.send(&Connect::new("bare").bytes());
    bare.expect_closed();
    // and nobody else's header counts.
    let mut forged = Raw::open(broker.beside);
    forged.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 1000 1883\r\n");
    forged.expect_closed();
    Raw::open(broker.beside).connect("plain");
}

/// A header of version 2 of a balancer that has checked this certificate's common name, or says that it has not.
fn with_certificate(name: &str, checked: bool) -> Vec<u8> {
    let (ssl, common_name, with_certificate) = (0x20u8, 0x22, 3);
    let addresses: (SocketAddr, SocketAddr) =
        ("192.0.2.7:1000".parse().expect("one"), "198.51.100.1:1883".parse().expect("one"));
    let mut value = vec![with_certificate, 0, 0, 0, u8::from(!checked), common_name];
    value.extend(u16::try_from(name.len()).expect("short").to_be_bytes());
    value.extend(name.as_bytes());
    let header = Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses);
    header.write_tlv(ssl, &value[..]).and_then(Builder::build).expect("a header")
}

#[test]
fn a_balancer_that_has_checked_a_certificate_says_who_its_client_is() {
    let broker =
        Broker::with_listener("proxy_protocol_from = [\"127.0.0.1\"]\nusername_from_cert = \"cn\"\n");
    let behind = |header: &[u8], id: &str| {
        let mut raw = broker.raw();
        raw.send(&[header, &Connect { username: Some("forged"), ..Connect::new(id) }.bytes()].concat());
        raw.expect(&connack(false, 0));
    };
    behind(&with_certificate("device-7", true), "checked");
    until("it is who the certificate says", || {
        broker.log().contains("user=\"device-7\" client_id=\"checked\"")
    });
    behind(&with_certificate("device-8", false), "unchecked");
    until("it is there", || broker.log().contains("client_id=\"unchecked\""));
    assert!(!broker.log().contains("device-8"), "{}", broker.log());
}

#[test]
fn a_balancer_that_looks_after_its_own_health_comes_as_itself() {
    let broker = Broker::with_listener("proxy_protocol_from = [\"127.0.0.1\"]\n");
    let local = Builder::new(Version::Two as u8 | Command::Local as u8, 0).build().expect("a header");
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), local] {
        let mut raw = broker.raw();
        let own = raw.0.local_addr().expect("it is connected");
        raw.send(&header);
        raw.connect("health");
        until("it is named", || broker.log().contains(&format!("peer={own}")));
    }
}

#[test]
fn a_full_listener_closes_who_comes_and_has_room_again_when_one_leaves() {
    let broker = Broker::with_listener("connections_max = 2\n");
    let mut inside = ["a", "b"].map(|id| {
        let mut raw = broker.raw();
        raw.connect(id);
        raw
    });
    broker.raw().expect_closed();
    until("it is logged", || broker.log().contains("more connections on its listener than connections_max"));
    inside[0].send(&[0xe0, 0]);
    inside[0].expect_closed();
    until("there is room", || {
        let mut raw = broker.raw();
        // It may be closed before it is sent.
        let _ = raw.0.write_all(&Connect::new("c").bytes());
        raw.0.read_exact(&mut [0; 4]).is_ok()
    });
}

#[test]
fn nobody_of_another_network_than_the_allowed_ones_comes_in() {
    let broker =
        Broker::with_listener("allow = [\"192.0.2.0/24\"]\n[[listener]]\nurl = \"tcp://127.0.0.1:0\"\n");
    broker.raw().expect_closed();
    until("it is logged", || broker.log().contains("its address is not in allow of its listener"));
    Raw::open(broker.beside).connect("elsewhere");
}
