//! Chapters 4.8 and 4.9: shared subscriptions, and flow control.

use crate::conformance::on_each_layout;
use crate::support::{Broker, Connect, Publication, Raw, property, publish_v5, subscribe_v5, unsubscribe_v5};

/// A member of group "g" for filter "t", with a session that is kept and a subscription to `mark/<id>`.
fn member(broker: &Broker, id: &str, qos: u8) -> Raw {
    let mut client = broker.kept_v5(id, false);
    client.subscribe_v5("$share/g/t", qos);
    client.subscribe_v5(&format!("mark/{id}"), 0);
    client
}

/// Who of these gets the next message; all are told that it was on its way before.
#[track_caller]
fn who_got(publisher: &mut Raw, members: &mut [(&str, Raw)], payload: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut got = Vec::new();
    for (at, (id, member)) in members.iter_mut().enumerate() {
        let mark = publish_v5(0, &format!("mark/{id}"), None, &[], b"mark");
        publisher.send(&mark);
        loop {
            let packet = member.packet();
            if packet == mark {
                break;
            }
            assert!(packet.ends_with(payload), "{packet:02x?}");
            got.push((at, packet));
        }
    }
    got
}

/// Filters that are no shared subscription though they begin like one are refused.
#[track_caller]
fn refused(broker: &Broker, filters: &[&str]) {
    let mut client = broker.v5("client");
    for filter in filters {
        client.send(&subscribe_v5(1, &[], &[(filter, 0), ("good", 1)]));
        let answer = client.packet();
        assert_eq!(
            (answer[0], &answer[answer.len() - 2..]),
            (0x90, &[0x8f, 1][..]),
            "{filter}: {answer:02x?}"
        );
    }
}

#[test]
fn mqtt_4_8_2_1_a_shared_subscription_names_its_group() {
    on_each_layout(|broker| {
        refused(broker, &["$share//t", "$share//", "$share/"]);
        // Of one character, of others; what does not begin like this is an ordinary filter.
        let mut client = broker.v5("client");
        client.subscribe_v5("$share/g/a", 0);
        client.subscribe_v5("$share/ü \u{1f980}/b", 0);
        client.subscribe_v5("$Share/g/c", 0);
        client.subscribe_v5("a/$share/g", 0);
        client.subscribe_v5("$share", 0);
        for topic in ["a", "b", "$Share/g/c", "a/$share/g", "$share"] {
            client.echoes(topic);
        }
        client.send(&publish_v5(0, "c", None, &[], b"x"));
        client.lives();
    });
}

#[test]
fn mqtt_4_8_2_2_a_group_has_a_plain_name_and_a_filter_after_it() {
    on_each_layout(|broker| {
        refused(broker, &["$share/g+/t", "$share/+/t", "$share/#", "$share/#/t", "$share/g#/t"]);
        refused(broker, &["$share/g", "$share/g/", "$share/g/a#", "$share/g/#/b", "$share/g/a+"]);
        let mut client = broker.v5("client");
        for (filter, topic) in [("$share/g/+/b", "a/b"), ("$share/g/#", "c"), ("$share/h//d", "/d")] {
            client.subscribe_v5(filter, 0);
            client.echoes(topic);
            client.send(&unsubscribe_v5(2, &[filter]));
            client.expect(&[0xb0, 4, 0, 2, 0, 0]);
        }
    });
}

#[test]
fn mqtt_4_8_2_3_each_member_has_the_qos_that_it_was_granted() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        let mut members =
            [("zero", 0), ("one", 1), ("two", 2)].map(|(id, qos)| (id, member(broker, id, qos)));
        let mut counts = [0; 3];
        for number in 0..30_u8 {
            publisher.send(&publish_v5(4, "t", Some(1), &[], &[number]));
            publisher.expect(&[0x50, 2, 0, 1]);
            publisher.send(&[0x62, 2, 0, 1]);
            publisher.expect(&[0x70, 2, 0, 1]);
            let got = who_got(&mut publisher, &mut members, &[number]);
            assert_eq!(got.len(), 1, "one member gets it: {got:02x?}");
            let (at, packet) = &got[0];
            assert_eq!(usize::from(packet[0] >> 1 & 3), *at, "the member's QoS");
            counts[*at] += 1;
        }
        assert!(counts.iter().all(|&count| count > 0), "all have a share: {counts:?}");
        // And the publication's, where that is lower.
        publisher.send(&publish_v5(0, "t", None, &[], b"of 0"));
        let got = who_got(&mut publisher, &mut members, b"of 0");
        assert!(matches!(&got[..], [(_, packet)] if packet[0] == 0x30), "{got:02x?}");
    });
}

