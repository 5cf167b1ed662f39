//! paho-mqtt (Python) and MQTT.js (Node.js): each scenario of `tests/clients`, in each version of the protocol.

use crate::support::{Beside, Broker, Raw, mqttjs, paho};
use std::process::Command;

const SCENARIOS: [&str; 9] =
    ["qos", "retained", "will", "persistent", "wildcards", "system", "large", "take_over", "pings"];
const VERSIONS: [&str; 3] = ["3.1", "3.1.1", "5"];

fn all_scenarios(mut client: Command, version: &str) {
    let broker = Broker::with("[sys]\ninterval_s = 1");
    client.args([&broker.port().to_string(), version]).args(SCENARIOS);
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
