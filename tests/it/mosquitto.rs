//! mosquitto_pub and mosquitto_sub, from Debian's mosquitto-clients.

use crate::support::{Broker, PATIENCE, property, publish, publish_v5, until};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;

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

/// The lines that are messages, sorted: `-d` prints others as well, and what several processes sent has no order.
fn messages(child: Child) -> Vec<String> {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut messages: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("got ")).map(str::to_owned).collect();
    messages.sort();
    messages
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
            let expected = ["one", "three", "two"].map(|payload| format!("{topic} {qos} 0 {payload}"));
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

#[test]
fn clients_of_every_version_understand_one_another() {
    let broker = Broker::start();
    for to in VERSIONS {
        let topic = format!("to/{to}");
        let count = (3 * VERSIONS.len()).to_string();
        let arguments = [&["-t", &topic, "-q", "2", "-C", &count][..], &FORMAT].concat();
        let waiting = subscriber(&broker, to, &arguments);
        let mut expected = Vec::new();
        for from in VERSIONS {
            for qos in ["0", "1", "2"] {
                let mut arguments = vec!["-t", &topic, "-q", qos, "-m", from];
                if from == "mqttv5" {
                    // Clients of 3.x get the message without it.
                    arguments.extend(["-D", "publish", "user-property", "a", "b"]);
                }
                done(client("mosquitto_pub", &broker, from, &arguments));
                expected.push(format!("{topic} {qos} 0 {from}"));
            }
        }
        expected.sort();
        assert_eq!(messages(waiting), expected, "{to}");
    }
}

