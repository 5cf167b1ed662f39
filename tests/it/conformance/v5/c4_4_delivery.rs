//! Chapters 4.4 to 4.6: what is sent again, who gets a message, and in which order.

use crate::conformance::on_each_layout;
use crate::support::{Raw, packet, publish_v5, subscribe_v5};

const IDS: [&str; 4] = ["one", "two", "three", "four"];

#[test]
fn mqtt_4_4_0_1_a_resumed_session_sends_again_what_was_not_acknowledged_and_at_no_other_time() {
    on_each_layout(|broker| {
        for id in IDS {
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5(id, 2);
            let mut publisher = broker.v5("publisher");
            for (number, qos) in (1..).zip([2, 4, 4, 2, 4]) {
                publisher.send(&publish_v5(qos, id, Some(number), &[], &number.to_be_bytes()));
                client.expect(&publish_v5(qos, id, Some(number), &[], &number.to_be_bytes()));
            }
            client.send(&[0x50, 2, 0, 2, 0x40, 2, 0, 4]);
            client.expect(&[0x62, 2, 0, 2]);
            let dup =
                |qos: u8, number: u16| publish_v5(qos | 8, id, Some(number), &[], &number.to_be_bytes());
            let mut client = {
                client.leave();
                broker.kept_v5(id, true)
            };
            client.expect(&[dup(2, 1), vec![0x62, 2, 0, 2], dup(4, 3), dup(4, 5)].concat());
            // As long as it is connected nothing is sent again, however long it takes.
            if id == "one" {
                broker.let_pass(2);
            }
            client.lives();
            // Who takes over gets it again.
            let mut second = broker.kept_v5(id, true);
            client.expect_goodbye(0x8e);
            second.expect(&[dup(2, 1), vec![0x62, 2, 0, 2], dup(4, 3), dup(4, 5)].concat());
            second.send(&[0x40, 2, 0, 1, 0x70, 2, 0, 2, 0x50, 2, 0, 3]);
            second.expect(&[0x62, 2, 0, 3]);
            second.leave();
            let mut third = broker.kept_v5(id, true);
            third.expect(&[vec![0x62, 2, 0, 3], dup(4, 5)].concat());
            third.lives();
        }
    });
}

#[test]
fn mqtt_4_4_0_2_what_a_client_refused_is_not_sent_again() {
    on_each_layout(|broker| {
        for id in IDS {
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5(id, 2);
            let mut publisher = broker.v5("publisher");
            for number in 1..=4 {
                let qos = if number % 2 == 0 { 2 } else { 4 };
                publisher.send(&publish_v5(qos, id, Some(number), &[], b"x"));
                client.expect(&publish_v5(qos, id, Some(number), &[], b"x"));
            }
            client.send(&[0x40, 3, 0, 2, 0x80]);
            client.send(&[0x50, 3, 0, 1, 0x87]);
            client.send(&[0x40, 4, 0, 4, 0x99, 0]);
            client.lives();
            client.leave();
            let mut client = broker.kept_v5(id, true);
            client.expect(&publish_v5(0xc, id, Some(3), &[], b"x"));
            client.send(&[0x50, 3, 0, 3, 0x83]);
            client.leave();
            broker.kept_v5(id, true).lives();
        }
    });
}

#[test]
fn mqtt_4_5_0_1_a_message_is_added_to_all_sessions_with_a_matching_subscription() {
    on_each_layout(|broker| {
        let filters = ["a/b", "a/+", "+/b", "#", "a/#", "a/b/#"];
        let ids: Vec<String> = (0..18).map(|number| format!("client-{number}")).collect();
        let mut here = Vec::new();
        for (number, id) in ids.iter().enumerate() {
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5(filters[number % filters.len()], 1);
            // Every third one is away, some have another filter that matches, all have one that does not.
            client.subscribe_v5("other", 1);
            match number % 3 {
                0 => client.leave(),
                _ => here.push(client),
            }
        }
        let mut publisher = broker.v5("publisher");
        publisher.publishes(0, "a/b", &[], b"x");
        publisher.leave();
        for mut client in here {
            client.expect(&publish_v5(2, "a/b", Some(1), &[], b"x"));
            client.lives();
        }
        for id in ids.iter().step_by(3) {
            let mut client = broker.kept_v5(id, true);
            client.expect(&publish_v5(2, "a/b", Some(1), &[], b"x"));
            client.lives();
        }
    });
}

