//! Who is slow waits or loses, and nobody else does.

use super::rig::*;
use crate::engine::Effects;
use crate::shard::read::SCRATCH;
use crate::types::{Limits, Span};
use rustix::net::sockopt::set_socket_send_buffer_size;

const OUTPUT: usize = 64 << 10;

fn limits() -> Limits {
    Limits { output_bytes_max: OUTPUT, ..Limits::default() }
}

/// A numbered payload.
fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(len, 0xee);
    payload
}

/// The numbers of equally long messages.
fn numbers(bytes: &[u8], message: usize, len: usize) -> Vec<u32> {
    assert_eq!(bytes.len() % message, 0, "whole messages only");
    let number = |message: &[u8]| message[message.len() - len..][..4].try_into().expect("four bytes");
    bytes.chunks(message).map(|message| u32::from_be_bytes(number(message))).collect()
}

fn output(rig: &Rig, shard: usize) -> usize {
    rig.shards[shard].world.conns.iter().map(|(_, conn)| conn.output.len()).max().unwrap_or(0)
}

/// A subscriber that reads nothing, and one that does, get messages of that length until some had to be dropped.
fn frozen(len: usize) {
    let mut rig = Rig::new(1, &limits());
    let (mut frozen, mut live) = (rig.subscriber("frozen", "t", 0).narrow(), rig.subscriber("live", "t", 0));
    let mut publisher = rig.client("publisher");
    let message = publish("t", &numbered(0, len)).len();
    let dropped = |rig: &Rig| rig.shards[0].engine.report().counters.dropped.output_full;
    let mut count = 0;
    while dropped(&rig) < 20 {
        publisher.send(&publish("t", &numbered(count, len)));
        count += 1;
        rig.until("it is sent, and the live subscriber has it", |rig| {
            publisher.run();
            live.run();
            assert!(output(rig, 0) <= OUTPUT.max(message), "the output is bounded");
            live.got.len() == message * count as usize
        });
    }
    assert_eq!(numbers(&live.got, message, len), (0..count).collect::<Vec<_>>());
    let dropped = dropped(&rig);
    rig.until("the rest", |_| {
        frozen.run();
        frozen.got.len() as u64 == message as u64 * (u64::from(count) - dropped)
    });
    let got = numbers(&frozen.got, message, len);
    assert!(got.is_sorted_by(|a, b| a < b), "in order, each once");
    // It is served again.
    frozen.got.clear();
    publisher.send(&publish("t", &numbered(count, len)));
    rig.expect(&mut frozen, &publish("t", &numbered(count, len)));
}

#[test]
fn a_frozen_subscriber_loses_its_own_small_messages_and_no_one_elses() {
    frozen(8_000);
}

#[test]
fn a_frozen_subscriber_loses_its_own_large_messages_and_no_one_elses() {
    frozen(100_000);
}

#[test]
fn qos_1_waits_for_a_frozen_subscriber() {
    let mut rig = Rig::new(1, &limits());
    let mut frozen = rig.subscriber("frozen", "t", 1).narrow();
    let mut publisher = rig.client("publisher");
    let mut count = 0;
    // More than the kernel keeps, and the output.
    while rig.shards[0].engine.report().queued_messages < 20 {
        count += 1;
        publisher.send(&publish_1(count, "t", &numbered(count.into(), 8_000)));
        rig.expect(&mut publisher, &puback(count));
        assert!(output(&rig, 0) <= OUTPUT, "the output is bounded");
    }
    let message = publish_1(1, "t", &numbered(0, 8_000)).len();
    let (mut received, mut seen) = (0, 0);
    rig.until("all of them", |_| {
        frozen.run();
        while frozen.got.len() >= seen + message {
            let id = [frozen.got[seen + 6], frozen.got[seen + 7]];
            frozen.send(&puback(u16::from_be_bytes(id)));
            (received, seen) = (received + 1, seen + message);
        }
        received == count
    });
    assert_eq!(numbers(&frozen.got, message, 8_000), (1..=count.into()).collect::<Vec<u32>>());
}

