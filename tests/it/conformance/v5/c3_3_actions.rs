//! Chapter 3.3: what is done with a PUBLISH.

use crate::conformance::{on_each_layout, with_settings};
use crate::support::{
    Broker, Connect, PINGREQ, PINGRESP, Publication, Raw, packet, property, publish_v5, subscribe_v5, text,
    unsubscribe_v5,
};

#[test]
fn mqtt_3_3_4_1_publish_is_answered_as_its_qos_demands() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("t", 0);
        let mut client = broker.v5("client");
        client.send(&publish_v5(0, "t", None, &[], b"x"));
        client.lives();
        client.send(&publish_v5(2, "t", Some(1), &[], b"x"));
        client.expect(&[0x40, 2, 0, 1]);
        client.send(&publish_v5(4, "t", Some(2), &[], b"x"));
        client.expect(&[0x50, 2, 0, 2]);
        client.send(&[0x62, 2, 0, 2]);
        client.expect(&[0x70, 2, 0, 2]);
        client.lives();
        for _ in 0..3 {
            watcher.expect(&publish_v5(0, "t", None, &[], b"x"));
        }
        watcher.lives();
    });
}

#[test]
fn mqtt_3_3_4_2_overlapping_subscriptions_deliver_at_their_highest_qos() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        let filters = [("a/#", 0), ("a/+", 2), ("a/b", 1), ("+/c", 1), ("a/c", 0), ("mark", 0)];
        client.send(&subscribe_v5(9, &[], &filters));
        client.expect(&packet(0x90, &[&[0, 9, 0, 0, 2, 1, 1, 0, 0]]));
        let mut publisher = broker.v5("publisher");
        publisher.send(&publish_v5(4, "a/b", Some(1), &[], b"x"));
        client.expect(&publish_v5(4, "a/b", Some(1), &[], b"x"));
        publisher.send(&publish_v5(4, "b/c", Some(2), &[], b"x"));
        client.expect(&publish_v5(2, "b/c", Some(2), &[], b"x"));
        publisher.send(&publish_v5(4, "a/b/c", Some(3), &[], b"x"));
        client.expect(&publish_v5(0, "a/b/c", None, &[], b"x"));
        publisher.expect(&[0x50, 2, 0, 1, 0x50, 2, 0, 2, 0x50, 2, 0, 3]);
        publisher.nothing_before_mark(&mut client, "mark");
    });
}

/// A client with overlapping subscriptions, of which two have identifiers.
fn overlapping(raw: &mut Raw) {
    raw.subscribe_with(&property::subscription_id(1), "a/#", 0);
    raw.subscribe_with(&[], "a/+", 1);
    raw.subscribe_with(&property::subscription_id(268_435_455), "+/b", 1);
    raw.subscribe_with(&property::subscription_id(1), "a/b", 0);
    raw.subscribe_with(&[], "mark", 0);
}

#[test]
fn mqtt_3_3_4_3_identifiers_of_overlapping_subscriptions_come_with_the_message() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        overlapping(&mut client);
        let mut publisher = broker.v5("publisher");
        let cases: [(&str, &[usize]); 4] =
            [("a/b", &[1, 1, 268_435_455]), ("a/c", &[1]), ("b/b", &[268_435_455]), ("a/b/c", &[1])];
        for (topic, ids) in cases {
            publisher.publishes(0, topic, &[], b"x");
            let got = client.publication();
            assert_eq!(got.topic, topic);
            let mut found = got.properties.subscription_ids();
            assert!(ids.iter().all(|id| found.contains(id)), "{topic}: {found:?}");
            found.retain(|id| !ids.contains(id));
            assert!(found.is_empty(), "{topic}: {found:?}");
        }
        // The identifier goes with the subscription that replaces it.
        client.subscribe_with(&[], "a/#", 0);
        publisher.publishes(0, "a/b/c", &[], b"x");
        assert!(client.publication().properties.subscription_ids().is_empty());
        publisher.nothing_before_mark(&mut client, "mark");
    });
}