/// A message of QoS 2 that one of two members got and has not answered: who has it, the other one, the publisher.
fn half_delivered<'a>(broker: &Broker, ids: [&'a str; 2]) -> ((&'a str, Raw), (&'a str, Raw), Raw) {
    let mut publisher = broker.v5("publisher");
    let mut members = ids.map(|id| (id, member(broker, id, 2)));
    publisher.send(&publish_v5(4, "t", Some(1), &[], b"x"));
    publisher.expect(&[0x50, 2, 0, 1]);
    publisher.send(&[0x62, 2, 0, 1]);
    publisher.expect(&[0x70, 2, 0, 1]);
    let got = who_got(&mut publisher, &mut members, b"x");
    assert_eq!(got.len(), 1, "{got:02x?}");
    let has_it = got[0].0;
    let [first, second] = members;
    if has_it == 0 { (first, second, publisher) } else { (second, first, publisher) }
}

const PAIRS: [[&str; 2]; 3] = [["one", "two"], ["three", "four"], ["five", "six"]];

#[test]
fn mqtt_4_8_2_4_a_delivery_that_has_begun_is_completed_when_the_member_returns() {
    on_each_layout(|broker| {
        for pair in PAIRS {
            let ((id, client), mut other, mut publisher) = half_delivered(broker, pair);
            client.leave();
            assert_eq!(who_got(&mut publisher, std::slice::from_mut(&mut other), b"x"), []);
            let mut client = broker.kept_v5(id, true);
            client.expect(&publish_v5(0xc, "t", Some(1), &[], b"x"));
            client.send(&[0x50, 2, 0, 1]);
            client.expect(&[0x62, 2, 0, 1]);
            // Also from there on.
            client.leave();
            let mut client = broker.kept_v5(id, true);
            client.expect(&[0x62, 2, 0, 1]);
            client.send(&[0x70, 2, 0, 1]);
            client.lives();
            assert_eq!(who_got(&mut publisher, std::slice::from_mut(&mut other), b"x"), []);
            // The next pair is on its own.
            broker.v5(id).leave();
            broker.v5(other.0).leave();
        }
    });
}

#[test]
fn mqtt_4_8_2_5_when_its_session_ends_before_nobody_else_gets_the_message() {
    on_each_layout(|broker| {
        for pair in PAIRS {
            let ((id, client), mut other, mut publisher) = half_delivered(broker, pair);
            client.leave();
            // The session ends, and its shard has passed on what it would have before the mark.
            let mut ended = broker.v5(id);
            assert_eq!(who_got(&mut ended, std::slice::from_mut(&mut other), b"x"), []);
            assert_eq!(who_got(&mut publisher, std::slice::from_mut(&mut other), b"x"), []);
            broker.v5(other.0).leave();
        }
    });
}

#[test]
fn mqtt_4_8_2_6_when_a_member_refuses_a_message_nobody_else_gets_it() {
    on_each_layout(|broker| {
        for pair in PAIRS {
            let ((id, mut client), mut other, mut publisher) = half_delivered(broker, pair);
            client.send(&[0x50, 3, 0, 1, 0x87]);
            client.lives();
            assert_eq!(who_got(&mut publisher, std::slice::from_mut(&mut other), b"x"), []);
            // Of QoS 1 as well. Each member gets one of two.
            for _ in 0..2 {
                publisher.publishes(0, "t", &[], b"y");
            }
            let mut both = [(id, client), other];
            let got = who_got(&mut publisher, &mut both, b"y");
            assert_eq!(got.len(), 2, "{got:02x?}");
            for (at, packet) in got {
                let [high, low] = Publication::of(&packet).id.expect("QoS 1").to_be_bytes();
                both[at].1.send(&[0x40, 3, high, low, 0x80]);
                both[at].1.lives();
            }
            assert_eq!(who_got(&mut publisher, &mut both, b"y"), []);
            for (id, client) in both {
                client.leave();
                broker.v5(id).leave();
            }
        }
    });
}

