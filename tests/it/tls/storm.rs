//! Thousands of clients that come back at once, and what others notice of it. No part of `tests/run`:
//!
//!     cargo test --release --test it -- --ignored --nocapture tls::storm

use super::site::Site;
use crate::support::{Broker, Connect, Raw, connack, publish};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 2_000;
const THREADS: usize = 8;
/// Between two messages of a bystander.
const PACE: Duration = Duration::from_millis(2);

type Secret = StreamOwned<ClientConnection, TcpStream>;

/// A configuration for each client, with a place for its own ticket.
fn configs(site: &Site) -> Vec<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(site.authority.cert.der().clone()).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let own = |mut config: ClientConfig| {
        config.resumption = Resumption::in_memory_sessions(2);
        Arc::new(config)
    };
    (0..CLIENTS).map(|_| own(config.clone())).collect()
}

/// All clients begin their handshakes, and only then go on with them.
fn storm(broker: &Broker, configs: &[Arc<ClientConfig>], kind: HandshakeKind) -> Vec<Secret> {
    let address = broker.beside;
    let share = |configs: &[Arc<ClientConfig>]| -> Vec<Secret> {
        let begin = |config: &Arc<ClientConfig>| {
            let name = ServerName::try_from("localhost").expect("a name");
            let tls = ClientConnection::new(Arc::clone(config), name).expect("a good configuration");
            let mut secret = StreamOwned::new(tls, Raw::open(address).0);
            secret.conn.write_tls(&mut secret.sock).expect("the broker takes it");
            secret
        };
        let mut begun: Vec<_> = configs.iter().map(begin).collect();
        for secret in &mut begun {
            let id = format!("storm-{}", secret.sock.local_addr().expect("a live socket").port());
            secret.write_all(&Connect::new(&id).bytes()).expect("the broker takes it");
            let mut answer = [0; 4];
            secret.read_exact(&mut answer).expect("an answer");
            assert_eq!(answer, connack(false, 0));
            assert_eq!(secret.conn.handshake_kind(), Some(kind));
        }
        begun
    };
    thread::scope(|scope| {
        let chunks = configs.chunks(CLIENTS.div_ceil(THREADS));
        let threads: Vec<_> = chunks.map(|configs| scope.spawn(move || share(configs))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("all are served")).collect()
    })
}

/// What a plain pair of clients sees of each other while something else goes on.
fn bystanders<T>(broker: &Broker, what: &str, during: impl FnOnce() -> T) -> T {
    let (mut publisher, mut subscriber) = (broker.raw(), broker.raw());
    publisher.connect("publisher");
    subscriber.connect("subscriber");
    subscriber.subscribe("tick", 0);
    let over = AtomicBool::new(false);
    let (started, clock) = (Instant::now(), Instant::now());
    let (done, mut latencies) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) || count < 500 {
                let due = PACE * count;
                thread::sleep(due.saturating_sub(clock.elapsed()));
                // Counted from when it should have been sent.
                let stamp = u64::try_from(due.as_micros()).expect("no years").to_be_bytes();
                publisher.send(&publish(0, "tick", None, &stamp));
                count += 1;
            }
            publisher.send(&publish(0, "tick", None, &u64::MAX.to_be_bytes()));
            count
        });
        let receiver = scope.spawn(move || {
            let mut latencies = Vec::new();
            loop {
                let packet = subscriber.packet();
                let stamp = packet.last_chunk().map(|stamp| u64::from_be_bytes(*stamp)).expect("a stamp");
                if stamp == u64::MAX {
                    return latencies;
                }
                latencies.push(clock.elapsed() - Duration::from_micros(stamp));
            }
        });
        let done = during();
        let took = started.elapsed();
        over.store(true, Ordering::Relaxed);
        let (sent, latencies) = (sender.join().expect("sent"), receiver.join().expect("received"));
        assert_eq!(latencies.len(), sent as usize, "none is lost");
        println!("{what}: {took:?}");
        (done, latencies)
    });
    latencies.sort_unstable();
    let at = |part: usize| latencies[(latencies.len() - 1) * part / 1_000];
    println!("  others' messages: p50 {:?}, p99 {:?}, p99.9 {:?}", at(500), at(990), at(999));
    done
}

/// Bytes of memory and of CPU time in microseconds that the broker has taken.
fn taken(broker: &Broker) -> (usize, u64) {
    let read = |name: &str| {
        std::fs::read_to_string(format!("/proc/{}/{name}", broker.pid().as_raw_nonzero())).expect("it runs")
    };
    let status = read("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let resident = resident.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10;
    let tasks = std::fs::read_dir(format!("/proc/{}/task", broker.pid().as_raw_nonzero())).expect("it runs");
    let spent = tasks.map(|task| {
        let file = task.expect("a thread").path().join("schedstat");
        let text = std::fs::read_to_string(file).expect("it runs");
        text.split(' ').next().and_then(|spent| spent.parse::<u64>().ok()).expect("a number")
    });
    (resident, spent.sum::<u64>() / 1_000)
}

#[test]
#[ignore = "takes the machine for itself; its header says how to run it"]
fn two_thousand_clients_that_reconnect_at_once_are_served_and_so_are_others() {
    let site = Site::new();
    let broker = Broker::beside("tls", 1, "", &site.listener());
    bystanders(&broker, "quiet", || ());
    let configs = configs(&site);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let before = taken(&broker);
        let clients = bystanders(&broker, &format!("{CLIENTS} {kind:?}"), || storm(&broker, &configs, kind));
        let after = taken(&broker);
        let each = |total: u64| total / CLIENTS as u64;
        println!(
            "  {} us of the broker's CPU and {} resident bytes each",
            each(after.1 - before.1),
            each(after.0.saturating_sub(before.0) as u64)
        );
        drop(clients);
    }
}