#[test]
fn a_burst_above_the_bound_reaches_a_subscriber_whose_socket_takes_it() {
    let mut rig = Rig::new(2, &Limits { output_bytes_max: 8 << 10, ..Limits::default() });
    let mut subscriber = rig.subscriber("subscriber", "t", 0);
    let mut publishers: Vec<_> = (0..8).map(|n| rig.client(&format!("publisher {n}"))).collect();
    let burst: Vec<u8> = (0..100).flat_map(|n| publish("t", &numbered(n, 60))).collect();
    // All of it is there before the shards look.
    publishers.iter_mut().for_each(|publisher| publisher.send(&burst));
    rig.until("everything", |_| {
        subscriber.run();
        subscriber.got.len() == burst.len() * publishers.len()
    });
}

#[test]
fn a_client_that_does_not_take_its_answers_is_not_read() {
    let mut rig = Rig::new(1, &limits());
    let (mut deaf, mut bystander) = (rig.client("deaf").narrow(), rig.client("bystander"));
    for (_, conn) in rig.shards[0].world.conns.iter() {
        set_socket_send_buffer_size(&conn.socket, 64 << 10).expect("a socket");
    }
    let questions = PINGREQ.repeat(128 << 10);
    let (mut asked, mut unsent) = (0, 0);
    rig.until("it cannot send any more", |rig| {
        if deaf.unsent() == 0 {
            deaf.send(&questions);
            asked += questions.len();
        }
        let before = std::mem::replace(&mut unsent, deaf.unsent());
        // What was read before the bound was passed is answered.
        assert!(output(rig, 0) <= OUTPUT + (64 << 10) + SCRATCH, "the output is bounded");
        deaf.try_send();
        rig.shards[0].world.conns.iter().any(|(_, conn)| conn.flags.paused) && unsent > 0 && before == unsent
    });
    bystander.send(&PINGREQ);
    rig.expect(&mut bystander, &PINGRESP);
    rig.until("every answer", |_| {
        deaf.run();
        deaf.got.len() == asked
    });
}

#[test]
fn a_publisher_waits_while_another_shard_lags_and_nothing_is_lost() {
    let mut rig = Rig::with_links(2, &limits(), 2);
    let (publisher, subscriber) = (rig.id_on(0), rig.id_on(1));
    let (mut publisher, mut subscriber) = (rig.client(&publisher), rig.subscriber(&subscriber, "t", 1));
    rig.stalled = vec![1];
    let message = publish_1(1, "t", &numbered(0, 8_000)).len();
    let stream: Vec<u8> =
        (1..=4_000u16).flat_map(|n| publish_1(n, "t", &numbered(n.into(), 8_000))).collect();
    publisher.send(&stream);
    let mut unsent = usize::MAX;
    rig.until("it cannot send any more", |rig| {
        publisher.run();
        let before = std::mem::replace(&mut unsent, publisher.unsent());
        rig.shards[0].world.port.congested() && before == unsent
    });
    assert!(publisher.unsent() > 0);
    assert!(rig.shards[0].world.port.pending() <= SCRATCH / message + 1, "one read at most waits");
    rig.stalled.clear();
    let mut seen = 0;
    rig.until("all of them", |_| {
        publisher.run();
        subscriber.run();
        while subscriber.got.len() >= seen + message {
            let id = [subscriber.got[seen + 6], subscriber.got[seen + 7]];
            subscriber.send(&puback(u16::from_be_bytes(id)));
            seen += message;
        }
        seen == message * 4_000
    });
    assert_eq!(numbers(&subscriber.got, message, 8_000), (1..=4_000).collect::<Vec<u32>>());
}

#[test]
fn a_ping_that_is_here_counts_even_if_it_is_not_read_yet() {
    let mut rig = Rig::with_links(2, &Limits::default(), 1);
    let (publisher, quiet) = (rig.id_on(0), format!("{}0", rig.id_on(0)));
    let quiet = (0..).map(|n| format!("{quiet}{n}")).find(|id| rig.owner(id) == 0).expect("there is one");
    let (mut publisher, mut quiet) = (rig.client(&publisher), rig.client(&quiet));
    let _subscriber = rig.subscriber(&rig.id_on(1), "t", 0);
    rig.stalled = vec![1];
    rig.until("the link is full", |rig| {
        publisher.send(&publish("t", &[0; 8_000]));
        rig.shards[0].world.port.congested()
    });
    quiet.send(&PINGREQ);
    // Three times the keep alive.
    rig.pass(Span::from_secs(180));
    assert!(rig.shards[0].sleep_span(rig.now) > Span(0), "it sleeps meanwhile");
    rig.stalled.clear();
    rig.expect(&mut quiet, &PINGRESP);
    rig.settle();
    quiet.send(&PINGREQ);
    rig.expect(&mut quiet, &PINGRESP);
}

