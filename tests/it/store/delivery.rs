//! Messages on their way over a restart: what waits, what was sent, and what was received but not completed.

use super::{Life, clean, each_restart, persistent};
use crate::support::{Properties, Publication, Raw, property, publish, publish_v5, varint};

/// A packet of QoS 2's or 1's handshake.
fn ack(first: u8, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [first, 2, high, low]
}

/// Packet id and payload of a PUBLISH of 3.1.1 with QoS 1 or 2 , and less than 126 bytes.
fn of(packet: &[u8]) -> (u16, &[u8]) {
    let topic = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    assert_eq!(packet[0] >> 4, 3, "{packet:02x?}");
    (u16::from_be_bytes([packet[4 + topic], packet[5 + topic]]), &packet[6 + topic..])
}

/// What a client is owed: what comes before a message of this moment, which is acknowledged for good. What waits in the
/// store comes a little later than the answer to a ping.
#[track_caller]
fn all(life: &Life, raw: &mut Raw, topic: &str) -> Vec<Vec<u8>> {
    clean(life, "marker").publishes_v3(0, topic, b"mark");
    let mut got = Vec::new();
    loop {
        let packet = raw.packet();
        if packet[0] >> 4 == 3 && packet.ends_with(b"mark") {
            raw.send(&ack(0x40, of(&packet).0));
            settle(life, raw);
            return got;
        }
        got.push(packet);
    }
}

/// What this client said before is on disk: a session's requests are kept in their order, and SUBACK waits for its own. The
/// core of a message's publisher may have to know as well; it has what is retained later behind that.
fn settle(life: &Life, raw: &mut Raw) {
    raw.subscribe("settled", 0);
    let mut publisher = clean(life, "settler");
    (0..8).for_each(|n| publisher.publishes_v3(1, &format!("later/{n}"), b"x"));
}

/// Hands over a message with QoS 2, completely.
fn publish_twice_assured(raw: &mut Raw, topic: &str, id: u16, payload: &[u8]) {
    raw.send(&publish(4, topic, Some(id), payload));
    raw.expect(&ack(0x50, id));
    raw.send(&ack(0x62, id));
    raw.expect(&ack(0x70, id));
}

#[test]
fn queued_messages_come_in_their_order_with_their_qos_and_properties() {
    each_restart(|life| {
        let (mut old, mut new) = (persistent(life, "old", false), life.kept_v5("new", false));
        old.subscribe("q", 2);
        new.subscribe_v5("q", 2 | 8);
        old.leave_v3();
        new.leave();
        let mut publisher = life.v5("publisher");
        let properties = [vec![0x01, 1], property::pair("k", "v")].concat();
        let block = [&varint(properties.len()), &properties[..]].concat();
        for n in 0..60u8 {
            let qos = 1 + n % 2;
            publisher.send(&publish_v5(qos << 1, "q", Some(u16::from(n) + 1), &properties, &[n]));
            assert_eq!(publisher.packet()[0], if qos == 1 { 0x40 } else { 0x50 });
        }
        life.restart();
        let mut publisher = life.v5("publisher");
        for n in 60..70u8 {
            publisher.publishes(0, "q", &properties, &[n]);
        }
        let mut old = persistent(life, "old", true);
        let mut new = life.kept_v5("new", true);
        for n in 0..70u8 {
            let flags = if n % 2 == 1 && n < 60 { 4 } else { 2 };
            let got = old.packet();
            assert_eq!((got[0], got[7..].to_vec()), (0x30 | flags, vec![n]), "not a DUP and in order");
            let Publication { flags: seen, properties: kept, payload, .. } = new.publication();
            assert_eq!((seen, payload), (flags, vec![n]));
            assert_eq!(kept, Properties::within(&block[..]));
        }
        old.expect_silence();
        new.expect_silence();
    });
}