/// A client that takes so many messages at a time, subscribed to "t".
fn takes(broker: &Broker, id: &str, max: u16) -> Raw {
    let properties = &property::two(property::RECEIVE_MAXIMUM, max);
    let (mut raw, _) = broker.greeted(&Connect { properties, ..Connect::v5(id) });
    raw.subscribe_v5("t", 1);
    raw
}

#[test]
fn mqtt_4_9_0_1_the_first_messages_come_up_to_receive_maximum() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for max in [1, 2, 7] {
            let mut client = takes(broker, &format!("client-{max}"), max);
            for number in 0..10 {
                publisher.publishes(0, "t", &[], &[number]);
            }
            for number in 0..max {
                let payload = number.to_be_bytes()[1];
                client.expect(&publish_v5(2, "t", Some(number + 1), &[], &[payload]));
            }
            client.lives();
        }
        // None said, so there is room for many; the session is resumed with another.
        let mut client = broker.kept_v5("many", false);
        client.subscribe_v5("t", 1);
        (0..100).for_each(|_| publisher.publishes(0, "t", &[], b"x"));
        (1..=100).for_each(|id| client.expect(&publish_v5(2, "t", Some(id), &[], b"x")));
        client.leave();
        let properties =
            &[property::two(property::RECEIVE_MAXIMUM, 2), property::four(property::SESSION_EXPIRY, 9)]
                .concat();
        let (mut client, _) = broker.greeted(&Connect { properties, clean: false, ..Connect::v5("many") });
        (1..=2).for_each(|id| client.expect(&publish_v5(0xa, "t", Some(id), &[], b"x")));
        client.lives();
    });
}

#[test]
fn mqtt_4_9_0_2_without_quota_only_messages_of_qos_0_come() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        let mut client = takes(broker, "client", 2);
        for number in 1..=6_u8 {
            publisher.publishes(0, "t", &[], &[number]);
        }
        publisher.send(&publish_v5(0, "t", None, &[], b"of QoS 0"));
        publisher.lives();
        client.expect(&publish_v5(2, "t", Some(1), &[], &[1]));
        client.expect(&publish_v5(2, "t", Some(2), &[], &[2]));
        client.expect(&publish_v5(0, "t", None, &[], b"of QoS 0"));
        client.lives();
        // Each PUBACK makes room for one, and what acknowledges nothing for none.
        for number in 3..=6_u16 {
            let [_, before] = (number - 2).to_be_bytes();
            client.send(&[0x40, 2, 0x70, 0]);
            client.lives();
            client.send(&[0x40, 2, 0, before]);
            let got = client.publication();
            assert_eq!(got.payload, [number.to_be_bytes()[1]]);
            client.lives();
        }
    });
}

#[test]
fn mqtt_4_9_0_3_without_quota_all_other_packets_are_processed() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        let mut client = takes(broker, "client", 1);
        publisher.publishes(0, "t", &[], b"fills the window");
        publisher.publishes(0, "t", &[], b"waits");
        assert_eq!(client.publication().payload, b"fills the window");
        client.subscribe_v5("u", 0);
        client.echoes("u");
        client.publishes(0, "v", &[], b"");
        client.send(&publish_v5(4, "v", Some(9), &[], b""));
        assert_eq!(client.packet()[0], 0x50);
        client.send(&[0x62, 2, 0, 9]);
        assert_eq!(client.packet()[0], 0x70);
        client.send(&unsubscribe_v5(2, &["u"]));
        client.expect(&[0xb0, 4, 0, 2, 0, 0]);
        client.lives();
        client.leave();
        // The broker's side: who has used up the broker's quota is answered for all else.
        let properties = &property::two(property::RECEIVE_MAXIMUM, 1);
        let (mut client, answer) = broker.greeted(&Connect { properties, ..Connect::v5("sender") });
        let max = answer.properties.number(property::RECEIVE_MAXIMUM).expect("it is announced");
        let max = u16::try_from(max).expect("two bytes");
        (1..=max).for_each(|id| client.send(&publish_v5(4, "v", Some(id), &[], b"")));
        (1..=max).for_each(|_| assert_eq!(client.packet()[0], 0x50));
        client.lives();
        client.subscribe_v5("u", 0);
        client.echoes("u");
        client.send(&publish_v5(4, "v", Some(max + 1), &[], b""));
        client.expect_goodbye(0x93);
    });
}
