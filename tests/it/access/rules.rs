//! What clients may do: publish, subscribe, leave a will, receive.

use super::passwords::{Folder, PENCIL, asks, logged_in, login};
use crate::support::{
    Broker, Connect, Publication, Raw, connack, packet, property, publish, publish_v5, suback,
    subscribe_many, subscribe_v5,
};
use std::path::Path;
use std::process::{Command, Stdio};

const RULES: &str = "\
topic read open/#
topic write open/#

user ann
topic readwrite ann/#
topic deny ann/secret/#
topic read news/#

user bob
topic write ann/#
topic write news/#
topic read $SYS/broker/version

pattern readwrite own/%c/%u

role reader
for user bob
topic read data/+/t
";

fn ruled_by(rules: &str, folder: &Folder) -> String {
    let users = folder.write("users", &format!("ann:{PENCIL}\nbob:{PENCIL}\n"));
    asks(&users) + &acl(&folder.write("rules", rules))
}

fn acl(path: &Path) -> String {
    format!("[acl]\nfile = {:?}\n", path.to_str().expect("a path in plain letters"))
}

fn v5<'a>(broker: &Broker, id: &'a str, user: &'a str) -> Raw {
    broker.greeted(&Connect { level: 5, ..login(id, user, "pencil") }).0
}

/// What PUBACK, or PUBREC, says to a message of 5.0.
#[track_caller]
fn answer_to(raw: &mut Raw, qos: u8, topic: &str) -> u8 {
    raw.send(&publish_v5(qos << 1, topic, Some(9), &[], b"x"));
    let answer = raw.packet();
    assert_eq!((answer[0] >> 4, &answer[2..4]), (3 + qos, &[0, 9][..]), "{answer:02x?}");
    answer.get(4).copied().unwrap_or(0)
}

/// What SUBACK says to filters of 5.0.
#[track_caller]
fn granted(raw: &mut Raw, filters: &[(&str, u8)]) -> Vec<u8> {
    raw.send(&subscribe_v5(5, &[], filters));
    let suback = raw.packet();
    assert_eq!((suback[0], &suback[2..4]), (0x90, &[0, 5][..]), "{suback:02x?}");
    suback[suback.len() - filters.len()..].to_vec()
}

#[test]
fn what_is_not_allowed_to_be_published_reaches_nobody_and_only_5_0_is_told() {
    let folder = Folder::new();
    let broker = Broker::with(&ruled_by(RULES, &folder));
    let mut ann = logged_in(&broker, "watcher", "ann");
    ann.subscribe("ann/#", 0);
    ann.subscribe("news/#", 0);
    let mut bob = v5(&broker, "bob", "bob");
    for qos in [1, 2] {
        assert_eq!(answer_to(&mut bob, qos, "ann/from/bob"), 0x00);
        ann.expect(&publish(0, "ann/from/bob", None, b"x"));
        if qos == 2 {
            bob.send(&[0x62, 2, 0, 9]);
            assert_eq!(bob.packet()[0], 0x70);
        }
        assert_eq!(answer_to(&mut bob, qos, "data/1/t"), 0x87, "which bob may read");
        assert_eq!(answer_to(&mut bob, qos, "open/t"), 0x87, "which is for clients without a name");
    }
    bob.send(&publish_v5(0, "data/1/t", None, &[], b"x"));
    bob.lives();
    // ann may not write where she may read, and 3.1.1 cannot say so.
    let mut old = logged_in(&broker, "old", "ann");
    old.send(&publish(2, "news/t", Some(1), b"x"));
    old.expect(&[0x40, 2, 0, 1]);
    old.send(&publish(4, "news/t", Some(2), b"x"));
    old.expect(&[0x50, 2, 0, 2]);
    old.send(&[0x62, 2, 0, 2]);
    old.expect(&[0x70, 2, 0, 2]);
    old.send(&publish(0, "ann/secret/t", None, b"x"));
    old.send(&publish(0, "ann/t", None, b"mark"));
    ann.expect(&publish(0, "ann/t", None, b"mark"));
    // A topic alias does not get around it.
    let alias = property::two(property::ALIAS, 1);
    bob.send(&publish_v5(0, "data/1/t", None, &alias, b"x"));
    bob.send(&publish_v5(2, "", Some(3), &alias, b"x"));
    let refused = bob.packet();
    assert_eq!((refused[0], &refused[2..5]), (0x40, &[0, 3, 0x87][..]), "{refused:02x?}");
}

