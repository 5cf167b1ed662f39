//! Queues that fill and drain, over and over: disk and memory are to stay flat.
//!
//! `CHURN_SECONDS=300 cargo test --test churn -- --nocapture` prints where it puts the samples, one a second as CSV, and a
//! plot of them as SVG. Plain `cargo test` fills and drains each queue once.

#![expect(
    clippy::disallowed_methods,
    reason = "a sample is for a moment, and a run is as long as it is told to be"
)]

#[path = "churn/plot.rs"]
mod plot;
#[path = "churn/samples.rs"]
mod samples;

#[path = "powercut/client.rs"]
#[allow(dead_code, reason = "not all of a client is needed here")]
mod client;

use client::{Client, Heard};
use pantala::codec::{Packet, Version};
use pantala::types::{PacketId, QoS};
use samples::{Sample, Sampler};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take. A bound for what never comes, not a measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Clients that sleep and wake.
const CLIENTS: usize = 4;
/// Messages that a queue gets before it is drained.
const MESSAGES: u64 = 4_000;
const PAYLOAD: usize = 256;
/// Messages on their way to the broker at a time.
const WINDOW: u16 = 256;
/// From this many samples on the second half of them is held against the first.
const ENOUGH: usize = 60;

struct Broker {
    process: Child,
    address: SocketAddr,
}

impl Broker {
    fn start(data: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_pantala"))
            .args(["--shards", "2", "--log", "warn", "--listen", "tcp://127.0.0.1:0", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut ready = String::new();
        let mut out = BufReader::new(process.stdout.take().expect("is piped"));
        out.read_line(&mut ready).expect("a line, or the end");
        let address =
            ready.trim().strip_prefix("listening on tcp://").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no ready line but {ready:?}"));
        Self { process, address }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wake(address: SocketAddr, number: usize) -> (Client, bool) {
    Client::connect(address, &format!("sleeper-{number}"), Version::V311, false)
}

/// QoS 1 and QoS 2 in turn.
fn qos(number: usize) -> QoS {
    if number.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce }
}

/// Publishes to a sleeping client, and waits until all of it is acknowledged.
fn fill(publisher: &mut Client, number: usize) {
    let (topic, qos, payload) = (format!("churn/{number}"), qos(number), [b'.'; PAYLOAD]);
    let mut free: Vec<PacketId> = (1..=WINDOW).filter_map(PacketId::new).collect();
    let (mut sent, mut done) = (0, 0);
    while done < MESSAGES {
        while sent < MESSAGES
            && let Some(id) = free.pop()
        {
            publisher.publish(false, qos, false, &topic, id, &payload);
            sent += 1;
        }
        match publisher.hear() {
            Heard::PubRec(id) => publisher.acknowledge(Packet::PubRel, id),
            Heard::PubAck(id) | Heard::PubComp(id) => {
                free.push(id);
                done += 1;
            }
            other => panic!("the publisher got {other:?}"),
        }
    }
}

/// Wakes a client, which takes everything.
fn drain(address: SocketAddr, number: usize) {
    let (mut client, present) = wake(address, number);
    assert!(present, "the session of sleeper {number} is gone");
    let (mut came, mut done) = (0, 0);
    while done < MESSAGES {
        match client.hear() {
            Heard::Publish { qos: QoS::AtLeastOnce, id: Some(id), .. } => {
                client.acknowledge(Packet::PubAck, id);
                done += 1;
            }
            Heard::Publish { id: Some(id), .. } => {
                client.acknowledge(Packet::PubRec, id);
                came += 1;
                assert!(came <= MESSAGES, "more came than was sent");
            }
            Heard::PubRel(id) => {
                client.acknowledge(Packet::PubComp, id);
                done += 1;
            }
            other => panic!("sleeper {number} got {other:?}"),
        }
    }
    // The last acknowledgements are taken before this is answered.
    client.say(&Packet::PingReq);
    assert_eq!(client.hear(), Heard::PingResp);
}

#[test]
fn disk_and_memory_stay_flat_while_queues_fill_and_drain() {
    let seconds = std::env::var("CHURN_SECONDS").map_or(0, |text| text.parse().expect("a number of seconds"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let broker = Broker::start(&data);
    for number in 0..CLIENTS {
        let (mut client, _) = wake(broker.address, number);
        client.subscribe(&format!("churn/{number}"), qos(number));
    }
    let (mut publisher, _) = Client::connect(broker.address, "publisher", Version::V311, false);
    let sampler = Sampler::start(&data, broker.process.id());
    let (start, mut rounds) = (Instant::now(), 0_u64);
    while rounds == 0 || start.elapsed() < Duration::from_secs(seconds) {
        (0..CLIENTS).for_each(|number| fill(&mut publisher, number));
        (0..CLIENTS).for_each(|number| drain(broker.address, number));
        rounds += 1;
    }
    let samples = sampler.stop();
    let messages = rounds * MESSAGES * CLIENTS as u64;
    report(&samples, messages);
    if samples.len() >= ENOUGH {
        let (first, second) = samples.split_at(samples.len() / 2);
        for (what, of) in samples::SERIES {
            let most = |samples: &[Sample]| samples.iter().map(of).max().unwrap_or_default();
            let (before, after) = (most(first), most(second));
            assert!(after <= before + before / 4, "{what} grew from {before} to {after} bytes");
        }
    }
}

fn report(samples: &[Sample], messages: u64) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (csv, svg) = (folder.join("churn.csv"), folder.join("churn.svg"));
    std::fs::write(&csv, samples::csv(samples)).expect("room");
    std::fs::write(&svg, plot::svg(samples)).expect("room");
    println!("{messages} messages queued and drained");
    for (what, of) in samples::SERIES {
        let mib = |bytes: u64| bytes / (1 << 20);
        let all = samples.iter().map(of);
        let (first, last) = (samples.first().map_or(0, of), samples.last().map_or(0, of));
        let most = all.max().unwrap_or_default();
        println!("{what}: {} MiB at the start, {} at the end, {} at most", mib(first), mib(last), mib(most));
    }
    println!("{}\n{}", csv.display(), svg.display());
}
