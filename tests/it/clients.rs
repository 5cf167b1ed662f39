//! paho-mqtt (Python) and MQTT.js (Node.js): each scenario of `tests/clients`, in each version of the protocol.

use crate::support::{Broker, publish};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const SCENARIOS: [&str; 7] = ["qos", "retained", "will", "persistent", "wildcards", "large", "take_over"];
const VERSIONS: [&str; 3] = ["3.1", "3.1.1", "5"];

fn installed(name: &str) -> PathBuf {
    // Below the folder that cargo builds into: target/debug/pantala leads there.
    let target =
        std::path::Path::new(env!("CARGO_BIN_EXE_pantala")).ancestors().nth(2).expect("a target folder");
    let path = target.join(name);
    assert!(path.exists(), "{} is missing; run tests/run, which installs it", path.display());
    path
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn paho() -> Command {
    let mut command = Command::new(installed("venv/bin/python3"));
    command.arg(script("paho_client.py"));
    command
}

fn mqttjs() -> Command {
    let mut command = Command::new("node");
    command.arg(script("mqttjs_client.cjs")).env("NODE_PATH", installed("node/node_modules"));
    command
}

fn all_scenarios(client: fn() -> Command, version: &str) {
    let broker = Broker::start();
    for scenario in SCENARIOS {
        let output = client()
            .args([&broker.port().to_string(), version, scenario])
            .output()
            .expect("the client's interpreter is there; run tests/run, which installs it");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{version} {scenario}: {error}");
    }
}

#[test]
fn paho_3_1() {
    all_scenarios(paho, VERSIONS[0]);
}

#[test]
fn paho_3_1_1() {
    all_scenarios(paho, VERSIONS[1]);
}

#[test]
fn paho_5() {
    all_scenarios(paho, VERSIONS[2]);
}

#[test]
fn mqttjs_3_1() {
    all_scenarios(mqttjs, VERSIONS[0]);
}

#[test]
fn mqttjs_3_1_1() {
    all_scenarios(mqttjs, VERSIONS[1]);
}

#[test]
fn mqttjs_5() {
    all_scenarios(mqttjs, VERSIONS[2]);
}

#[test]
fn clients_of_every_kind_and_version_understand_each_other() {
    for client in [paho, mqttjs] {
        for version in VERSIONS {
            let broker = Broker::start();
            let mut server = client()
                .args([&broker.port().to_string(), version, "serve"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("the client's interpreter is there; run tests/run, which installs it");
            let mut line = String::new();
            BufReader::new(server.stdout.take().expect("is piped")).read_line(&mut line).expect("text");
            assert_eq!(line.trim(), "ready");
            let mut asker = broker.raw();
            asker.connect("asker");
            asker.subscribe("answer/#", 2);
            for (qos, question) in [(0, "zero"), (1, "one"), (2, "two"), (1, "stop")] {
                let id = (qos > 0).then_some(9);
                asker.send(&publish(qos << 1, "ask/x", id, question.as_bytes()));
                let mut answered = false;
                while !answered {
                    let packet = asker.packet();
                    match packet[0] & 0xf0 {
                        0x50 => asker.send(&[0x62, 2, packet[2], packet[3]]),
                        0x30 => {
                            assert_eq!(packet[0] >> 1 & 3, qos);
                            assert!(packet.ends_with(question.as_bytes()));
                            answered = true;
                            let at = packet.len() - question.len() - 2;
                            match qos {
                                1 => asker.send(&[0x40, 2, packet[at], packet[at + 1]]),
                                2 => asker.send(&[0x50, 2, packet[at], packet[at + 1]]),
                                _ => {}
                            }
                        }
                        0x60 => asker.send(&[0x70, 2, packet[2], packet[3]]),
                        _ => {}
                    }
                }
            }
            assert!(server.wait().expect("it ends").success());
        }
    }
}
