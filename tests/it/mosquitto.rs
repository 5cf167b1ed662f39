//! mosquitto_pub and mosquitto_sub, from Debian's mosquitto-clients.

use crate::support::{Broker, publish};
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

/// A client that is given up after half a minute.
fn client(program: &str, broker: &Broker, version: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["30", program]);
    told(&mut command, broker, version, arguments);
    command
}

fn told(command: &mut Command, broker: &Broker, version: &str, arguments: &[&str]) {
    command.args(["-h", "127.0.0.1", "-V", version, "-p", &broker.port().to_string()]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

fn done(mut command: Command) -> Output {
    let output = command.output().expect("mosquitto's clients are there; run tests/run, which installs them");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    output
}

/// A mosquitto_sub that has subscribed: with -d it says so, and without stdbuf it would keep that to itself.
fn subscriber(broker: &Broker, version: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "mosquitto_sub", "-d"]);
    told(&mut command, broker, version, arguments);
    let mut child =
        command.spawn().expect("mosquitto's clients are there; run tests/run, which installs them");
    let out = child.stdout.as_mut().expect("is piped");
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(b"Subscribed (mid") {
        assert_eq!(out.read(&mut byte).expect("output"), 1, "{}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    child
}

/// The lines that are messages: `-d` prints others as well.
fn messages(child: Child) -> Vec<String> {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter_map(|line| line.strip_prefix("got ")).map(str::to_owned).collect()
}

const FORMAT: [&str; 2] = ["-F", "got %t %q %r %p"];

#[test]
fn every_qos_in_every_version_both_ways() {
    let broker = Broker::start();
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let topic = format!("m/{version}/{qos}");
            let arguments = [&["-t", &topic, "-q", qos, "-C", "3"][..], &FORMAT].concat();
            let waiting = subscriber(&broker, version, &arguments);
            for payload in ["one", "two", "three"] {
                done(client("mosquitto_pub", &broker, version, &["-t", &topic, "-q", qos, "-m", payload]));
            }
            let expected = ["one", "two", "three"].map(|payload| format!("{topic} {qos} 0 {payload}"));
            assert_eq!(messages(waiting), expected, "{version} {qos}");
        }
    }
}

#[test]
fn retained_messages_wildcards_and_clearing() {
    let broker = Broker::start();
    for version in VERSIONS {
        let topic = format!("kept/{version}");
        done(client("mosquitto_pub", &broker, version, &["-t", &topic, "-q", "1", "-r", "-m", "value"]));
        for filter in [&topic[..], "kept/#", &format!("+/{version}")] {
            let arguments = [&["-t", filter, "-q", "1", "-C", "1"][..], &FORMAT].concat();
            let output = done(client("mosquitto_sub", &broker, version, &arguments));
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                format!("got {topic} 1 1 value\n"),
                "{filter}"
            );
        }
        done(client("mosquitto_pub", &broker, version, &["-t", &topic, "-q", "1", "-r", "-n"]));
    }
    let mut raw = broker.raw();
    raw.connect("checks");
    raw.subscribe("kept/#", 0);
    raw.expect_silence();
}

#[test]
fn a_persistent_session_gets_what_came_while_it_was_away() {
    let broker = Broker::start();
    for version in VERSIONS {
        let id = format!("sleeper-{version}");
        let keep: &[&str] = if version == "mqttv5" { &["-x", "100"] } else { &[] };
        let arguments = [&["-i", &id, "-c", "-t", "away", "-q", "1"][..], keep].concat();
        done(client("mosquitto_sub", &broker, version, &[&arguments[..], &["-E"]].concat()));
        for payload in ["1", "2", "3"] {
            done(client("mosquitto_pub", &broker, version, &["-t", "away", "-q", "1", "-m", payload]));
        }
        let output =
            done(client("mosquitto_sub", &broker, version, &[&arguments[..], &["-C", "3"]].concat()));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n2\n3\n", "{version}");
        // Gone again, so that the next version's messages do not wait for it.
        let clean: &[&str] = &["-i", &id, "-t", "other", "-E"];
        done(client("mosquitto_sub", &broker, version, clean));
    }
}

#[test]
fn wills_of_killed_clients_and_large_payloads() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let large = folder.path().join("large");
    std::fs::write(&large, vec![b'x'; 256 << 10]).expect("a file");
    for version in VERSIONS {
        let mut watcher = broker.raw();
        watcher.connect("watcher");
        watcher.subscribe("will", 0);
        let arguments =
            ["-t", "x", "--will-topic", "will", "--will-payload", version, "-i", "mortal", "--will-qos", "1"];
        let mut mortal = subscriber(&broker, version, &arguments);
        mortal.kill().expect("it runs");
        let _ = mortal.wait();
        watcher.expect(&publish(0, "will", None, version.as_bytes()));

        watcher.subscribe("large", 0);
        let file = large.to_str().expect("plain letters");
        done(client("mosquitto_pub", &broker, version, &["-t", "large", "-q", "2", "-f", file]));
        assert_eq!(watcher.packet().len(), publish(0, "large", None, &vec![b'x'; 256 << 10]).len());
    }
}
