//! Chapter 3.3: PUBLISH, its flags and its topic.

use crate::conformance::on_each_layout;
use crate::support::{
    Broker, Connect, LIVE_ONLY, Raw, binary, packet, property, publish_v5, subscribe_v5, text, unsubscribe_v5,
};

/// Options of a subscription.
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAINED_IF_NEW: u8 = 0x10;
const RETAINED_NEVER: u8 = 0x20;

/// What a new subscriber finds retained: payloads, in the order of their topics.
#[track_caller]
fn retained(broker: &Broker, filter: &str, count: usize) -> Vec<Vec<u8>> {
    let mut later = broker.v5("later");
    later.subscribe_v5(filter, 2);
    let mut found: Vec<_> = (0..count).map(|_| later.publication()).collect();
    later.lives();
    found.sort_by(|a, b| a.topic.cmp(&b.topic));
    assert!(found.iter().all(|found| found.flags & 1 == 1), "RETAIN says that they were: {found:?}");
    found.into_iter().map(|found| found.payload).collect()
}

#[test]
fn mqtt_3_3_1_1_what_is_sent_again_has_dup() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three", "four"] {
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5(id, 2);
            let mut publisher = broker.v5("publisher");
            publisher.publishes(0, id, &[], b"first");
            publisher.send(&publish_v5(4, id, Some(1), &[], b"second"));
            publisher.expect(&[0x50, 2, 0, 1]);
            client.expect(&publish_v5(2, id, Some(1), &[], b"first"));
            client.expect(&publish_v5(4, id, Some(2), &[], b"second"));
            for _ in 0..2 {
                client.leave();
                client = broker.kept_v5(id, true);
                client.expect(&publish_v5(0xa, id, Some(1), &[], b"first"));
                client.expect(&publish_v5(0xc, id, Some(2), &[], b"second"));
            }
            client.lives();
        }
    });
}

#[test]
fn mqtt_3_3_1_2_qos_0_never_has_dup() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("t", 0);
        let dup = packet(0x38, &[&text("t"), &[0], b"x"]);
        broker.disconnects("client", &dup, 0x81);
        // DUP goes with the QoS that the subscriber does not have.
        let mut client = broker.v5("client");
        client.publishes(8, "t", &[], b"again");
        watcher.expect(&publish_v5(0, "t", None, &[], b"again"));
        client.nothing_before_mark(&mut watcher, "t");
    });
}

#[test]
fn mqtt_3_3_1_3_dup_of_the_publisher_is_its_own_affair() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("t", 2);
        let mut publisher = broker.v5("publisher");
        publisher.publishes(8, "t", &[], b"x");
        watcher.expect(&publish_v5(2, "t", Some(1), &[], b"x"));
        publisher.send(&publish_v5(0xc, "t", Some(1), &[], b"y"));
        publisher.expect(&[0x50, 2, 0, 1]);
        watcher.expect(&publish_v5(4, "t", Some(2), &[], b"y"));
    });
}

#[test]
fn mqtt_3_3_1_4_qos_3_is_malformed() {
    on_each_layout(|broker| {
        for flags in [6, 7, 0xe, 0xf] {
            broker.disconnects("client", &publish_v5(flags, "t", Some(1), &[], b"x"), 0x81);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_3_1_5_a_message_to_retain_replaces_the_one_before() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for topic in ["r/1", "r/2", "r/3", "r/4"] {
            publisher.publishes(1, topic, &property::pair("a", "b"), b"old");
            publisher.publishes(1, topic, &[], topic.as_bytes());
        }
        let expected: Vec<&[u8]> = vec![b"r/1", b"r/2", b"r/3", b"r/4"];
        assert_eq!(retained(broker, "r/+", 4), expected);
        // Of QoS 0, 1 and 2; another client's as well.
        let mut other = broker.v5("other");
        other.send(&publish_v5(1, "r/1", None, &[], b"of QoS 0"));
        other.publishes(1, "r/2", &[], b"of QoS 1");
        other.send(&publish_v5(5, "r/3", Some(1), &[], b"of QoS 2"));
        // Its shard may not have heard yet that those who looked are gone: with or without a reason.
        let pubrec = other.packet();
        assert_eq!((pubrec[0], &pubrec[2..4]), (0x50, &[0, 1][..]));
        other.send(&[0x62, 2, 0, 1]);
        other.expect(&[0x70, 2, 0, 1]);
        let mut later = broker.v5("latest");
        for qos in 0..3 {
            let topic = format!("r/{}", qos + 1);
            later.subscribe_v5(&topic, 2);
            let found = later.publication();
            assert_eq!((found.flags, found.payload), (qos << 1 | 1, format!("of QoS {qos}").into_bytes()));
        }
    });
}

#[test]
fn mqtt_3_3_1_6_an_empty_message_to_retain_removes_the_one_before() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("r/+", RETAIN_AS_PUBLISHED | LIVE_ONLY);
        let mut publisher = broker.v5("publisher");
        for topic in ["r/1", "r/2", "r/3", "r/4"] {
            publisher.publishes(1, topic, &[], b"x");
            watcher.expect(&publish_v5(1, topic, None, &[], b"x"));
        }
        // It is delivered like any other.
        for topic in ["r/1", "r/3"] {
            publisher.publishes(1, topic, &[], b"");
            watcher.expect(&publish_v5(1, topic, None, &[], b""));
        }
        assert_eq!(retained(broker, "r/+", 2), [b"x", b"x"]);
        for topic in ["r/2", "r/4"] {
            publisher.publishes(1, topic, &[], b"");
        }
        assert_eq!(retained(broker, "r/+", 0), [b""; 0]);
    });
}

