//! Bytes in, bytes out: what the standard says of single connections and of pairs of them.

use crate::support::{
    Broker, Connect, PINGREQ, PINGRESP, Raw, connack, packet, publish, publish_v5, suback, subscribe,
    subscribe_many, text,
};

#[test]
fn clients_of_3_1_and_3_1_1_and_5_are_accepted() {
    let broker = Broker::start();
    for (level, version) in [(3, "3.1"), (4, "3.1.1"), (0x84, "3.1.1 of a bridge")] {
        let mut raw = broker.raw();
        raw.send(&Connect { level, ..Connect::new(version) }.bytes());
        raw.expect(&connack(false, 0));
        raw.send(&PINGREQ);
        raw.expect(&PINGRESP);
    }
    let mut raw = broker.raw();
    raw.send(&Connect::v5("5.0").bytes());
    let connack = raw.packet();
    assert_eq!(connack[..1], [0x20]);
    assert_eq!(connack[2..4], [0, 0], "no session, success");
    raw.expect_silence();
}

#[test]
fn a_level_that_is_not_spoken_is_refused_and_closed_mqtt_3_1_2_2() {
    let broker = Broker::start();
    for (level, answer) in [(1, &[0x20, 2, 0, 1][..]), (2, &[0x20, 2, 0, 1]), (6, &[0x20, 3, 0, 0x84, 0])] {
        let mut raw = broker.raw();
        raw.send(&Connect { level, ..Connect::new("c") }.bytes());
        raw.expect(answer);
        raw.expect_closed();
    }
    broker.serves();
}

#[test]
fn the_first_packet_has_to_be_connect_and_the_only_one_mqtt_3_1_0_1_and_2() {
    let broker = Broker::start();
    for first in [publish(0, "a", None, b"x"), PINGREQ.to_vec(), subscribe(1, "a", 0)] {
        let mut raw = broker.raw();
        raw.send(&first);
        raw.expect_closed();
    }
    let mut raw = broker.raw();
    raw.connect("twice");
    raw.send(&Connect::new("twice").bytes());
    raw.expect_closed();
    broker.serves();
}

#[test]
fn an_empty_client_id_is_named_by_the_broker_or_refused_mqtt_3_1_3_8() {
    let broker = Broker::start();
    broker.raw().connect("");
    let mut kept = broker.raw();
    kept.send(&Connect { clean: false, ..Connect::new("") }.bytes());
    kept.expect(&connack(false, 2));
    kept.expect_closed();
    let mut v5 = broker.raw();
    v5.send(&Connect::v5("").bytes());
    let connack = v5.packet();
    let assigned = connack.windows(7).any(|w| w[0] == 0x12 && &w[3..] == b"auto");
    assert!(assigned, "Assigned Client Identifier in {connack:02x?}");
}

#[test]
fn wildcards_match_whole_levels_and_hide_dollar_topics_mqtt_4_7() {
    let broker = Broker::start();
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    let cases: [(&str, &[&str], &[&str]); 6] = [
        ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/d", "a/b/c/d"]),
        ("a/#", &["a", "a/b", "a/b/c", "a/"], &["b", "ab"]),
        ("+", &["x"], &["x/y", "/x", "$x"]),
        ("/+", &["/x"], &["x", "x/y"]),
        ("#", &["x", "/", "a/b"], &["$SYS/x", "$other"]),
        ("$other/#", &["$other/x"], &["other/x"]),
    ];
    for (index, (filter, matching, others)) in cases.iter().enumerate() {
        let mut subscriber = broker.raw();
        subscriber.connect(&format!("subscriber-{index}"));
        subscriber.subscribe(filter, 0);
        for topic in others.iter().chain(*matching) {
            publisher.send(&publish(0, topic, None, filter.as_bytes()));
        }
        for topic in *matching {
            subscriber.expect(&publish(0, topic, None, filter.as_bytes()));
        }
        subscriber.expect_silence();
    }
}