#[test]
fn a_subscription_that_could_bring_nothing_is_refused_filter_by_filter() {
    let folder = Folder::new();
    let broker = Broker::with(&ruled_by(RULES, &folder));
    let mut ann = v5(&broker, "c1", "ann");
    let filters = [
        ("ann/#", 1),
        ("bob/#", 1),
        ("+/t", 2),
        ("ann/secret/#", 0),
        ("$share/g/news/+", 1),
        ("own/c1/ann", 0),
    ];
    assert_eq!(granted(&mut ann, &filters), [1, 0x87, 2, 0x87, 1, 0]);
    let others = [("own/c2/ann", 0), ("$share/g/data/#", 1), ("open/#", 0), ("#", 1)];
    assert_eq!(granted(&mut ann, &others), [0x87, 0x87, 0x87, 1]);
    let mut old = logged_in(&broker, "c2", "bob");
    old.send(&subscribe_many(7, &[("ann/#", 1), ("data/1/t", 1), ("data/1/u", 0)]));
    old.expect(&packet(0x90, &[&[0, 7, 0x80, 1, 0x80]]));
}

#[test]
fn of_what_matches_a_subscription_only_what_may_be_received_is_sent() {
    let folder = Folder::new();
    let broker = Broker::with(&ruled_by(RULES, &folder));
    let mut publisher = broker.raw();
    // Whoever has no name may write to open/# alone: retained messages come from a user that may.
    publisher.connect("nobody");
    let mut bob = v5(&broker, "bob", "bob");
    bob.send(&publish_v5(1, "news/kept", None, &[], b"kept"));
    bob.send(&publish_v5(1, "ann/secret/kept", None, &[], b"secret"));
    bob.lives();
    let mut ann = v5(&broker, "ann", "ann");
    ann.subscribe_v5("#", 1);
    let kept = Publication::of(&ann.packet());
    assert_eq!((kept.topic.as_str(), &kept.payload[..]), ("news/kept", &b"kept"[..]));
    publisher.send(&publish(0, "open/t", None, b"x"));
    bob.send(&publish_v5(0, "ann/secret/t", None, &[], b"x"));
    bob.send(&publish_v5(2, "ann/secret/t", Some(4), &[], b"x"));
    bob.expect(&[0x40, 2, 0, 4]);
    bob.send(&publish_v5(0, "news/t", None, &[], b"mark"));
    ann.expect(&publish_v5(0, "news/t", None, &[], b"mark"));
    // The broker's own topics are under the same rules.
    let mut version = logged_in(&broker, "version", "bob");
    version.subscribe("$SYS/#", 0);
    let shown = version.packet();
    assert!(String::from_utf8_lossy(&shown).contains("$SYS/broker/version"), "{shown:02x?}");
    version.expect_silence();
}

#[test]
fn a_group_gives_a_message_to_a_member_that_may_have_it() {
    let folder = Folder::new();
    let rules = "topic write a/#\nuser ann\ntopic read a/#\nuser bob\ntopic read a/#\ntopic deny a/ann\n";
    let broker = Broker::with(&ruled_by(rules, &folder));
    let mut ann = v5(&broker, "ann", "ann");
    let mut members: Vec<Raw> = (0..3).map(|n| v5(&broker, &format!("bob-{n}"), "bob")).collect();
    ann.subscribe_v5("$share/g/a/+", 1);
    members.iter_mut().for_each(|bob| bob.subscribe_v5("$share/g/a/+", 1));
    let mut publisher = broker.v5("publisher");
    for _ in 0..8 {
        assert_eq!(answer_to(&mut publisher, 1, "a/ann"), 0);
        let came = Publication::of(&ann.packet());
        assert_eq!((came.topic.as_str(), came.flags), ("a/ann", 2));
        ann.send(&packet(0x40, &[&came.id.expect("of QoS 1").to_be_bytes()]));
    }
    members.iter_mut().for_each(Raw::lives);
}

