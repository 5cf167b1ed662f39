//! Runs of every kind against brokers that do well.

use crate::support::{Mosquitto, Pantala, load};
use std::net::SocketAddr;

const MESSAGES: u32 = 1_000;
const SHORT: &str = "--warmup 0 --messages 1000 --quiet 30";

/// Every shape, QoS and version: all messages get through and nothing is wrong.
fn gets_everything_through(broker: SocketAddr, through: &str) {
    // Publishers, subscribers, topics; how many get each message.
    for (publishers, subscribers, topics, each) in
        [(1, 20, 1, 20), (20, 1, 1, 1), (20, 20, 20, 1), (7, 9, 3, 3), (1, 1, 1, 1)]
    {
        for version in ["3.1", "3.1.1", "5"] {
            for qos in 0..3 {
                let arguments = format!(
                    "-p {publishers} -s {subscribers} -t {topics} -q {qos} -V {version} --inflight 50 {SHORT} {through}"
                );
                let result = load(broker, &arguments);
                result.is_well(MESSAGES * each);
                assert_eq!(result.number("published"), f64::from(MESSAGES));
            }
        }
    }
}

fn takes_payloads_of_all_sizes(broker: SocketAddr) {
    // In flight at once is less than what a broker keeps for a slow subscriber.
    for (payload, inflight, messages) in
        [(16, 9, 500), (17, 9, 500), (100, 9, 500), (20_000, 9, 100), (3_000_000, 1, 5)]
    {
        for qos in 0..3 {
            let arguments = format!(
                "-q {qos} -V 5 --payload {payload} --inflight {inflight} --warmup 0 --messages {messages} --quiet 30"
            );
            load(broker, &arguments).is_well(messages);
        }
    }
}

fn keeps_a_rate(broker: SocketAddr) {
    for qos in 0..3 {
        let result = load(broker, &format!("-p 10 -s 10 -t 10 -q {qos} --rate 5000 {SHORT}"));
        result.is_well(MESSAGES);
        let quantiles = ["p50", "p99", "p99_9", "max"];
        let latencies = quantiles.map(|quantile| result.number(&format!("latency_{quantile}_us")));
        assert!(latencies.is_sorted() && latencies[0] > 0.0, "{latencies:?}");
    }
}

/// Runs that last as long as they are told, warm-up and measurement of the broker's process included.
fn is_measured(broker: SocketAddr, pid: u32) {
    let result = load(broker, &format!("-s 3 --warmup 0.1 --duration 0.5 --pid {pid} --quiet 30"));
    assert_eq!((result.faults(), result.exit_code), (Vec::new(), Some(0)));
    assert!(result.number("seconds") >= 0.5);
    assert!(result.number("delivered_per_s") > 0.0);
    assert!(result.number("broker_cpu_us_per_delivery") > 0.0);
    assert!(result.number("broker_resident_bytes") > 100_000.0);
    assert!(result.number("own_cpu_cores") > 0.0);
}

fn keeps_idle_connections(broker: SocketAddr, pid: u32) {
    for arguments in ["", "--bare", "--keep-alive 1", "--sources 7 -V 5"] {
        let result = load(broker, &format!("--idle 50 --warmup 0.1 --duration 0.5 --pid {pid} {arguments}"));
        assert_eq!(result.exit_code, Some(0), "{}", result.error);
        assert_eq!(result.number("idle"), 50.0);
        assert!(result.number("seconds") >= 0.5);
        assert!(result.number("broker_cpu_percent") >= 0.0);
    }
}

/// Others have many filters, or do not read: those who are measured get everything.
fn serves_beside_bystanders(broker: SocketAddr) {
    let arguments = format!("run wide-trie --ballast 20500 --inflight 50 {SHORT}");
    load(broker, &arguments).is_well(MESSAGES);
    let arguments = format!("run slow-consumer --rate 5000 {SHORT}");
    load(broker, &arguments).is_well(10 * MESSAGES);
}

#[test]
fn pantala_serves_beside_bystanders() {
    serves_beside_bystanders(Pantala::start().address);
}

#[test]
fn mosquitto_serves_beside_bystanders() {
    if let Some(mosquitto) = Mosquitto::start() {
        serves_beside_bystanders(mosquitto.address);
    }
}

/// What is retained comes to everybody once, and is gone when the run is over.
fn gives_back_what_is_retained(broker: SocketAddr) {
    for qos in 0..3 {
        for version in ["3.1.1", "5"] {
            let arguments =
                format!("run retained --retained 500 -s 3 -q {qos} -V {version} --payload 20 --inflight 100");
            let result = load(broker, &arguments);
            assert_eq!(result.exit_code, Some(0), "{}", result.error);
            let counts =
                ["retained", "replayed", "lost", "duplicated", "stray"].map(|name| result.number(name));
            assert_eq!(counts, [500.0, 1_500.0, 0.0, 0.0, 0.0], "QoS {qos}, {version}");
            assert!(result.number("replayed_per_s") > 0.0 && result.number("stored_per_s") > 0.0);
        }
    }
}