#[test]
fn mqtt_3_3_4_4_one_copy_carries_the_identifiers_of_all_matching_subscriptions() {
    on_each_layout(|broker| {
        let mut client = broker.kept_v5("client", false);
        let filters = ["a/b/c", "a/b/+", "a/b/#", "a/+/c", "+/b/c", "#", "a/#", "+/+/+", "other"];
        for (id, filter) in filters.iter().enumerate() {
            client.subscribe_with(&property::subscription_id(id + 1), filter, 1);
        }
        client.subscribe_v5("mark", 0);
        let mut publisher = broker.v5("publisher");
        publisher.publishes(0, "a/b/c", &[], b"x");
        assert_eq!(client.publication().properties.subscription_ids(), [1, 2, 3, 4, 5, 6, 7, 8]);
        // Also in what waits for a client that is away, and in what is sent again.
        client.leave();
        publisher.publishes(0, "a/b/c", &[], b"y");
        let mut client = broker.kept_v5("client", true);
        for payload in [b"x", b"y"] {
            let got = client.publication();
            assert_eq!(got.payload, payload);
            assert_eq!(got.properties.subscription_ids(), [1, 2, 3, 4, 5, 6, 7, 8]);
        }
        client.lives();
    });
}

#[test]
fn mqtt_3_3_4_5_several_copies_carry_each_its_own_identifier() {
    on_each_layout(|broker| {
        // A shared subscription brings a copy of its own. [MQTT 4.8.2]
        let mut client = broker.v5("client");
        client.subscribe_with(&property::subscription_id(1), "a/#", 0);
        client.subscribe_with(&property::subscription_id(2), "$share/group/a/b", 0);
        client.subscribe_with(&property::subscription_id(3), "$share/other/a/+", 0);
        client.subscribe_with(&[], "$share/third/a/+", 0);
        let mut publisher = broker.v5("publisher");
        publisher.publishes(0, "a/b", &[], b"x");
        let mut ids = [(); 4].map(|()| client.publication().properties.subscription_ids());
        ids.sort();
        assert_eq!(ids, [vec![], vec![1], vec![2], vec![3]]);
        client.lives();
    });
}

#[test]
fn mqtt_3_3_4_6_a_client_names_no_subscription_in_publish() {
    on_each_layout(|broker| {
        for id in [1, 128, 268_435_455] {
            let id = property::subscription_id(id);
            broker.disconnects("client", &publish_v5(0, "t", None, &id, b""), 0x82);
            broker.disconnects("client", &publish_v5(2, "t", Some(1), &id, b""), 0x82);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_3_4_7_more_than_receive_maximum_ends_the_connection() {
    with_settings("[session]\nreceive_max = 3", |broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("t", 0);
        let (mut client, answer) = broker.greeted(&Connect::v5("client"));
        assert_eq!(answer.properties.number(property::RECEIVE_MAXIMUM), Some(3));
        let publish = |id| publish_v5(4, "t", Some(id), &[], &id.to_be_bytes());
        // What was answered for good does not count, and QoS 0 never does.
        for _ in 0..3 {
            for id in 1..=3_u8 {
                client.send(&publish(u16::from(id)));
                client.expect(&[0x50, 2, 0, id]);
                client.send(&publish_v5(0, "u", None, &[], b""));
            }
            client.lives();
            for id in 1..=3 {
                client.send(&[0x62, 2, 0, id]);
                client.expect(&[0x70, 2, 0, id]);
            }
        }
        (1..=50).for_each(|_| client.publishes(0, "t", &[], b""));
        (1..=3).for_each(|id| client.send(&publish(id)));
        (1..=3).for_each(|id| client.expect(&[0x50, 2, 0, id]));
        // The same one again is not another.
        client.send(&publish_v5(0xc, "t", Some(3), &[], b""));
        client.expect(&[0x50, 2, 0, 3]);
        client.send(&publish(4));
        client.expect_goodbye(0x93);
        // The fourth was not taken.
        let mut last = Vec::new();
        for _ in 0..3 * 3 + 50 + 3 {
            last = watcher.publication().payload;
        }
        assert_eq!(last, [0, 3]);
        broker.v5("client").nothing_before_mark(&mut watcher, "t");
    });
}

/// A client that takes so many messages at a time.
fn takes(broker: &Broker, id: &str, max: u16) -> Raw {
    let properties = &property::two(property::RECEIVE_MAXIMUM, max);
    let (mut raw, _) = broker.greeted(&Connect { properties, ..Connect::v5(id) });
    raw.subscribe_v5("t", 2);
    raw
}

#[test]
fn mqtt_3_3_4_9_the_broker_keeps_to_the_clients_receive_maximum() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for max in [1, 2, 5_u16] {
            let mut client = takes(broker, &format!("client-{max}"), max);
            for number in 0..12_u8 {
                publisher.send(&publish_v5(
                    if number % 2 == 0 { 2 } else { 4 },
                    "t",
                    Some(1),
                    &[],
                    &[number],
                ));
                let kind = publisher.packet()[0];
                if kind == 0x50 {
                    publisher.send(&[0x62, 2, 0, 1]);
                    publisher.expect(&[0x70, 2, 0, 1]);
                }
            }
            let mut unanswered = Vec::new();
            for number in 0..12_u8 {
                let got = client.publication();
                assert_eq!(got.payload, [number]);
                unanswered.push(got);
                if unanswered.len() == usize::from(max) {
                    // No more come, until one of them is answered for good.
                    client.lives();
                    client.answer(&unanswered.remove(0), number);
                }
            }
            unanswered.iter().for_each(|got| client.answer(got, 0));
            client.lives();
        }
    });
}

