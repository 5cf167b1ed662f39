//! MQTT.js (Node.js) and paho-mqtt (Python) over WebSocket, with and without TLS: all that they do over TCP.

use crate::clients::{SCENARIOS, V5_SCENARIOS, VERSIONS, run_at};
use crate::support::{Beside, Broker, Certificates, node, python};
use std::process::Command;
use tempfile::TempDir;

/// Runs every scenario of a client in every version over a transport; `added` is what it knows of 5.0.
fn all_scenarios(transport: &'static str, client: fn() -> Command, added: fn() -> Command) {
    let server = Server::start(transport);
    for version in VERSIONS {
        run_at(server.port(), server.reached_by(client()), version, &SCENARIOS);
    }
    run_at(server.port(), server.reached_by(added()), "5", &V5_SCENARIOS);
}

/// A broker beside a WebSocket, and what its clients need.
struct Server {
    broker: Broker,
    transport: &'static str,
    folder: TempDir,
}

impl Server {
    fn start(transport: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificates = Certificates::new(folder.path());
        std::fs::write(folder.path().join("authority.pem"), certificates.authority.pem()).expect("a file");
        let listener = if transport == "wss" { certificates.listener() } else { String::new() };
        let broker = Broker::beside(transport, 2, "[sys]\ninterval_s = 1", &listener);
        Self { broker, transport, folder }
    }

    fn port(&self) -> u16 {
        self.broker.beside.port()
    }

    /// Tells a client how to get there.
    fn reached_by(&self, mut command: Command) -> Command {
        command.env("TRANSPORT", self.transport).env("CA", self.folder.path().join("authority.pem"));
        command
    }
}

fn mqttjs(transport: &'static str) {
    all_scenarios(transport, || node("mqttjs_client.cjs"), || node("mqttjs_v5.cjs"));
}

fn paho(transport: &'static str) {
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

/// MQTT.js learns by the WebSocket's code what became of MQTT.
fn close_codes(transport: &'static str) {
    let mut server = Server::start(transport);
    let client = || server.reached_by(node("mqttjs_client.cjs"));
    for version in VERSIONS {
        run_at(server.port(), client(), version, &["close_codes"]);
    }
    let stay = VERSIONS.map(|version| {
        let mut client = client();
        client.args([&server.port().to_string(), version, "left_behind"]);
        Beside::ready(client)
    });
    server.broker.terminate();
    stay.into_iter().for_each(Beside::ends);
    assert!(server.broker.wait().success());
}

#[test]
fn pages_learn_from_the_close_whether_mqtt_refuses_them_or_the_broker_stops() {
    close_codes("ws");
}

#[test]
fn the_same_over_tls() {
    close_codes("wss");
}