#[test]
fn pantala_gives_back_what_is_retained() {
    gives_back_what_is_retained(Pantala::start().address);
}

#[test]
fn mosquitto_gives_back_what_is_retained() {
    if let Some(mosquitto) = Mosquitto::start() {
        gives_back_what_is_retained(mosquitto.address);
    }
}

#[test]
fn pantala_gets_everything_through() {
    gets_everything_through(Pantala::start().address, "");
}

#[test]
fn pantala_gets_everything_through_websockets() {
    let pantala = Pantala::start();
    gets_everything_through(pantala.web, "--websocket");
    for payload in [16, 110, 65_520, 1_000_000] {
        load(
            pantala.web,
            &format!("--websocket -q 1 --payload {payload} --warmup 0 --messages 20 --quiet 30"),
        )
        .is_well(20);
    }
    let refused = load(pantala.address, "--websocket --messages 1");
    assert_eq!(refused.exit_code, Some(2));
    assert!(refused.error.contains("the request for a WebSocket"), "{}", refused.error);
}

#[test]
fn every_message_to_a_shared_subscription_comes_once() {
    let pantala = Pantala::start();
    for qos in 0..=2 {
        let shared =
            format!("-p 20 -s 5 -t 20 --all-topics --share -q {qos} --inflight 8 --messages 2000 --warmup 0");
        load(pantala.address, &shared).is_well(2_000);
        let shared = format!("-p 4 -s 6 -t 2 --share -q {qos} --inflight 8 --messages 400 --warmup 0");
        load(pantala.address, &shared).is_well(400);
    }
}

#[test]
fn subscribers_to_all_topics_get_all_messages() {
    let pantala = Pantala::start();
    load(pantala.address, "-p 6 -s 3 -t 3 --all-topics -q 1 --messages 600 --warmup 0").is_well(1_800);
}

#[test]
fn a_scenario_is_run_with_what_is_said_otherwise() {
    let pantala = Pantala::start();
    let result = load(pantala.address, "run pairs-qos1 --messages 500 --warmup 0 --inflight 4");
    result.is_well(500);
    assert_eq!((result.number("publishers"), result.number("qos")), (50.0, 1.0));
}

#[test]
fn pantala_gets_everything_through_tls() {
    let pantala = Pantala::start();
    let trust = format!("--tls --ca {}", pantala.certificate.display());
    gets_everything_through(pantala.tls, &trust);
    load(pantala.tls, "--tls --insecure --no-resumption -s 20 --messages 100 --warmup 0").is_well(2_000);
    // Larger than what a socket, a record and what is received at once have room for.
    load(pantala.tls, &format!("{trust} -q 1 --payload 1000000 --warmup 0 --messages 20 --quiet 30"))
        .is_well(20);
    let wss = format!("{trust} --websocket -p 5 -s 5 -t 5 -q 2 --messages 500 --warmup 0");
    load(pantala.secure_web, &wss).is_well(500);
}

#[test]
fn a_certificate_that_nobody_trusts_is_told() {
    let pantala = Pantala::start();
    let other = Pantala::start();
    for (arguments, why) in [
        (format!("--tls --ca {}", other.certificate.display()), "invalid peer certificate"),
        ("--tls --ca nowhere".to_owned(), "nowhere: "),
        ("--tls".to_owned(), "--ca FILE"),
        (format!("--tls --ca {} --server-name elsewhere", pantala.certificate.display()), "elsewhere"),
    ] {
        let refused = load(pantala.tls, &format!("{arguments} --messages 1"));
        assert_eq!(refused.exit_code, Some(2), "{arguments}");
        assert!(refused.error.contains(why), "{arguments}: {}", refused.error);
    }
    let plain = load(pantala.address, "--tls --insecure --messages 1");
    assert_eq!(plain.exit_code, Some(2));
    assert!(plain.error.contains("the handshake of TLS"), "{}", plain.error);
}

#[test]
fn pantala_takes_payloads_of_all_sizes() {
    takes_payloads_of_all_sizes(Pantala::start().address);
}

#[test]
fn pantala_keeps_a_rate() {
    keeps_a_rate(Pantala::start().address);
}

#[test]
fn pantala_is_measured() {
    let broker = Pantala::start();
    is_measured(broker.address, std::process::id());
    keeps_idle_connections(broker.address, std::process::id());
}

#[test]
fn mosquitto_gets_everything_through_at_a_rate_and_measured() {
    let Some(broker) = Mosquitto::start() else { return };
    gets_everything_through(broker.address, "");
    takes_payloads_of_all_sizes(broker.address);
    keeps_a_rate(broker.address);
    is_measured(broker.address, broker.pid());
    keeps_idle_connections(broker.address, broker.pid());
}