#[test]
fn nobody_is_silent_before_all_are_read() {
    let mut rig = Rig::new(1, &Limits::default());
    let mut clients: Vec<_> = (0..20).map(|n| rig.client(&format!("c{n}"))).collect();
    let flood: Vec<u8> = (0..1_000).flat_map(|n| publish("t", &numbered(n, 150))).collect();
    clients.iter_mut().for_each(|client| client.send(&[&flood[..], &PINGREQ].concat()));
    // Three times the keep alive, in one step: many turns are needed for what came meanwhile.
    rig.now = rig.now + Span::from_secs(180);
    clients.iter_mut().for_each(|client| rig.expect(client, &PINGRESP));
}

#[test]
fn a_turn_reads_a_bounded_part_of_what_all_clients_send() {
    let mut rig = Rig::new(1, &Limits::default());
    let mut clients: Vec<_> = (0..40).map(|n| rig.client(&format!("c{n}"))).collect();
    let flood: Vec<u8> = (0..1_000).flat_map(|n| publish("t", &numbered(n, 50))).collect();
    clients.iter_mut().for_each(|client| client.send(&[&flood[..], &PINGREQ].concat()));
    let mut before = rig.shards[0].world.traffic.bytes_received;
    rig.until("all is read", |rig| {
        let read = rig.shards[0].world.traffic.bytes_received - before;
        assert!(read <= (1 << 20) + SCRATCH as u64, "{read} bytes in one turn");
        before += read;
        clients.iter_mut().all(|client| {
            client.run();
            client.got == PINGRESP
        })
    });
}

#[test]
fn answers_leave_before_a_goodbye_that_came_with_the_questions() {
    let mut rig = Rig::new(2, &Limits::default());
    for finished in [false, true] {
        let mut client = rig.dial();
        client.send(&[connect("brief"), publish_1(1, "t", b"x"), DISCONNECT.to_vec()].concat());
        if finished {
            client.finish();
        }
        rig.expect_end(&mut client, &[CONNACK.to_vec(), puback(1)].concat());
    }
}

#[test]
fn a_client_that_sends_no_more_gets_its_answers() {
    let mut rig = Rig::new(2, &Limits::default());
    let mut client = rig.dial();
    client.send(&[connect("brief"), publish_1(1, "t", b"x")].concat());
    client.finish();
    rig.expect_end(&mut client, &[CONNACK.to_vec(), puback(1)].concat());
}

#[test]
fn what_a_vanished_client_sent_before_still_counts() {
    let mut rig = Rig::new(1, &Limits::default());
    let mut watcher = rig.subscriber("watcher", "#", 0);
    let mut client = rig.dial();
    // With the will "will" on the topic "will".
    let connect = packet(0x10, b"\0\x04MQTT\x04\x06\0\x3c\0\x01v\0\x04will\0\x04will");
    client.send(&[connect, subscribe(1, "echo", 0)].concat());
    rig.expect(&mut client, &[CONNACK.to_vec(), suback(1, 0)].concat());
    let messages: Vec<u8> = (0..50).flat_map(|n| publish("t", &numbered(n, 1_000))).collect();
    client.send(&[&messages[..], &DISCONNECT].concat());
    client.vanish();
    // Writing to it fails before it is read.
    let shard = &mut rig.shards[0];
    let vanished =
        shard.world.conns.iter().map(|(key, _)| key).max_by_key(|key| key.slot).expect("it is there");
    for _ in 0..2 {
        shard.world.send(vanished, &PINGRESP);
        shard.flush();
    }
    rig.until("its connection ends", |rig| rig.connections() == 1);
    rig.settle();
    watcher.run();
    assert!(watcher.got == messages, "all messages and no will");
}
