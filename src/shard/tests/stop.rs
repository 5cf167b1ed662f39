//! The end of a broker.

use super::rig::*;
use crate::shard::Token;
use crate::types::{Limits, Span};
use std::net::TcpStream;

#[test]
fn every_client_is_told_that_the_broker_stops() {
    let mut rig = Rig::new(4, &Limits::default());
    let mut old: Vec<_> = (0..8).map(|n| rig.client(&format!("old {n}"))).collect();
    let mut new: Vec<_> = (0..8).map(|_| rig.dial()).collect();
    for (n, client) in new.iter_mut().enumerate() {
        client.send(&connect_v5(&format!("new {n}")));
        rig.until("CONNACK", |_| {
            client.run();
            !client.got.is_empty()
        });
        client.got.clear();
    }
    let mut silent = rig.dial();
    rig.settle();
    let address = rig.address();
    rig.stop.raise();
    old.iter_mut().for_each(|client| rig.expect_end(client, b""));
    new.iter_mut().for_each(|client| rig.expect_end(client, &[0xe0, 2, 0x8b, 0]));
    rig.expect_end(&mut silent, b"");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    drop((old, new, silent));
    rig.until("the end", |rig| rig.shards.iter().all(|shard| shard.finished()));
}

#[test]
fn what_was_published_before_the_stop_arrives_before_the_goodbye() {
    for _ in 0..20 {
        let mut rig = Rig::new(4, &Limits::default());
        let mut subscribers: Vec<_> = (0..4)
            .map(|shard| {
                let id = rig.id_on(shard);
                rig.subscriber(&id, "t", 0)
            })
            .collect();
        let mut publisher = rig.client("publisher");
        let messages: Vec<u8> = (0..100u8).flat_map(|n| publish("t", &[n])).collect();
        publisher.send(&messages);
        publisher.send(&publish_1(1, "t", b"last"));
        rig.expect(&mut publisher, &puback(1));
        rig.stop.raise();
        let expected = [messages, publish("t", b"last")].concat();
        subscribers.iter_mut().for_each(|subscriber| rig.expect_end(subscriber, &expected));
    }
}

#[test]
fn goodbyes_wait_for_what_another_shard_has_read_already() {
    let mut rig = Rig::new(2, &Limits::default());
    let (publisher, subscriber) = (rig.id_on(0), rig.id_on(1));
    let (mut publisher, mut subscriber) = (rig.client(&publisher), rig.subscriber(&subscriber, "t", 0));
    publisher.send(&publish("t", b"read"));
    rig.stalled = vec![0];
    let shard = &mut rig.shards[0];
    let mut events = Vec::with_capacity(64);
    // The first half of a turn.
    while shard.world.port.pending() == 0 {
        shard.poll(Span(1), &mut events);
        events.drain(..).for_each(|event| shard.event(Token::of(event.data), event.flags));
        shard.read_ready();
    }
    publisher.send(&publish_1(1, "t", b"unread"));
    rig.stop.raise();
    rig.settle();
    subscriber.run();
    assert!(!subscriber.closed, "the other shard has not said its last word");
    rig.stalled.clear();
    rig.expect_end(&mut subscriber, &publish("t", b"read"));
    rig.expect_end(&mut publisher, b"");
}

#[test]
fn a_shard_that_never_says_its_last_word_is_not_waited_for_for_ever() {
    let mut rig = Rig::new(2, &Limits::default());
    let id = rig.id_on(0);
    let mut here = rig.client(&id);
    rig.stalled = vec![1];
    rig.stop.raise();
    rig.settle();
    here.send(&publish_1(1, "t", b"too late"));
    rig.pass(Span::from_secs(2));
    rig.expect_end(&mut here, b"");
}

#[test]
fn a_client_that_takes_nothing_delays_the_end_for_a_bounded_time() {
    let mut rig = Rig::new(2, &Limits { output_bytes_max: 64 << 20, ..Limits::default() });
    let _frozen = rig.subscriber("frozen", "t", 0);
    let mut publisher = rig.client("publisher");
    for _ in 0..20 {
        publisher.send(&publish("t", &vec![0; 1 << 20]));
        rig.sent(&mut publisher);
    }
    rig.settle();
    rig.stop.raise();
    rig.settle();
    assert!(!rig.shards.iter().all(|shard| shard.finished()), "there is something to send");
    rig.pass(Span::from_secs(5));
    assert!(rig.shards.iter().all(|shard| shard.finished()));
}
