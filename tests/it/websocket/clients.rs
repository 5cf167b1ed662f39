//! MQTT.js (Node.js) and paho-mqtt (Python) over WebSocket, with and without TLS: all that they do over TCP.

use crate::clients::{SCENARIOS, V5_SCENARIOS, VERSIONS, run_at};
use crate::support::{Broker, Certificates, node, python};
use std::process::Command;

/// Runs every scenario of a client in every version over a transport; `added` is what it knows of 5.0.
fn all_scenarios(transport: &str, client: fn() -> Command, added: fn() -> Command) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certificates = Certificates::new(folder.path());
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, certificates.authority.pem()).expect("a file");
    let listener = if transport == "wss" { certificates.listener() } else { String::new() };
    let broker = Broker::beside(transport, 2, "[sys]\ninterval_s = 1", &listener);
    let on_transport = |mut command: Command| {
        command.env("TRANSPORT", transport).env("CA", &authority);
        command
    };
    for version in VERSIONS {
        run_at(broker.beside.port(), on_transport(client()), version, &SCENARIOS);
    }
    run_at(broker.beside.port(), on_transport(added()), "5", &V5_SCENARIOS);
}

fn mqttjs(transport: &str) {
    all_scenarios(transport, || node("mqttjs_client.cjs"), || node("mqttjs_v5.cjs"));
}

fn paho(transport: &str) {
    all_scenarios(transport, || python("paho_client.py"), || python("paho_v5.py"));
}

#[test]
fn mqttjs_over_websocket() {
    mqttjs("ws");
}

#[test]
fn mqttjs_over_websocket_and_tls() {
    mqttjs("wss");
}

#[test]
fn paho_over_websocket() {
    paho("ws");
}

#[test]
fn paho_over_websocket_and_tls() {
    paho("wss");
}
