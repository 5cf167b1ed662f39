//! The battery: what a client can do against the protocol, and what the standard wants done about it. Each case is bytes
//! and a reaction; after each, clients that were there all the time are still served.

mod features;
mod v311;
mod v5;
mod v5_properties;

use super::with_settings;
use crate::support::{Broker, Connect, PINGREQ, PINGRESP, Raw, publish, suback, subscribe};
use std::collections::BTreeSet;

/// Unfinished QoS 2 messages that the brokers of the battery take from a 5.0 client, so that a case can exceed them.
const RECEIVE_MAX: u16 = 4;

/// Something that a client does and must not do.
struct Case {
    /// Begins with the clause that forbids it.
    name: String,
    before: Before,
    bytes: Vec<u8>,
    reaction: Reaction,
}

/// What comes before the violation.
enum Before {
    /// Nothing: it is the first that comes on its connection.
    Nothing,
    /// An accepted CONNECT of the version at hand, and these packets.
    Accepted(Vec<u8>),
}

/// What the broker has to do.
#[derive(Clone)]
enum Reaction {
    /// Close the connection without a byte.
    Closed,
    /// Refuse it by a CONNACK with this code, and close it.
    Refused(u8),
    /// Close it after a DISCONNECT with this reason code.
    Disconnected(u8),
    /// Answer SUBSCRIBE with these codes, and go on.
    Suback(Vec<u8>),
}

/// A connection that begins like this.
fn first(name: impl Into<String>, bytes: Vec<u8>, reaction: Reaction) -> Case {
    Case { name: name.into(), before: Before::Nothing, bytes, reaction }
}

/// A client that was accepted and sends this.
fn then(name: impl Into<String>, bytes: Vec<u8>, reaction: Reaction) -> Case {
    after(name, Vec::new(), bytes, reaction)
}

/// The same after these packets.
fn after(name: impl Into<String>, before: Vec<u8>, bytes: Vec<u8>, reaction: Reaction) -> Case {
    Case { name: name.into(), before: Before::Accepted(before), bytes, reaction }
}

impl Case {
    /// What is wrong with the broker's reaction, if anything is.
    fn fault(&self, broker: &Broker, level: u8, number: usize) -> Option<String> {
        let mut raw = broker.raw();
        if let Before::Accepted(before) = &self.before {
            let id = format!("violator-{number}");
            let connect = Connect { level, ..Connect::new(&id) };
            raw.send(&[&connect.bytes(), &before[..], &PINGREQ].concat());
            while raw.packet() != PINGRESP {}
        }
        raw.send(&self.bytes);
        match &self.reaction {
            Reaction::Suback(codes) => {
                let got = raw.packet();
                let fits = got[0] == 0x90 && got.ends_with(codes);
                raw.expect_silence();
                (!fits).then(|| format!("SUBACK with {codes:02x?} and not {got:02x?}"))
            }
            reaction => {
                let (got, closed) = raw.rest();
                let fault = reaction.expects(&got);
                if closed { fault } else { Some(format!("not closed after {got:02x?}")) }
            }
        }
    }
}

impl Reaction {
    /// What is wrong with the last bytes of a connection.
    fn expects(&self, got: &[u8]) -> Option<String> {
        let whole = got.len() >= 2 && got.len() == 2 + usize::from(got[1]);
        let (fits, wanted) = match *self {
            Self::Refused(code) => (
                whole && got.len() >= 4 && got[0] == 0x20 && got[2..4] == [0, code],
                format!("CONNACK {code:#04x}"),
            ),
            Self::Disconnected(code) => (
                whole && got.len() >= 3 && got[0] == 0xe0 && got[2] == code,
                format!("DISCONNECT {code:#04x}"),
            ),
            Self::Closed | Self::Suback(_) => (got.is_empty(), "the end".to_owned()),
        };
        (!fits).then(|| format!("{wanted} and not {got:02x?}"))
    }
}

/// Clients that do nothing wrong, and are there all the time.
struct Bystanders {
    publisher: Raw,
    subscribers: Vec<Raw>,
}

impl Bystanders {
    fn new(broker: &Broker) -> Self {
        let connect = |id: &str| {
            let mut raw = broker.raw();
            raw.connect(id);
            raw
        };
        let subscribers = (0..4).map(|number| {
            let mut raw = connect(&format!("bystander-{number}"));
            raw.send(&subscribe(1, "calm", 0));
            raw.expect(&suback(1, 0));
            raw
        });
        Self { subscribers: subscribers.collect(), publisher: connect("bystander") }
    }

    fn are_served(&mut self) {
        self.publisher.send(&publish(0, "calm", None, b"x"));
        for raw in &mut self.subscribers {
            raw.expect(&publish(0, "calm", None, b"x"));
        }
        self.publisher.expect_silence();
    }
}

/// Does all of it to one broker.
fn try_all(broker: &Broker, level: u8, cases: &[Case]) {
    let mut bystanders = Bystanders::new(broker);
    let mut faults = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        if let Some(fault) = case.fault(broker, level, number) {
            faults.push(format!("{}: {fault}", case.name));
        }
        bystanders.are_served();
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
    broker.serves();
}

fn settings() -> String {
    format!("[session]\nreceive_max = {RECEIVE_MAX}")
}

#[test]
fn violations_of_3_1_1_close_their_connection_and_nobody_else_notices() {
    with_settings(&settings(), |broker| try_all(broker, 4, &v311::cases()));
}

#[test]
fn violations_of_5_0_are_told_their_reason_and_nobody_else_notices() {
    with_settings(&settings(), |broker| try_all(broker, 5, &v5::cases()));
}

#[test]
fn wrong_properties_of_5_0_are_told_their_reason_and_nobody_else_notices() {
    with_settings(&settings(), |broker| try_all(broker, 5, &v5_properties::cases()));
}

#[test]
fn what_a_lean_broker_does_not_have_is_refused_and_nobody_else_notices() {
    with_settings(features::LEAN, |broker| {
        try_all(broker, 4, &features::v311());
        try_all(broker, 5, &features::v5());
    });
}

#[test]
fn there_are_more_than_200_violations_and_each_has_a_clause_and_a_name_of_its_own() {
    let old: Vec<Case> = v311::cases().into_iter().chain(features::v311()).collect();
    let new: Vec<Case> =
        [v5::cases(), v5_properties::cases(), features::v5()].into_iter().flatten().collect();
    assert!(old.len() >= 80 && new.len() >= 120, "{} of 3.1.1, {} of 5.0", old.len(), new.len());
    for (list, cases) in [(include_str!("../v311.txt"), old), (include_str!("../v5.txt"), new)] {
        let numbers: BTreeSet<&str> = list.lines().filter_map(|line| line.split(' ').next()).collect();
        let mut names = BTreeSet::new();
        for case in &cases {
            let clause = case.name.split(' ').next().expect("a word");
            // A statement has a number; what has none is in a section.
            assert!(clause == "MQTT" || numbers.contains(clause), "no such statement: {}", case.name);
            assert!(names.insert(&case.name), "there twice: {}", case.name);
        }
    }
}