#[test]
fn mqtt_3_3_1_7_an_empty_message_is_not_retained() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for topic in ["r/1", "r/2", "r/3", "r/4"] {
            publisher.publishes(1, topic, &property::pair("not", "empty"), b"");
        }
        assert_eq!(retained(broker, "r/+", 0), [b""; 0]);
        // Neither is an empty will.
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("r/5", LIVE_ONLY);
        drop(broker.greeted(&Connect { will: Some(("r/5", "", 0, true)), ..Connect::v5("dies") }));
        watcher.expect(&publish_v5(0, "r/5", None, &[], b""));
        assert_eq!(retained(broker, "r/5", 0), [b""; 0]);
    });
}

#[test]
fn mqtt_3_3_1_8_a_message_not_to_retain_leaves_what_is_retained_alone() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for topic in ["r/1", "r/2", "r/3", "r/4"] {
            publisher.publishes(1, topic, &[], b"kept");
            publisher.publishes(0, topic, &[], b"not kept");
            publisher.publishes(0, topic, &[], b"");
            publisher.publishes(0, &format!("{topic}/never"), &[], b"not kept");
        }
        assert_eq!(retained(broker, "r/#", 4), [b"kept"; 4]);
    });
}

/// A broker with three retained messages, and a subscription to them with this Retain Handling, made twice. How many
/// come each time; then how many to a client that has unsubscribed between.
fn handled(broker: &Broker, handling: u8, counts: [usize; 3]) {
    let mut publisher = broker.v5("publisher");
    for topic in ["r/1", "r/2", "r/3"] {
        publisher.publishes(1, topic, &[], b"x");
    }
    for id in ["one", "two", "three"] {
        let mut client = broker.kept_v5(id, false);
        let expect = |client: &mut Raw, count| {
            let mut topics: Vec<String> = (0..count).map(|_| client.publication().topic).collect();
            topics.sort();
            assert_eq!(topics, ["r/1", "r/2", "r/3"][..count]);
            client.lives();
        };
        client.subscribe_v5("r/#", handling);
        expect(&mut client, counts[0]);
        client.subscribe_v5("r/#", handling);
        expect(&mut client, counts[1]);
        // The subscription is not new either when the session is resumed.
        client.leave();
        let mut client = broker.kept_v5(id, true);
        client.subscribe_v5("r/#", handling);
        expect(&mut client, counts[1]);
        client.send(&unsubscribe_v5(2, &["r/#"]));
        client.expect(&[0xb0, 4, 0, 2, 0, 0]);
        client.subscribe_v5("r/#", handling);
        expect(&mut client, counts[2]);
        // What comes later comes.
        publisher.publishes(0, "r/1", &[], b"live");
        client.expect(&publish_v5(0, "r/1", None, &[], b"live"));
    }
}

#[test]
fn mqtt_3_3_1_9_retain_handling_0_brings_retained_messages_with_each_subscribe() {
    on_each_layout(|broker| handled(broker, 0, [3, 3, 3]));
}

#[test]
fn mqtt_3_3_1_10_retain_handling_1_brings_them_with_a_new_subscription() {
    on_each_layout(|broker| handled(broker, RETAINED_IF_NEW, [3, 0, 3]));
}