/// Takes `count` messages of two bytes, of which the first says who published it and the second counts its messages;
/// shows that those of each publisher come in their order.
#[track_caller]
fn in_order(client: &mut Raw, count: usize, publishers: usize) {
    let mut next = vec![0; publishers];
    for _ in 0..count {
        let got = client.publication();
        let &[publisher, number] = &got.payload[..] else { panic!("{got:?}") };
        assert_eq!(number, next[usize::from(publisher)], "of publisher {publisher}");
        next[usize::from(publisher)] += 1;
        if let Some(id) = got.id {
            let [high, low] = id.to_be_bytes();
            client.send(&[0x40, 2, high, low]);
        }
    }
}

#[test]
fn mqtt_4_6_0_5_messages_of_a_publisher_come_in_their_order() {
    on_each_layout(|broker| {
        for qos in [0, 1] {
            let (here, away) = (format!("here-{qos}"), format!("away-{qos}"));
            let mut client = broker.kept_v5(&here, false);
            client.subscribe_v5("t", qos);
            let mut sleeper = broker.kept_v5(&away, false);
            sleeper.subscribe_v5("t", 1);
            sleeper.leave();
            let mut publishers: Vec<Raw> = (0..6).map(|n| broker.v5(&format!("publisher-{n}"))).collect();
            for number in 0..50_u8 {
                for (at, publisher) in (0..).zip(&mut publishers) {
                    publisher.send(&publish_v5(qos << 1, "t", (qos > 0).then_some(1), &[], &[at, number]));
                }
            }
            publishers.iter_mut().for_each(|publisher| match qos {
                0 => publisher.lives(),
                _ => (0..50).for_each(|_| publisher.expect(&[0x40, 2, 0, 1])),
            });
            in_order(&mut client, 300, 6);
            if qos > 0 {
                in_order(&mut broker.kept_v5(&away, true), 300, 6);
            }
        }
    });
}

#[test]
fn mqtt_4_6_0_6_every_topic_is_ordered() {
    on_each_layout(|broker| {
        let topics: Vec<String> = (0..12).map(|number| format!("topic/{number}")).collect();
        let mut client = broker.v5("client");
        let filters = ["topic/+", "topic/3", "topic/#"];
        client.send(&subscribe_v5(1, &[], &filters.map(|filter| (filter, 1))));
        client.expect(&packet(0x90, &[&[0, 1, 0, 1, 1, 1]]));
        let mut publisher = broker.v5("publisher");
        // Retained or not, with QoS 0 and 1 in turn: for each topic and QoS, in order.
        let mut sent = Vec::new();
        for number in 0..20_u8 {
            for topic in &topics {
                sent.extend(publish_v5(number % 2, topic, None, &[], &[number]));
                sent.extend(publish_v5(2 | (number % 2), topic, Some(1), &[], &[number]));
            }
        }
        publisher.send(&sent);
        let mut next = vec![[0_u8; 2]; topics.len()];
        for _ in 0..20 * topics.len() * 2 {
            let got = client.publication();
            let topic = topics.iter().position(|topic| *topic == got.topic).expect("one of them");
            let expected = &mut next[topic][usize::from(got.flags >> 1 & 1)];
            assert_eq!(got.payload, [*expected], "{}", got.topic);
            *expected += 1;
            if let Some(id) = got.id {
                let [high, low] = id.to_be_bytes();
                client.send(&[0x40, 2, high, low]);
            }
        }
    });
}
