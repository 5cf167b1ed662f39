//! paho-mqtt and gmqtt (Python), MQTT.js (Node.js) and Paho's C client: each scenario of `tests/clients`, in each version
//! of the protocol, and what 5.0 added.

use crate::support::{Beside, Broker, Compiled, Raw, node, python};
use crate::{rumqttc, rumqttc_v5};
use std::process::Command;
use std::thread;

pub(crate) const SCENARIOS: [&str; 9] =
    ["qos", "retained", "will", "persistent", "wildcards", "system", "large", "take_over", "pings"];
/// What 5.0 added, as clients see it.
pub(crate) const V5_SCENARIOS: [&str; 11] = [
    "message_properties",
    "request_and_response",
    "subscription_options",
    "shared",
    "aliases",
    "receive_maximum",
    "maximum_packet_size",
    "reason_codes",
    "assigned_id",
    "session_expiry",
    "wills",
];
pub(crate) const VERSIONS: [&str; 3] = ["3.1", "3.1.1", "5"];

fn paho() -> Command {
    python("paho_client.py")
}

fn mqttjs() -> Command {
    node("mqttjs_client.cjs")
}

fn all_scenarios(client: Command, version: &str) {
    run(client, &Broker::with("[sys]\ninterval_s = 1"), version, &SCENARIOS);
}

fn run(client: Command, broker: &Broker, version: &str, scenarios: &[&str]) {
    run_at(broker.port(), client, version, scenarios);
}

