//! From an accepted socket to a client on its own shard.

use super::rig::*;
use crate::shard::read::STRANGERS_BYTES_MAX;
use crate::types::{Limits, Span};

/// CONNECT with a user name and a password of that many bytes each.
fn connect_with(id: &str, len: u16) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04\xc2\0\x3c".to_vec();
    body.extend([0, u8::try_from(id.len()).unwrap()]);
    body.extend(id.bytes());
    for _ in 0..2 {
        body.extend(len.to_be_bytes());
        body.extend(std::iter::repeat_n(b'x', len.into()));
    }
    packet(0x10, &body)
}

fn short_limits() -> Limits {
    Limits { connect_bytes_max: 200_000, connect_timeout: Span::from_secs(5), ..Limits::default() }
}

#[test]
fn a_connection_reaches_the_shard_of_its_client_with_every_byte_that_came_along() {
    let mut rig = Rig::new(4, &Limits::default());
    let mut watcher = rig.subscriber("watcher", "t/#", 0);
    let mut counts = [0; 4];
    counts[rig.owner("watcher")] += 1;
    let mut clients = Vec::new();
    for n in 0..40 {
        let (id, topic) = (format!("c{n}"), format!("t/{n}"));
        let mut client = rig.dial();
        let messages = (1..=50u16).flat_map(|m| publish_1(m, &topic, &m.to_be_bytes()));
        client.send(&[connect(&id), messages.collect(), PINGREQ.to_vec()].concat());
        let acks = (1..=50).flat_map(puback).collect();
        rig.expect(&mut client, &[CONNACK.to_vec(), acks, PINGRESP.to_vec()].concat());
        let messages = (1..=50u16).flat_map(|m| publish(&topic, &m.to_be_bytes()));
        rig.expect(&mut watcher, &messages.collect::<Vec<u8>>());
        counts[rig.owner(&id)] += 1;
        clients.push(client);
    }
    assert_eq!(rig.shards.iter().map(|shard| shard.world.conns.len()).collect::<Vec<_>>(), counts);
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

#[test]
fn what_is_sent_during_a_hand_over_comes_after_what_was_sent_before() {
    let mut rig = Rig::new(4, &Limits::default());
    for n in 0..20 {
        let id = format!("c{n}");
        let messages = |from, to| (from..to).flat_map(|m| publish_1(m, "t", b"x")).collect::<Vec<_>>();
        // The owner is busy elsewhere while another shard accepts and reads CONNECT.
        rig.stalled = vec![rig.owner(&id)];
        let mut client = rig.dial();
        client.send(&[connect(&id), messages(1, 10)].concat());
        rig.settle();
        client.send(&messages(10, 20));
        rig.settle();
        rig.stalled.clear();
        client.send(&messages(20, 30));
        let acks = (1..30).flat_map(puback).collect();
        rig.expect(&mut client, &[CONNACK.to_vec(), acks].concat());
    }
}

#[test]
fn packets_may_come_in_any_pieces() {
    let mut rig = Rig::new(2, &Limits::default());
    for size in [1, 2, 3, 7] {
        let mut client = rig.dial();
        let id = format!("in pieces of {size}");
        let stream =
            [connect(&id), publish_1(1, "t", &[5; 200]), publish_1(2, "t", b""), PINGREQ.to_vec()].concat();
        for piece in stream.chunks(size) {
            client.send(piece);
            rig.sent(&mut client);
        }
        rig.expect(&mut client, &[CONNACK.to_vec(), puback(1), puback(2), PINGRESP.to_vec()].concat());
    }
}

#[test]
fn a_connect_larger_than_what_is_read_at_once_is_whole_in_the_end() {
    let mut rig = Rig::new(4, &short_limits());
    for n in 0..8 {
        let mut client = rig.dial();
        let id = format!("long {n}");
        let stream = [connect_with(&id, 60_000), publish_1(1, "t", b"x"), PINGREQ.to_vec()].concat();
        for piece in stream.chunks(50_000) {
            client.send(piece);
            rig.sent(&mut client);
        }
        rig.expect(&mut client, &[CONNACK.to_vec(), puback(1), PINGRESP.to_vec()].concat());
    }
}

#[test]
fn a_connection_without_a_whole_connect_is_closed_in_time() {
    let mut rig = Rig::new(2, &short_limits());
    let mut bystander = rig.client("bystander");
    let (mut silent, mut slow) = (rig.dial(), rig.dial());
    rig.settle();
    for byte in &connect("slow")[..9] {
        slow.send(&[*byte]);
        rig.pass(Span::from_millis(500));
    }
    silent.run();
    slow.run();
    assert!(!silent.closed && !slow.closed, "closed before its time");
    rig.pass(Span::from_secs(1));
    rig.expect_end(&mut silent, b"");
    rig.expect_end(&mut slow, b"");
    bystander.send(&PINGREQ);
    rig.expect(&mut bystander, &PINGRESP);
    // Whether they close their sides or not.
    drop(silent);
    rig.pass(Span::from_secs(2));
    assert_eq!(rig.connections(), 1);
}

#[test]
fn unfinished_connects_together_are_bounded() {
    let mut rig = Rig::new(1, &Limits::default());
    let mut bystander = rig.client("bystander");
    let unfinished = &connect_with("x", 65_535)[..130_000];
    let mut strangers = Vec::new();
    let held = |rig: &Rig| rig.shards[0].world.strangers_bytes;
    rig.until("one is closed", |rig| {
        let mut stranger = rig.dial();
        stranger.send(unfinished);
        rig.sent(&mut stranger);
        strangers.push(stranger);
        assert!(held(rig) <= STRANGERS_BYTES_MAX + unfinished.len(), "what is kept is bounded");
        strangers.iter_mut().any(|stranger| {
            stranger.run();
            stranger.closed
        })
    });
    assert!(strangers.len() > STRANGERS_BYTES_MAX / unfinished.len(), "not before the bound");
    bystander.send(&PINGREQ);
    rig.expect(&mut bystander, &PINGRESP);
    // Some finish, some give up, the rest is late.
    for stranger in strangers.iter_mut().take(20).filter(|stranger| !stranger.closed) {
        stranger.send(&connect_with("x", 65_535)[130_000..]);
    }
    strangers.truncate(300);
    rig.settle();
    rig.pass(Span::from_secs(20));
    assert_eq!(held(&rig), 0);
}

#[test]
fn who_was_not_read_while_a_shard_lagged_is_not_late() {
    let limits = Limits { connect_timeout: Span::from_secs(1), ..Limits::default() };
    let mut rig = Rig::with_links(2, &limits, 1);
    let (publisher, waiting) = (rig.id_on(0), rig.id_on(0));
    let mut publisher = rig.client(&publisher);
    let _subscriber = rig.subscriber(&rig.id_on(1), "t", 0);
    // Dialled while all run, so that it is accepted.
    let (mut a, mut b) = (rig.dial(), rig.dial());
    rig.settle();
    rig.stalled = vec![1];
    rig.until("the link is full", |rig| {
        publisher.send(&publish("t", &[0; 8_000]));
        rig.shards[0].world.port.congested()
    });
    a.send(&connect(&waiting));
    b.send(&connect(&waiting));
    rig.pass(Span::from_secs(10));
    rig.stalled.clear();
    rig.until("one has taken over from the other", |_| {
        a.run();
        b.run();
        a.got.starts_with(&CONNACK) && b.got.starts_with(&CONNACK)
    });
}

#[test]
fn what_does_not_begin_with_connect_is_closed_mqtt_3_1_0_1() {
    let mut rig = Rig::new(2, &Limits::default());
    for first in [
        PINGREQ.to_vec(),
        publish("t", b"x"),
        DISCONNECT.to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 9],
    ] {
        let mut client = rig.dial();
        client.send(&first);
        client.send(&connect("too late"));
        rig.expect_end(&mut client, b"");
    }
    rig.until("no connection is left", |rig| rig.connections() == 0);
}

#[test]
fn an_unknown_version_is_told_so_in_its_own_words_mqtt_3_1_2_2() {
    let mut rig = Rig::new(2, &Limits::default());
    for (level, answer) in [(6, &[0x20, 3, 0, 0x84, 0][..]), (2, &[0x20, 2, 0, 1])] {
        let mut client = rig.dial();
        let mut bytes = connect("of another time");
        bytes[8] = level;
        client.send(&bytes);
        rig.expect_end(&mut client, answer);
    }
}

#[test]
fn a_connect_above_its_bound_is_closed_before_it_has_come() {
    let mut rig = Rig::new(2, &short_limits());
    let mut client = rig.dial();
    client.send(&connect_with("x", 65_535)[..4]);
    rig.settle();
    let mut larger = rig.dial();
    // 200,001 bytes in all.
    larger.send(&[0x10, 0xbd, 0x9a, 0x0c]);
    rig.expect_end(&mut larger, b"");
    client.run();
    assert!(!client.closed, "131,000 bytes are within the bound");
}