#[test]
fn mqtt_3_3_1_11_retain_handling_2_never_brings_them() {
    on_each_layout(|broker| handled(broker, RETAINED_NEVER, [0, 0, 0]));
}

#[test]
fn mqtt_3_3_1_12_without_retain_as_published_retain_is_taken_off() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for qos in 0..3_u8 {
            let mut client = broker.v5(&format!("client-{qos}"));
            client.subscribe_v5(&format!("t/{qos}"), qos);
            for retain in [1, 0, 1] {
                publisher.publishes(retain, &format!("t/{qos}"), &[], b"x");
                assert_eq!(client.packet()[0] & 9, 0, "RETAIN and DUP");
            }
        }
    });
}

#[test]
fn mqtt_3_3_1_13_with_retain_as_published_retain_stays() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for qos in 0..3_u8 {
            let mut client = broker.v5(&format!("client-{qos}"));
            client.subscribe_v5(&format!("t/{qos}"), qos | RETAIN_AS_PUBLISHED);
            for retain in [1, 0, 1] {
                publisher.publishes(retain, &format!("t/{qos}"), &[], b"x");
                assert_eq!(client.packet()[0] & 9, retain, "RETAIN and DUP");
            }
        }
        // Also while the client is away.
        let mut client = broker.kept_v5("sleeper", false);
        client.subscribe_v5("s", 1 | RETAIN_AS_PUBLISHED);
        client.leave();
        for retain in [1, 0] {
            publisher.publishes(retain, "s", &[], b"x");
        }
        let mut client = broker.kept_v5("sleeper", true);
        client.expect(&publish_v5(3, "s", Some(1), &[], b"x"));
        client.expect(&publish_v5(2, "s", Some(2), &[], b"x"));
    });
}

#[test]
fn mqtt_3_3_2_1_the_topic_name_comes_first_and_is_a_string() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("ü/台/\u{1f980}", 0);
        let message = packet(0x30, &[&text("ü/台/\u{1f980}"), &[0], b"x"]);
        watcher.send(&message);
        watcher.expect(&message);
        let bad = [
            packet(0x30, &[]),
            packet(0x30, &[&[0]]),
            packet(0x30, &[&[0, 5], b"topi"]),
            packet(0x30, &[&binary(b"\xed\xa0\x80"), &[0]]),
            packet(0x30, &[&binary(b"a\xff"), &[0]]),
        ];
        for packet in bad {
            broker.disconnects("client", &packet, 0x81);
        }
        // An empty name stands for nothing without an alias.
        broker.disconnects("client", &publish_v5(0, "", None, &[], b"x"), 0x82);
        watcher.lives();
    });
}

#[test]
fn mqtt_3_3_2_2_a_topic_name_has_no_wildcards() {
    on_each_layout(|broker| {
        for topic in ["#", "+", "a/#", "a/+/b", "a+", "a#b", "/+", "$share/group/+"] {
            for (flags, id) in [(0, None), (2, Some(1)), (5, Some(1))] {
                broker.disconnects("client", &publish_v5(flags, topic, id, &[], b"x"), 0x90);
            }
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_3_2_3_what_is_delivered_matches_a_filter() {
    on_each_layout(|broker| {
        let topics = ["a", "a/b", "a/b/c", "A/b", "a/", "/a", "b/a", "a/c", "aa/b", "a/b "];
        let cases: [(&str, &[&str]); 7] = [
            ("a/b", &["a/b"]),
            ("a/+", &["a/b", "a/", "a/c", "a/b "]),
            ("a/#", &["a", "a/b", "a/b/c", "a/", "a/c", "a/b "]),
            ("+/b", &["a/b", "A/b", "aa/b"]),
            ("+/a", &["/a", "b/a"]),
            ("#", &topics),
            ("+", &["a"]),
        ];
        let mut publisher = broker.v5("publisher");
        for (number, (filter, matching)) in cases.iter().enumerate() {
            let mut client = broker.v5(&format!("client-{number}"));
            client.send(&subscribe_v5(1, &[], &[(filter, 0), ("mark", 0)]));
            client.expect(&[0x90, 5, 0, 1, 0, 0, 0]);
            for topic in topics {
                publisher.send(&publish_v5(0, topic, None, &[], b"x"));
            }
            for topic in *matching {
                client.expect(&publish_v5(0, topic, None, &[], b"x"));
            }
            publisher.nothing_before_mark(&mut client, "mark");
        }
    });
}