#[test]
fn qos_is_the_lower_of_publication_and_subscription_mqtt_3_8_4_6() {
    let broker = Broker::start();
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    for granted in 0..=2u8 {
        let mut subscriber = broker.raw();
        subscriber.connect(&format!("subscriber-{granted}"));
        subscriber.subscribe(&format!("t/{granted}"), granted);
        for sent in 0..=2u8 {
            let id = (sent > 0).then_some(u16::from(sent));
            publisher.send(&publish(sent << 1, &format!("t/{granted}"), id, b"x"));
            match sent {
                1 => publisher.expect(&[0x40, 2, 0, 1]),
                2 => {
                    publisher.expect(&[0x50, 2, 0, 2]);
                    publisher.send(&[0x62, 2, 0, 2]);
                    publisher.expect(&[0x70, 2, 0, 2]);
                }
                _ => {}
            }
            let got = subscriber.packet();
            assert_eq!(got[0], 0x30 | sent.min(granted) << 1, "sent {sent}, granted {granted}");
        }
    }
}

#[test]
fn overlapping_subscriptions_bring_one_copy_at_the_highest_qos_mqtt_3_3_5_1() {
    let broker = Broker::start();
    let mut subscriber = broker.raw();
    subscriber.connect("subscriber");
    subscriber.send(&subscribe_many(9, &[("a/#", 0), ("a/+", 1), ("a/b", 0)]));
    subscriber.expect(&packet(0x90, &[&[0, 9, 0, 1, 0]]));
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    publisher.send(&publish(2, "a/b", Some(1), b"x"));
    subscriber.expect(&publish(2, "a/b", Some(1), b"x"));
    subscriber.expect_silence();
}

#[test]
fn retained_messages_are_kept_replaced_and_cleared_mqtt_3_3_1_5_and_6() {
    let broker = Broker::sharded(3, "");
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    for topic in ["r/1", "r/2", "r/3", "r/4"] {
        publisher.send(&publish(3, topic, Some(1), b"old"));
        publisher.expect(&[0x40, 2, 0, 1]);
    }
    publisher.send(&publish(3, "r/2", Some(1), b"new"));
    publisher.expect(&[0x40, 2, 0, 1]);
    publisher.send(&publish(3, "r/3", Some(1), b""));
    publisher.expect(&[0x40, 2, 0, 1]);
    let mut subscriber = broker.raw();
    subscriber.connect("subscriber");
    subscriber.subscribe("r/#", 0);
    let mut got: Vec<_> = (0..3).map(|_| subscriber.packet()).collect();
    got.sort();
    let kept = [("r/1", "old"), ("r/2", "new"), ("r/4", "old")];
    assert_eq!(got, kept.map(|(topic, payload)| publish(1, topic, None, payload.as_bytes())));
    publisher.send(&publish(1, "r/1", None, b"live"));
    subscriber.expect(&publish(0, "r/1", None, b"live"));
    subscriber.send(&subscribe(2, "r/1", 0));
    subscriber.expect(&suback(2, 0));
    subscriber.expect(&publish(1, "r/1", None, b"live"));
}

#[test]
fn unsubscribing_ends_deliveries_and_is_always_acknowledged_mqtt_3_10_4() {
    let broker = Broker::start();
    let mut subscriber = broker.raw();
    subscriber.connect("subscriber");
    subscriber.subscribe("a", 0);
    for filter in ["a", "never/subscribed"] {
        subscriber.send(&packet(0xa2, &[&[0, 3], &text(filter)]));
        subscriber.expect(&[0xb0, 2, 0, 3]);
    }
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    publisher.send(&publish(2, "a", Some(1), b"x"));
    publisher.expect(&[0x40, 2, 0, 1]);
    subscriber.expect_silence();
}