#[test]
fn a_will_is_refused_that_its_client_could_not_publish_itself() {
    let folder = Folder::new();
    let broker = Broker::with(&ruled_by(RULES, &folder));
    let with = |topic: &'static str, level| Connect {
        will: Some((topic, "gone", 0, false)),
        level,
        ..login("leaver", "bob", "pencil")
    };
    let refused = broker.refuses(&with("data/1/t", 5).bytes(), 0x87);
    assert!(refused.properties.string(property::REASON_STRING).is_some_and(|why| why.contains("will")));
    let mut old = broker.raw();
    old.send(&with("data/1/t", 4).bytes());
    old.expect(&connack(false, 5));
    old.expect_closed();
    let mut ann = logged_in(&broker, "ann", "ann");
    ann.subscribe("news/#", 0);
    let mut old = broker.raw();
    old.send(&with("news/will", 4).bytes());
    old.expect(&connack(false, 0));
    drop(old);
    ann.expect(&publish(0, "news/will", None, b"gone"));
    // And one that waits.
    let (delay, expiry) =
        (property::four(property::WILL_DELAY, 1), property::four(property::SESSION_EXPIRY, 100));
    let connect = Connect { properties: &expiry, will_properties: &delay, ..with("news/late", 5) };
    drop(broker.greeted(&connect));
    ann.expect(&publish(0, "news/late", None, b"gone"));
}

#[test]
fn clients_without_a_name_have_the_first_section_and_the_patterns() {
    let folder = Folder::new();
    let broker = Broker::with(&ruled_by(RULES, &folder));
    let mut nobody = broker.raw();
    nobody.connect("nobody");
    nobody.subscribe("open/#", 1);
    nobody.send(&subscribe_many(2, &[("ann/#", 1)]));
    nobody.expect(&suback(2, 0x80));
    nobody.send(&publish(0, "open/t", None, b"x"));
    nobody.expect(&publish(0, "open/t", None, b"x"));
}

#[test]
fn roles_are_given_by_listener_and_by_the_subject_of_a_certificate() {
    let folder = Folder::new();
    let certificates = super::clients::Clients::new(&folder);
    let rules = "\
role inside
for listener tcp://127.0.0.1:0
topic readwrite #

role sensors
for subject O=Plant, CN=sensor-*
topic write data/%c
topic read data/none
pattern write data/%c
";
    let rules = acl(&folder.write("rules", rules));
    let listener = format!("{}username_from_cert = \"cn\"\n", certificates.listener());
    let broker = Broker::beside("tls", 2, &rules, &listener);
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("data/#", 0);
    let publishes = |name: &str, id: &str, topic: &str| {
        let mut command = Command::new("mosquitto_pub");
        let port = broker.beside.port().to_string();
        command.args([
            "-h",
            "localhost",
            "-p",
            &port,
            "-V",
            "mqttv5",
            "-q",
            "1",
            "-m",
            name,
            "-t",
            topic,
            "-i",
            id,
        ]);
        command.args(certificates.arguments(name)).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).status().expect("it is there; run tests/run, which installs it")
    };
    publishes("sensor-7", "s7", "data/s8");
    publishes("other", "s7", "data/s7");
    assert!(publishes("sensor-7", "s7", "data/s7").success());
    watcher.expect(&publish(0, "data/s7", None, b"sensor-7"));
    // Who comes through the other listener may do all, and only there.
    watcher.send(&publish(0, "data/free", None, b"x"));
    watcher.expect(&publish(0, "data/free", None, b"x"));
}

#[test]
fn rules_that_cannot_be_read_keep_the_broker_from_starting_and_are_named_with_their_lines() {
    let folder = Folder::new();
    let rules = acl(&folder.write("rules", "topic read a/#\ntopic sometimes b\nuser\n"));
    let output = Command::new(env!("CARGO_BIN_EXE_pantala"))
        .args(["--no-store", "--shards", "1", "--listen", "tcp://127.0.0.1:0", "--config"])
        .arg(folder.write("pantala.toml", &rules))
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{:?}", output.status);
    assert!(errors.contains("rules: line 2") && errors.contains("rules: line 3"), "{errors}");
}