/// Arguments for the properties of packets of one type.
fn properties<'a>(packet: &'a str, values: &[&[&'a str]]) -> Vec<&'a str> {
    values.iter().flat_map(|value| [&["-D", packet], *value].concat()).collect()
}

#[test]
fn properties_of_messages_and_wills_arrive() {
    let broker = Broker::start();
    let all = "got %t %q content %C correlation %D expiry %E format %F response %R id %S user %P";
    let subscribe = properties("subscribe", &[&["subscription-identifier", "7"]]);
    let arguments = [&["-t", "p/#", "-q", "2", "-C", "2", "-F", all][..], &subscribe].concat();
    let waiting = subscriber(&broker, "mqttv5", &arguments);
    let values: [&[&str]; 6] = [
        &["content-type", "text/plain"],
        &["correlation-data", "first"],
        &["payload-format-indicator", "1"],
        &["response-topic", "answers/x"],
        &["user-property", "a", "b"],
        &["user-property", "c", "d"],
    ];
    let publish = properties("publish", &values);
    done(client(
        "mosquitto_pub",
        &broker,
        "mqttv5",
        &[&["-t", "p/message", "-q", "2", "-m", "x"], &publish[..]].concat(),
    ));
    // It leaves without a word once its message is through, and its will is sent after a second.
    let will = [&values[..], &[&["will-delay-interval", "1"], &["message-expiry-interval", "1000"]]].concat();
    let will = [
        &["-t", "x", "--will-topic", "p/will", "--will-payload", "x", "--will-qos", "1", "-i", "mortal"],
        &properties("will", &will)[..],
        &properties("connect", &[&["session-expiry-interval", "100"]]),
    ]
    .concat();
    let mut mortal = subscriber(&broker, "mqttv5", &will);
    mortal.kill().expect("it runs");
    let _ = mortal.wait();
    let got = messages(waiting);
    let rest = |expiry: &str| {
        format!(
            "content text/plain correlation first expiry {expiry} format 1 response answers/x id 7 user a:b c:d"
        )
    };
    assert_eq!(got[0], format!("p/message 2 {}", rest("")));
    // A second may have passed since the will was sent.
    let possible = ["1000", "999"].map(|expiry| format!("p/will 1 {}", rest(expiry)));
    assert!(possible.contains(&got[1]), "{got:?}");
}

#[test]
fn options_and_lifetimes_of_5_0() {
    let broker = Broker::start();
    let run = |program: &str, arguments: &[&str]| {
        let output = done(client(program, &broker, "mqttv5", arguments));
        String::from_utf8(output.stdout).expect("text")
    };
    run("mosquitto_pub", &["-t", "kept", "-q", "1", "-r", "-m", "value"]);
    assert!(run("mosquitto_pub", &["-t", "nobody", "-q", "1", "-m", "x", "-d"]).contains("RC:16"));

    let session = ["-i", "sleeper", "-c", "-q", "1", "-t", "kept", "-x", "100", "--retain-as-published"];
    let one = [&session[..], &["-C", "1", "-F", "%r %p"]].concat();
    assert_eq!(run("mosquitto_sub", &one), "1 value\n");
    run("mosquitto_pub", &["-t", "kept", "-q", "1", "-r", "-m", "later"]);
    assert_eq!(run("mosquitto_sub", &one), "1 later\n");

    // DISCONNECT may shorten what CONNECT asked for: soon what is sent is for nobody.
    let ends = properties("disconnect", &[&["session-expiry-interval", "0"]]);
    run(
        "mosquitto_sub",
        &[&["-i", "brief", "-c", "-q", "1", "-t", "brief", "-x", "100", "-E"], &ends[..]].concat(),
    );
    until("the session has ended", || {
        run("mosquitto_pub", &["-t", "brief", "-q", "1", "-m", "x", "-d"]).contains("RC:16")
    });

    // An alias, and after it nothing else: the topic is sent once.
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("alias/of/a/topic", 0);
    let alias = properties("publish", &[&["topic-alias", "1"]]);
    run("mosquitto_pub", &[&["-t", "alias/of/a/topic", "-m", "x", "--repeat", "3"], &alias[..]].concat());
    for _ in 0..3 {
        watcher.expect(&publish(0, "alias/of/a/topic", None, b"x"));
    }
}

#[test]
fn members_of_a_group_share_its_messages() {
    let broker = Broker::start();
    for version in VERSIONS {
        let filter = format!("$share/group/jobs/{version}");
        let mut members: Vec<_> = (0..3)
            .map(|_| subscriber(&broker, version, &["-t", &filter, "-q", "1", "-F", "got %p"]))
            .collect();
        let (sender, seen) = channel();
        for member in &mut members {
            let (sender, out) = (sender.clone(), BufReader::new(member.stdout.take().expect("is piped")));
            std::thread::spawn(move || {
                let lines = out.lines().map_while(Result::ok);
                lines
                    .filter_map(|line| line.strip_prefix("got ").map(str::to_owned))
                    .try_for_each(|got| sender.send(got))
            });
        }
        let numbers: Vec<String> = (10..22).map(|number| number.to_string()).collect();
        for number in &numbers {
            let topic = format!("jobs/{version}");
            done(client("mosquitto_pub", &broker, version, &["-t", &topic, "-q", "1", "-m", number]));
        }
        let next = |_| seen.recv_timeout(PATIENCE).expect("one of them gets it");
        let mut got: Vec<String> = numbers.iter().map(next).collect();
        got.sort();
        assert_eq!(got, numbers, "{version}");
        for mut member in members {
            member.kill().expect("it runs");
            let _ = member.wait();
        }
    }
}

#[test]
fn mosquitto_rr_gets_its_response() {
    let broker = Broker::start();
    let mut answering = broker.v5("answering");
    answering.subscribe_v5("questions", 0);
    let mut command = client(
        "mosquitto_rr",
        &broker,
        "mqttv5",
        &["-t", "questions", "-e", "answers", "-m", "2+2", "-D", "publish", "correlation-data", "first"],
    );
    let asking = command.spawn().expect("mosquitto's clients are there; run tests/run, which installs them");
    let question = answering.publication().properties;
    assert_eq!(question.string(property::RESPONSE_TOPIC).as_deref(), Some("answers"));
    let correlation = property::data(property::CORRELATION_DATA, "first");
    assert!(question.all(property::CORRELATION_DATA).eq([&correlation[1..]]), "{question:?}");
    answering.send(&publish_v5(0, "answers", None, &correlation, b"4"));
    let output = asking.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"4\n"[..]));
}