impl Raw {
    /// Answers a message for good: every third one of QoS 2 with a failure. PUBREC alone does not count.
    #[track_caller]
    fn answer(&mut self, got: &Publication, number: u8) {
        let [high, low] = got.id.expect("QoS 1 or 2").to_be_bytes();
        match (got.flags & 6, number % 3) {
            (2, _) => self.send(&[0x40, 2, high, low]),
            (_, 0) => self.send(&[0x50, 3, high, low, 0x80]),
            _ => {
                self.send(&[0x50, 2, high, low]);
                self.expect(&[0x62, 2, high, low]);
                self.lives();
                self.send(&[0x70, 2, high, low]);
            }
        }
    }
}

#[test]
fn mqtt_3_3_4_10_a_full_window_delays_nothing_but_publish() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for number in 0..3 {
            let mut client = takes(broker, &format!("client-{number}"), 1);
            publisher.send(&publish_v5(4, "t", Some(1), &[], b"fills"));
            publisher.expect(&[0x50, 2, 0, 1]);
            publisher.send(&[0x62, 2, 0, 1]);
            publisher.expect(&[0x70, 2, 0, 1]);
            publisher.publishes(0, "t", &[], b"waits");
            client.expect(&publish_v5(4, "t", Some(1), &[], b"fills"));
            client.send(&PINGREQ);
            client.expect(&PINGRESP);
            client.send(&subscribe_v5(2, &[], &[("u", 0)]));
            client.expect(&[0x90, 4, 0, 2, 0, 0]);
            client.send(&publish_v5(2, "v", Some(3), &[], b""));
            client.expect(&[0x40, 3, 0, 3, 0x10]);
            client.send(&publish_v5(4, "v", Some(4), &[], b""));
            client.expect(&[0x50, 3, 0, 4, 0x10]);
            client.send(&[0x62, 2, 0, 4]);
            client.expect(&[0x70, 2, 0, 4]);
            client.send(&packet(0xa2, &[&[0, 5, 0], &text("never")]));
            client.expect(&[0xb0, 4, 0, 5, 0, 0x11]);
            client.send(&[0x50, 2, 0, 1]);
            client.expect(&[0x62, 2, 0, 1]);
            client.send(&unsubscribe_v5(6, &["u"]));
            client.expect(&[0xb0, 4, 0, 6, 0, 0]);
            client.send(&[0x70, 2, 0, 1]);
            client.expect(&publish_v5(2, "t", Some(2), &[], b"waits"));
        }
    });
}