/// The same, on whichever port.
pub(crate) fn run_at(port: u16, mut client: Command, version: &str, scenarios: &[&str]) {
    client.args([&port.to_string(), version]).args(scenarios);
    let output = client.output().expect("the client starts");
    assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn paho_3_1() {
    all_scenarios(paho(), VERSIONS[0]);
}

#[test]
fn paho_3_1_1() {
    all_scenarios(paho(), VERSIONS[1]);
}

#[test]
fn paho_5() {
    all_scenarios(paho(), VERSIONS[2]);
}

#[test]
fn mqttjs_3_1() {
    all_scenarios(mqttjs(), VERSIONS[0]);
}

#[test]
fn mqttjs_3_1_1() {
    all_scenarios(mqttjs(), VERSIONS[1]);
}

#[test]
fn mqttjs_5() {
    all_scenarios(mqttjs(), VERSIONS[2]);
}

#[test]
fn paho_with_what_5_0_added() {
    let broker = Broker::start();
    run(python("paho_v5.py"), &broker, "5", &V5_SCENARIOS);
    run(python("paho_v5.py"), &broker, "5", &["take_over_is_told"]);
}

#[test]
fn mqttjs_with_what_5_0_added() {
    let broker = Broker::start();
    run(node("mqttjs_v5.cjs"), &broker, "5", &V5_SCENARIOS);
    run(node("mqttjs_v5.cjs"), &broker, "5", &["refused"]);
}

fn gmqtt(version: &str, scenarios: &[&str]) {
    run(python("gmqtt_client.py"), &Broker::start(), version, scenarios);
}

#[test]
fn gmqtt_3_1_1() {
    gmqtt("3.1.1", &["qos", "retained", "will", "persistent"]);
}

#[test]
fn gmqtt_5() {
    gmqtt("5", &["qos", "retained", "will", "persistent"]);
    let added = [
        "message_properties",
        "subscription_options",
        "shared",
        "aliases",
        "receive_maximum",
        "reason_codes",
        "session_expiry",
        "wills",
    ];
    gmqtt("5", &added);
}

fn paho_c() -> Compiled {
    Compiled::new("paho_c", "paho-mqtt3c")
}

#[test]
fn the_c_client_in_every_version() {
    let (client, broker) = (paho_c(), Broker::start());
    for version in VERSIONS {
        run(client.command(), &broker, version, &["qos", "retained", "will", "persistent", "large"]);
    }
}

#[test]
fn the_c_client_with_what_5_0_added() {
    let scenarios = [
        "message_properties",
        "subscription_options",
        "shared",
        "aliases",
        "maximum_packet_size",
        "reason_codes",
        "goodbyes",
    ];
    run(paho_c().command(), &Broker::start(), "5", &scenarios);
}

#[test]
fn clients_are_told_what_a_broker_does_without() {
    let settings = "[mqtt]
        qos_max = 1
        retain = false
        wildcard_subscriptions = false
        subscription_ids = false
        shared_subscriptions = false
        topic_alias_max = 0";
    let broker = Broker::with(settings);
    run(python("paho_v5.py"), &broker, "5", &["limited"]);
    run(node("mqttjs_v5.cjs"), &broker, "5", &["limited"]);
}

/// The example of RFC 7677: `user` with the password `pencil`.
const USER: &str = "[[user]]
name = \"user\"
scram_sha_256 = \"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\"\n";

#[test]
fn mqttjs_authenticates_and_re_authenticates_with_scram() {
    run(node("mqttjs_v5.cjs"), &Broker::with(USER), "5", &["scram"]);
}

/// Stops one client of each version, whose sockets stay open: their wills come once their keep-alive has passed.
fn falls_silent(client: fn() -> Command) {
    let broker = Broker::start();
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("will/mortal", 0);
    let port = broker.port().to_string();
    let mortals = VERSIONS.map(|version| {
        let mut command = client();
        command.args([&port, version, "mortal"]);
        Beside::ready(command)
    });
    mortals.iter().for_each(Beside::freeze);
    let mut wills = VERSIONS.map(|_| String::from_utf8_lossy(&payload(&mut watcher)).into_owned());
    wills.sort();
    assert_eq!(wills, VERSIONS);
    assert_eq!(broker.log().matches("why=KeepAlive").count(), VERSIONS.len());
}

/// The payload of the next message, a QoS 0 one on `will/mortal`.
fn payload(raw: &mut Raw) -> Vec<u8> {
    raw.packet().split_off(2 + 2 + "will/mortal".len())
}

#[test]
fn paho_is_disconnected_when_it_falls_silent_mqtt_3_1_2_24() {
    falls_silent(paho);
}

#[test]
fn mqttjs_is_disconnected_when_it_falls_silent_mqtt_3_1_2_24() {
    falls_silent(mqttjs);
}

/// Each passes on what it gets, so every message is sent by every client in every version, and read by another one.
#[test]
fn a_message_goes_through_every_client_in_every_version() {
    let (broker, c) = (Broker::start(), paho_c());
    let new: [&dyn Fn() -> Command; 4] = [&paho, &mqttjs, &|| python("gmqtt_client.py"), &|| c.command()];
    let mut hops = Vec::new();
    for (at, client) in new.iter().enumerate() {
        // gmqtt does not know 3.1.
        let versions = VERSIONS.into_iter().filter(|version| (at, *version) != (2, "3.1"));
        hops.extend(versions.map(|version| (client(), version)));
    }
    let count = hops.len();
    let relays: Vec<_> = (0..)
        .zip(hops)
        .map(|(hop, (mut client, version))| {
            client.args([&broker.port().to_string(), version, &format!("relay={hop}")]);
            thread::spawn(|| Beside::ready(client))
        })
        .collect();
    let relays: Vec<_> = relays.into_iter().map(|relay| relay.join().expect("it starts")).collect();
    let (first, _) = rumqttc::Talker::new(&broker, "first", |_| {}).connected();
    let last = rumqttc_v5::Talker::with(&broker, "last", |options| {
        options.set_max_packet_size(Some(1 << 20));
    });
    let end = format!("hop/{count}");
    last.subscribe(&end, rumqttc_v5::LEVELS[2]);
    let large = "grüße".repeat(10_000);
    for payload in ["", "small", &large] {
        for (from, to) in rumqttc::LEVELS.into_iter().zip(rumqttc_v5::LEVELS) {
            first.publish("hop/0", from, false, payload.as_bytes());
            last.expect(&end, payload.as_bytes(), to, false);
        }
    }
    first.publish("hop/0", rumqttc::LEVELS[2], false, b"stop");
    last.expect(&end, b"stop", rumqttc_v5::LEVELS[2], false);
    relays.into_iter().for_each(Beside::ends);
}
