//! Reports in, topics and values out.

use super::super::Traffic;
use super::*;
use crate::engine::{Counters, Dropped, Report, StoreState};

/// A shard whose every number is its own, so that a topic that shows a wrong one is seen.
fn shard(base: u64) -> ShardReport {
    let dropped = Dropped {
        output_full: base + 1,
        queue_full: base + 2,
        offline: base + 3,
        too_large: base + 4,
        expired: base + 5,
        retained_full: base + 6,
        reserved_topic: base + 7,
        store_refused: base + 8,
        publish_denied: base + 9,
        receive_denied: base + 10,
    };
    let counters = Counters {
        packets_in: base + 11,
        publish_in: [base + 12, base + 13, base + 14],
        publish_out: [base + 15, base + 16, base + 17],
        resent: base + 18,
        forwarded: base + 19,
        connects: base + 20,
        refused: base + 21,
        disconnects: base + 22,
        takeovers: base + 23,
        violations: base + 24,
        keep_alive_timeouts: base + 25,
        sessions_expired: base + 26,
        wills: base + 27,
        dropped,
    };
    let engine = Report {
        counters,
        connected: base + 31,
        sessions: base + 41,
        subscriptions: base + 42,
        retained_messages: base + 43,
        retained_bytes: base + 44,
        queued_messages: base + 45,
        queued_bytes: base + 46,
        store: StoreState::Ready,
    };
    let traffic = Traffic {
        bytes_received: base + 51,
        bytes_sent: base + 52,
        packets_sent: base + 53,
        opened: base + 54,
        strangers: base + 55,
        logins: base + 56,
        held_back: base + 57,
        refused: Refused {
            anonymous: base + 61,
            password: base + 62,
            user: base + 63,
            token: base + 64,
            scram: base + 65,
            service: base + 66,
            silent: base + 67,
            busy: base + 68,
            denied: base + 69,
            full: base + 70,
            address_full: base + 71,
            user_full: base + 72,
            shut_out: base + 73,
            late: base + 74,
            protocol: base + 75,
        },
    };
    ShardReport { engine, traffic }
}

fn text<'l>(lines: impl Iterator<Item = (&'l str, &'l str)>) -> String {
    lines.map(|(topic, value)| format!("{topic} {value}\n")).collect()
}

#[test]
fn two_shards_are_shown_summed_and_one_by_one() {
    let mut topics = SysTopics::default();
    let shown = text(topics.update(Span::from_secs(60), &[shard(0), shard(1_000)]));
    assert_eq!(shown, include_str!("tests.txt").replace("VERSION", env!("CARGO_PKG_VERSION")));
}

#[test]
fn only_what_changed_is_published_again() {
    let mut topics = SysTopics::default();
    assert!(topics.update(Span::from_secs(10), &[ShardReport::default()]).count() > 80);
    let mut report = ShardReport::default();
    report.engine.connected = 3;
    report.engine.sessions = 3;
    assert_eq!(
        text(topics.update(Span::from_secs(20), &[report])),
        "$SYS/broker/uptime 20 seconds\n$SYS/broker/clients/connected 3\n$SYS/broker/clients/total 3\n\
         $SYS/broker/clients/maximum 3\n$SYS/broker/cores/0/clients/connected 3\n$SYS/broker/cores/0/clients/total 3\n"
    );
    report.engine.connected = 1;
    assert_eq!(
        text(topics.update(Span::from_secs(20), &[report])),
        "$SYS/broker/clients/connected 1\n$SYS/broker/clients/disconnected 2\n\
         $SYS/broker/cores/0/clients/connected 1\n"
    );
    assert_eq!(topics.update(Span::from_secs(20), &[report]).count(), 0);
}

#[test]
fn a_store_that_takes_nothing_is_shown_as_soon_as_one_shard_knows() {
    let shown = |states: [StoreState; 2]| {
        let shards = states.map(|store| ShardReport {
            engine: Report { store, ..Report::default() },
            ..ShardReport::default()
        });
        let mut topics = SysTopics::default();
        let found =
            topics.update(Span::from_secs(1), &shards).find(|(topic, _)| topic.ends_with("store/state"));
        found.map(|(_, state)| state.to_owned())
    };
    assert_eq!(shown([StoreState::Off; 2]).as_deref(), Some("off"));
    assert_eq!(shown([StoreState::Ready; 2]).as_deref(), Some("ready"));
    assert_eq!(shown([StoreState::Ready, StoreState::Refusing]).as_deref(), Some("refusing"));
}

#[test]
fn every_topic_is_shown_once() {
    let mut topics = SysTopics::default();
    let mut names: Vec<String> = topics
        .update(Span::from_secs(1), &[shard(0), shard(1), shard(2)])
        .map(|(topic, _)| topic.to_owned())
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