#[test]
fn acknowledgements_come_in_the_order_of_their_publishes_also_where_other_shards_keep_the_message() {
    let broker = Broker::sharded(4, "");
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    let mut sent = Vec::new();
    for id in 1..=200u16 {
        // Retained ones are stored by the shard that their topic hashes to; the others need nobody.
        let flags = if id % 3 == 0 { 2 } else { 3 };
        sent.extend(publish(flags, &format!("order/{id}"), Some(id), b"x"));
    }
    publisher.send(&sent);
    for id in 1..=200u16 {
        let [high, low] = id.to_be_bytes();
        publisher.expect(&[0x40, 2, high, low]);
    }
}

#[test]
fn a_message_published_after_suback_is_delivered_from_every_shard_in_order() {
    let broker = Broker::sharded(4, "");
    let mut publishers: Vec<Raw> = (0..8)
        .map(|n| {
            let mut raw = broker.raw();
            raw.connect(&format!("publisher-{n}"));
            raw
        })
        .collect();
    for round in 0..25 {
        let mut subscriber = broker.raw();
        subscriber.connect(&format!("subscriber-{round}"));
        let topic = format!("round/{round}");
        subscriber.subscribe(&topic, 1);
        for (number, publisher) in publishers.iter_mut().enumerate() {
            for id in 1..=3u16 {
                publisher.send(&publish(
                    2,
                    &topic,
                    Some(id),
                    &[u8::try_from(number).unwrap(), id.to_be_bytes()[1]],
                ));
            }
        }
        let mut next = [1u8; 8];
        for _ in 0..8 * 3 {
            let got = subscriber.packet();
            let &[.., number, id] = &got[..] else { panic!("{got:?}") };
            assert_eq!(id, next[usize::from(number)], "each publisher's messages in their order");
            next[usize::from(number)] += 1;
        }
        for publisher in &mut publishers {
            (1..=3).for_each(|id| publisher.expect(&[0x40, 2, 0, id]));
        }
    }
}

#[test]
fn a_message_of_5_0_keeps_its_properties_and_loses_them_for_3_1_1() {
    let broker = Broker::start();
    let mut new = broker.raw();
    new.send(&Connect::v5("new").bytes());
    new.packet();
    new.send(&packet(0x82, &[&[0, 1, 0], &text("p"), &[0]]));
    new.expect(&[0x90, 4, 0, 1, 0, 0]);
    let mut old = broker.raw();
    old.connect("old");
    old.subscribe("p", 0);
    let mut publisher = broker.raw();
    publisher.send(&Connect::v5("publisher").bytes());
    publisher.packet();
    // Content type "t", user properties a=1 and a=2, in this order.
    let properties =
        [&[3][..], &text("t"), &[0x26], &text("a"), &text("1"), &[0x26], &text("a"), &text("2")].concat();
    publisher.send(&publish_v5(0, "p", None, &properties, b"x"));
    new.expect(&publish_v5(0, "p", None, &properties, b"x"));
    old.expect(&publish(0, "p", None, b"x"));
    publisher.send(&publish_v5(2, "nobody", Some(5), &[], b"x"));
    publisher.expect(&[0x40, 3, 0, 5, 0x10]);
}

#[test]
fn a_large_payload_arrives_whole_however_it_is_cut() {
    let broker = Broker::start();
    let mut subscriber = broker.raw();
    subscriber.connect("subscriber");
    subscriber.subscribe("large", 1);
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    for size in [16_383, 16_384, 65_535, 65_536, 262_144, 3_000_001] {
        let payload: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let sent = publish(2, "large", Some(1), &payload);
        for piece in sent.chunks(size as usize / 7 + 1) {
            publisher.send(piece);
        }
        publisher.expect(&[0x40, 2, 0, 1]);
        let got = subscriber.packet();
        assert!(got.ends_with(&payload) && got.len() == sent.len(), "{size}");
        let &[_, .., high, low] = &got[..got.len() - payload.len()] else { panic!("no packet id") };
        subscriber.send(&[0x40, 2, high, low]);
    }
}