#[test]
fn what_was_sent_and_not_acknowledged_is_sent_again_with_its_id_and_dup() {
    each_restart(|life| {
        let mut subscriber = persistent(life, "subscriber", false);
        subscriber.subscribe("f", 2);
        let mut publisher = clean(life, "publisher");
        for n in 0..6u8 {
            publisher.send(&publish(if n < 3 { 2 } else { 4 }, "f", Some(u16::from(n) + 1), &[n]));
            publisher.packet();
        }
        let first: Vec<Vec<u8>> = (0..6).map(|_| subscriber.packet()).collect();
        let ids: Vec<u16> = first.iter().map(|packet| of(packet).0).collect();
        // QoS 1: one acknowledged. QoS 2: one received, one completed, one neither.
        subscriber.send(&ack(0x40, ids[1]));
        subscriber.send(&[ack(0x50, ids[3]), ack(0x50, ids[4])].concat());
        subscriber.expect(&[ack(0x62, ids[3]), ack(0x62, ids[4])].concat());
        subscriber.send(&ack(0x70, ids[4]));
        settle(life, &mut subscriber);
        life.restart();
        let mut subscriber = persistent(life, "subscriber", true);
        let again = all(life, &mut subscriber, "f");
        let (publishes, others): (Vec<_>, Vec<_>) = again.iter().partition(|packet| packet[0] >> 4 == 3);
        let expected: Vec<Vec<u8>> = [0, 2, 5].map(|n: usize| first[n].clone()).to_vec();
        let dup = |packet: &Vec<u8>| [&[packet[0] | 8], &packet[1..]].concat();
        assert_eq!(publishes, expected.iter().map(dup).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        assert_eq!(others, [&ack(0x62, ids[3]).to_vec()], "PUBREL and not the message");
        subscriber.send(&[ack(0x70, ids[3]), ack(0x40, ids[0]), ack(0x40, ids[2])].concat());
        subscriber.send(&ack(0x50, ids[5]));
        subscriber.expect(&ack(0x62, ids[5]));
        subscriber.send(&ack(0x70, ids[5]));
        settle(life, &mut subscriber);
        life.restart();
        let mut subscriber = persistent(life, "subscriber", true);
        assert_eq!(all(life, &mut subscriber, "f"), Vec::<Vec<u8>>::new());
        // Numbers go on: what is new is not taken for something that was sent before.
        clean(life, "publisher").publishes_v3(0, "f", b"new");
        let got = subscriber.packet();
        assert_eq!((got[0], of(&got).1), (0x32, &b"new"[..]));
    });
}

#[test]
fn more_than_the_window_is_sent_again_in_order_after_several_restarts() {
    each_restart(|life| {
        let mut subscriber = persistent(life, "subscriber", false);
        subscriber.subscribe("w", 2);
        drop(subscriber);
        let mut publisher = clean(life, "publisher");
        for n in 0..40u8 {
            publisher.publishes_v3(0, "w", &[n]);
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            let mut subscriber = persistent(life, "subscriber", true);
            let got = all(life, &mut subscriber, "w");
            let now: Vec<_> = got.iter().map(|packet| (of(packet).0, of(packet).1.to_vec())).collect();
            assert_eq!(now.len(), 40);
            assert!(seen.is_empty() || seen == now, "the same ids and messages");
            seen = now;
            life.restart();
        }
        assert!(seen.iter().map(|(_, payload)| payload[0]).eq(0..40));
    });
}

#[test]
fn a_message_with_qos_2_that_comes_again_after_the_restart_is_delivered_once() {
    each_restart(|life| {
        persistent(life, "stored", false).subscribe("t", 2);
        let mut publisher = persistent(life, "publisher", false);
        publisher.send(&publish(4, "t", Some(11), b"once"));
        publisher.expect(&ack(0x50, 11));
        life.restart();
        let mut publisher = persistent(life, "publisher", true);
        publisher.send(&publish(0xc, "t", Some(11), b"once"));
        publisher.expect(&ack(0x50, 11));
        publisher.send(&ack(0x62, 11));
        publisher.expect(&ack(0x70, 11));
        // From here on it is another message.
        life.restart();
        let mut publisher = persistent(life, "publisher", true);
        publish_twice_assured(&mut publisher, "t", 11, b"another");
        life.restart();
        let mut publisher = persistent(life, "publisher", true);
        publisher.send(&ack(0x62, 11));
        publisher.expect(&ack(0x70, 11));
        let mut stored = persistent(life, "stored", true);
        let got: Vec<_> = all(life, &mut stored, "t").iter().map(|packet| of(packet).1.to_vec()).collect();
        assert_eq!(got, [&b"once"[..], b"another"]);
    });
}

#[test]
fn a_message_with_qos_2_that_nobody_stored_needed_is_not_taken_twice_either() {
    each_restart(|life| {
        let mut listener = clean(life, "listener");
        listener.subscribe("t", 0);
        let mut publisher = persistent(life, "publisher", false);
        publisher.send(&publish(4, "t", Some(11), b"once"));
        publisher.expect(&ack(0x50, 11));
        publisher.send(&publish(4, "nobody", Some(12), b"once"));
        publisher.expect(&ack(0x50, 12));
        listener.expect(&publish(0, "t", None, b"once"));
        life.restart();
        let mut listener = clean(life, "listener");
        listener.subscribe("#", 0);
        let mut publisher = persistent(life, "publisher", true);
        for (topic, id) in [("t", 11), ("nobody", 12)] {
            publisher.send(&publish(0xc, topic, Some(id), b"once"));
            publisher.expect(&ack(0x50, id));
            publisher.send(&ack(0x62, id));
            publisher.expect(&ack(0x70, id));
        }
        publish_twice_assured(&mut publisher, "t", 11, b"another");
        listener.expect(&publish(0, "t", None, b"another"));
    });
}

#[test]
fn a_message_for_sessions_of_every_shard_is_there_for_all_or_acknowledged_to_none() {
    for (shards, after) in [(1, 2), (2, 1), (3, 2)] {
        let mut life = Life::ending((super::End::Killed, shards, after), "");
        let ids: Vec<String> = (0..10).map(|n| format!("member-{n}")).collect();
        for id in &ids {
            let mut member = persistent(&life, id, false);
            member.subscribe("a", 1);
            member.subscribe(id, 1);
        }
        let mut publisher = clean(&life, "publisher");
        // The last ones are not waited for: they may be there or not, but in order.
        for n in 0..30u8 {
            publisher.send(&publish(2, "a", Some(u16::from(n) + 1), &[n]));
        }
        (0..10).for_each(|n| publisher.expect(&ack(0x40, n + 1)));
        life.restart();
        let counts: Vec<usize> = ids
            .iter()
            .map(|id| {
                let got = all(&life, &mut persistent(&life, id, true), id);
                got.iter().zip(0..).for_each(|(packet, n)| assert_eq!(of(packet).1, [n], "{id}"));
                got.len()
            })
            .collect();
        assert!(counts[0] >= 10 && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    }
}
