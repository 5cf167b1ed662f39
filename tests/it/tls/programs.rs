//! Mosquitto's clients, paho-mqtt and MQTT.js, with the certificates that they need, and without.

use super::site::{Site, broker};
use crate::clients::{SCENARIOS, V5_SCENARIOS, VERSIONS, run_at};
use crate::support::{Broker, node, publish, python};
use std::process::{Command, Output};

/// One of mosquitto's clients, that trusts this authority.
fn mosquitto(program: &str, broker: &Broker, site: &Site, authority: &str, more: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["30", program, "-h", "localhost", "-p", &broker.beside.port().to_string(), "--cafile"]);
    command.arg(site.path(authority)).args(more);
    command
}

/// The arguments for a client's certificate.
fn certificate(site: &Site, name: &str) -> [String; 4] {
    let path = |end| site.path(&format!("{name}.{end}")).display().to_string();
    ["--cert".to_owned(), path("pem"), "--key".to_owned(), path("key")]
}

fn done(mut command: Command) -> Output {
    command.output().expect("mosquitto's clients are there; run tests/run, which installs them")
}

fn succeeds(command: Command) {
    let output = done(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn fails(command: Command) {
    let output = done(command);
    // 124 is how `timeout` says that the client waited for ever.
    assert!(!matches!(output.status.code(), Some(0 | 124)), "{:?}", output.status);
}

#[test]
fn mosquitto_publishes_and_subscribes_over_tls() {
    let site = Site::new();
    let broker = broker(&site.listener());
    for version in ["tlsv1.2", "tlsv1.3"] {
        let mut plain = broker.raw();
        plain.connect("plain");
        plain.subscribe("over/tls", 1);
        let message = ["-q", "1", "-t", "over/tls", "-m", version, "--tls-version", version];
        succeeds(mosquitto("mosquitto_pub", &broker, &site, "ca.pem", &message));
        plain.expect(&publish(2, "over/tls", Some(1), version.as_bytes()));
        plain.send(&publish(1, "kept", None, version.as_bytes()));
        let ask = ["-q", "1", "-t", "kept", "-C", "1", "--tls-version", version, "--tls-alpn", "mqtt"];
        let output = done(mosquitto("mosquitto_sub", &broker, &site, "ca.pem", &ask));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), version);
    }
}

#[test]
fn mosquitto_leaves_a_broker_that_it_does_not_trust() {
    let site = Site::new();
    let broker = broker(&site.listener());
    let message = ["-t", "over/tls", "-m", "x"];
    fails(mosquitto("mosquitto_pub", &broker, &site, "other.pem", &message));
    succeeds(mosquitto("mosquitto_pub", &broker, &site, "ca.pem", &message));
}

#[test]
fn mosquitto_is_let_in_by_its_certificate() {
    let site = Site::new();
    let broker = broker(&site.asking());
    let as_client = |name: &str| {
        let certificate = certificate(&site, name);
        let arguments: Vec<&str> = certificate.iter().map(String::as_str).collect();
        let message = ["-q", "1", "-t", "over/tls", "-m", "x"];
        mosquitto("mosquitto_pub", &broker, &site, "ca.pem", &[&arguments[..], &message].concat())
    };
    succeeds(as_client("good"));
    fails(as_client("lost"));
    fails(as_client("stranger"));
    fails(mosquitto("mosquitto_pub", &broker, &site, "ca.pem", &["-q", "1", "-t", "x", "-m", "x"]));
    broker.serves();
}

/// Tells one of our clients where it is, whom to trust, and which certificate to show.
fn on(transport: &str, site: &Site, client: Option<&str>, mut command: Command) -> Command {
    command.env("TRANSPORT", transport).env("CA", site.path("ca.pem"));
    for (variable, end) in [("CERT", "pem"), ("KEY", "key")] {
        command.envs(client.map(|client| (variable, site.path(&format!("{client}.{end}")))));
    }
    command
}

fn paho() -> Command {
    python("paho_client.py")
}

fn mqttjs() -> Command {
    node("mqttjs_client.cjs")
}

/// All that a client does over TCP, with a client certificate.
fn all_scenarios(client: fn() -> Command, added: fn() -> Command) {
    let site = Site::new();
    let broker = Broker::beside("tls", 2, "[sys]\ninterval_s = 1", &site.asking());
    let port = broker.beside.port();
    for version in VERSIONS {
        run_at(port, on("tls", &site, Some("good"), client()), version, &SCENARIOS);
    }
    run_at(port, on("tls", &site, Some("good"), added()), "5", &V5_SCENARIOS);
}

#[test]
fn paho_over_tls() {
    all_scenarios(paho, || python("paho_v5.py"));
}

#[test]
fn mqttjs_over_tls() {
    all_scenarios(mqttjs, || node("mqttjs_v5.cjs"));
}

#[test]
fn client_certificates_count_on_both_encrypted_transports() {
    let site = Site::new();
    for transport in ["tls", "wss"] {
        let broker = Broker::beside(transport, 2, "", &site.asking());
        for client in [paho, mqttjs] {
            let run = |certificate, scenario| {
                run_at(broker.beside.port(), on(transport, &site, certificate, client()), "5", &[scenario]);
            };
            run(Some("good"), "qos");
            for certificate in [Some("lost"), Some("stranger"), None] {
                run(certificate, "turned_away");
            }
        }
    }
}

#[test]
fn clients_leave_a_broker_that_they_do_not_trust_unless_told_otherwise() {
    let site = Site::new();
    for transport in ["tls", "wss"] {
        let broker = Broker::beside(transport, 2, "", &site.listener());
        for client in [paho, mqttjs] {
            let distrusting = || {
                let mut command = on(transport, &site, None, client());
                command.env("CA", site.path("other.pem"));
                command
            };
            run_at(broker.beside.port(), distrusting(), "5", &["turned_away"]);
            let mut careless = distrusting();
            careless.env("UNCHECKED", "1");
            run_at(broker.beside.port(), careless, "5", &["qos"]);
        }
    }
}
