//! Chapter 3.3: the properties of PUBLISH.

use super::c3_1_properties::aliases;
use crate::conformance::{on_each_layout, with_settings};
use crate::support::{Broker, Connect, LIVE_ONLY, Raw, binary, property, publish, publish_v5};

/// Shows that properties come unaltered to all subscribers of a message: to one of each QoS, to one that was away, to
/// one that comes later and finds it retained; and as those of a will.
fn passed_on(properties: &[u8]) {
    on_each_layout(|broker| {
        let mut clients = [0, 1, 2].map(|qos| {
            let mut client = broker.v5(&format!("client-{qos}"));
            client.subscribe_v5("t", qos | LIVE_ONLY);
            client
        });
        let mut sleeper = broker.kept_v5("sleeper", false);
        sleeper.subscribe_v5("t", 1 | LIVE_ONLY);
        sleeper.leave();
        let mut publisher = broker.v5("publisher");
        publisher.publishes(1, "t", properties, b"x");
        clients[0].expect(&publish_v5(0, "t", None, properties, b"x"));
        clients[1].expect(&publish_v5(2, "t", Some(1), properties, b"x"));
        clients[2].expect(&publish_v5(2, "t", Some(1), properties, b"x"));
        broker.kept_v5("sleeper", true).expect(&publish_v5(2, "t", Some(1), properties, b"x"));
        let mut later = broker.v5("later");
        later.subscribe_v5("t", 0);
        later.expect(&publish_v5(1, "t", None, properties, b"x"));
        later.subscribe_v5("will", 0);
        let will = Some(("will", "x", 0, false));
        drop(broker.greeted(&Connect { will, will_properties: properties, ..Connect::v5("dies") }));
        later.expect(&publish_v5(0, "will", None, properties, b"x"));
        // Clients of 3.1.1 get the message without them.
        let mut old = broker.raw();
        old.connect("old");
        old.subscribe("t", 0);
        old.expect(&publish(1, "t", None, b"x"));
    });
}

#[test]
fn mqtt_3_3_2_4_the_payload_format_indicator_is_passed_on() {
    for format in [0, 1] {
        passed_on(&property::byte(property::PAYLOAD_FORMAT, format));
    }
}

#[test]
fn mqtt_3_3_2_5_a_message_that_expired_before_its_delivery_is_deleted() {
    on_each_layout(|broker| {
        let expiry = |seconds| property::four(property::MESSAGE_EXPIRY, seconds);
        let mut publisher = broker.v5("publisher");
        let ids = ["one", "two", "three"];
        for id in ids {
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5("t", 2);
            client.leave();
        }
        // One that takes a message at a time has the second one wait, also while it is connected.
        let properties = &property::two(property::RECEIVE_MAXIMUM, 1);
        let (mut slow, _) = broker.greeted(&Connect { properties, ..Connect::v5("slow") });
        slow.subscribe_v5("t", 2);
        publisher.publishes(0, "t", &[], b"fills the window");
        for (qos, id) in [(2, 1), (4, 2)] {
            publisher.send(&publish_v5(qos, "t", Some(id), &expiry(1), b"expires"));
            assert_eq!(publisher.packet()[0], if qos == 2 { 0x40 } else { 0x50 });
        }
        publisher.publishes(1, "r", &expiry(1), b"expires while retained");
        publisher.publishes(0, "t", &[], b"stays");
        broker.let_pass(2);
        for id in ids {
            let mut client = broker.kept_v5(id, true);
            client.expect(&publish_v5(2, "t", Some(1), &[], b"fills the window"));
            // The two that expired had identifiers as well.
            client.expect(&publish_v5(2, "t", Some(4), &[], b"stays"));
            client.lives();
        }
        slow.expect(&publish_v5(2, "t", Some(1), &[], b"fills the window"));
        slow.send(&[0x40, 2, 0, 1]);
        slow.expect(&publish_v5(2, "t", Some(4), &[], b"stays"));
        slow.subscribe_v5("r", 0);
        slow.lives();
    });
}

#[test]
fn mqtt_3_3_2_6_the_time_waited_is_taken_off_the_expiry_interval() {
    on_each_layout(|broker| {
        let expiry = property::four(property::MESSAGE_EXPIRY, 1_000);
        let mut sleeper = broker.kept_v5("sleeper", false);
        sleeper.subscribe_v5("t", 1 | LIVE_ONLY);
        sleeper.leave();
        let mut client = broker.v5("client");
        client.subscribe_v5("t", 1 | LIVE_ONLY);
        let mut publisher = broker.v5("publisher");
        publisher.publishes(1, "t", &expiry, b"x");
        let left = |client: &mut Raw| {
            client.publication().properties.number(property::MESSAGE_EXPIRY).expect("an interval")
        };
        assert!((900..=1_000).contains(&left(&mut client)));
        broker.let_pass(2);
        for mut client in [broker.kept_v5("sleeper", true), {
            let mut later = broker.v5("later");
            later.subscribe_v5("t", 1);
            later
        }] {
            let left = left(&mut client);
            assert!((900..=998).contains(&left), "{left} seconds");
        }
        // No interval, none to forward; the longest one is no exception.
        publisher.publishes(0, "t", &[], b"x");
        assert!(!client.publication().properties.has(property::MESSAGE_EXPIRY));
        publisher.publishes(0, "t", &property::four(property::MESSAGE_EXPIRY, u32::MAX), b"x");
        assert!(left(&mut client) > u32::MAX - 100);
    });
}

#[test]
fn mqtt_3_3_2_7_topic_aliases_end_with_their_connection() {
    on_each_layout(|broker| {
        let alias = property::two(property::ALIAS, 1);
        for id in ["one", "two", "three"] {
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5("topic/#", 1);
            client.send(&publish_v5(2, "topic/1", Some(1), &alias, b"introduced"));
            client.send(&publish_v5(2, "", Some(2), &alias, b"alone"));
            for (id, payload) in [(1, &b"introduced"[..]), (2, b"alone")] {
                let mut got = [client.packet(), client.packet()];
                got.sort();
                assert_eq!(
                    got,
                    [publish_v5(2, "topic/1", Some(id), &[], payload), vec![0x40, 2, 0, id.to_be_bytes()[1]]]
                );
            }
            client.leave();
            let mut client = broker.kept_v5(id, true);
            client.expect(&publish_v5(0xa, "topic/1", Some(1), &[], b"introduced"));
            client.expect(&publish_v5(0xa, "topic/1", Some(2), &[], b"alone"));
            client.send(&publish_v5(0, "", None, &alias, b"of before"));
            client.expect_goodbye(0x82);
        }
    });
}

/// The rest of [MQTT-3.3.2-7]: the broker's aliases.
#[test]
fn mqtt_3_3_2_7_what_is_sent_again_on_another_connection_names_its_topic() {
    on_each_layout(|broker| {
        let properties =
            &[property::four(property::SESSION_EXPIRY, 1_000), property::two(property::ALIAS_MAXIMUM, 10)]
                .concat();
        let connect = Connect { properties, clean: false, ..Connect::v5("client") };
        let (mut client, _) = broker.greeted(&connect);
        client.subscribe_v5("topic/#", 1);
        let mut publisher = broker.v5("publisher");
        for payload in [b"1", b"2", b"3"] {
            publisher.publishes(0, "topic/1", &[], payload);
            client.publication();
        }
        for _ in 0..2 {
            client.leave();
            client = broker.greeted(&connect).0;
            let again = [(); 3].map(|()| client.publication());
            let (first, others) = again.split_first().expect("three");
            assert_eq!(first.topic, "topic/1");
            for other in others {
                let same =
                    other.properties.number(property::ALIAS) == first.properties.number(property::ALIAS);
                assert!(other.topic == "topic/1" || (other.topic.is_empty() && same), "{other:?}");
            }
        }
    });
}

#[test]
fn mqtt_3_3_2_8_topic_alias_0_ends_the_connection() {
    on_each_layout(|broker| {
        let alias = property::two(property::ALIAS, 0);
        broker.disconnects("client", &publish_v5(0, "t", None, &alias, b""), 0x94);
        broker.disconnects("client", &publish_v5(2, "", Some(1), &alias, b""), 0x94);
        // Nor does the broker use it.
        let used = aliases(broker, "client", &property::two(property::ALIAS_MAXIMUM, 65_535));
        assert!(!used.is_empty() && !used.contains(&0), "{used:?}");
    });
}

#[test]
fn mqtt_3_3_2_9_an_alias_above_the_brokers_maximum_ends_the_connection() {
    on_each_layout(|broker| {
        let (mut client, answer) = broker.greeted(&Connect::v5("client"));
        let max = answer.properties.number(property::ALIAS_MAXIMUM).expect("aliases are taken");
        let max = u16::try_from(max).expect("two bytes");
        let publish = |alias| publish_v5(0, "t", None, &property::two(property::ALIAS, alias), b"");
        client.send(&publish(max));
        client.lives();
        client.send(&publish(max + 1));
        client.expect_goodbye(0x94);
        broker.disconnects("other", &publish(u16::MAX), 0x94);
    });
}

#[test]
fn mqtt_3_3_2_11_the_broker_keeps_to_the_clients_maximum() {
    on_each_layout(|broker| {
        for max in [1_u32, 3, 6, 7] {
            let asked = property::two(property::ALIAS_MAXIMUM, u16::try_from(max).expect("small"));
            let used: Vec<u32> = aliases(broker, &format!("client-{max}"), &asked).into_iter().collect();
            // Six topics need no more than six.
            assert_eq!(used, (1..=max.min(6)).collect::<Vec<u32>>());
        }
    });
}

#[test]
fn mqtt_3_3_2_12_all_aliases_within_the_announced_maximum_are_taken() {
    with_settings("[mqtt]\ntopic_alias_max = 300", |broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("t/#", 0);
        let mut client = broker.v5("client");
        let alias = |alias| property::two(property::ALIAS, alias);
        for number in 1..=300 {
            let topic = format!("t/{number}");
            client.send(&publish_v5(0, &topic, None, &alias(number), b"introduced"));
            watcher.expect(&publish_v5(0, &topic, None, &[], b"introduced"));
        }
        for number in (1..=300).rev() {
            client.send(&publish_v5(0, "", None, &alias(number), b"alone"));
            watcher.expect(&publish_v5(0, &format!("t/{number}"), None, &[], b"alone"));
        }
        // It stands for another topic from now on, of whatever length and QoS.
        client.publishes(1, "t/other", &alias(300), b"introduced");
        client.publishes(0, "", &alias(300), b"alone");
        client.send(&publish_v5(0, "", None, &alias(299), b"alone"));
        watcher.expect(&publish_v5(0, "t/other", None, &[], b"introduced"));
        watcher.expect(&publish_v5(0, "t/other", None, &[], b"alone"));
        watcher.expect(&publish_v5(0, "t/299", None, &[], b"alone"));
        // Each connection has its own.
        broker.disconnects("another", &publish_v5(0, "", None, &alias(1), b""), 0x82);
        client.lives();
    });
}

/// PUBLISHes of each QoS with these properties end the connection for this reason.
fn refused(broker: &Broker, properties: &[u8], reason: u8) {
    for (flags, id) in [(0, None), (3, Some(1)), (4, Some(1))] {
        broker.disconnects("client", &publish_v5(flags, "t", id, properties, b"x"), reason);
    }
}

#[test]
fn mqtt_3_3_2_13_the_response_topic_is_a_string() {
    on_each_layout(|broker| {
        for bad in [&b"\xff"[..], b"a\0", b"\xed\xa0\x80"] {
            refused(broker, &property::data(property::RESPONSE_TOPIC, bad), 0x81);
        }
        // Its length goes beyond the properties.
        refused(broker, &[property::RESPONSE_TOPIC, 0, 9, b'a'], 0x81);
        broker.serves();
    });
    passed_on(&property::data(property::RESPONSE_TOPIC, "ä/台/\u{1f980}"));
}

#[test]
fn mqtt_3_3_2_14_the_response_topic_has_no_wildcards() {
    on_each_layout(|broker| {
        for topic in ["#", "+", "a/#", "a/+/b", "a+", "a#"] {
            refused(broker, &property::data(property::RESPONSE_TOPIC, topic), 0x82);
            let will_properties = &property::data(property::RESPONSE_TOPIC, topic);
            let will = Some(("t", "x", 0, false));
            broker.turns_away(&Connect { will, will_properties, ..Connect::v5("will") }.bytes(), 0x82);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_3_2_15_the_response_topic_is_passed_on() {
    passed_on(&property::data(property::RESPONSE_TOPIC, "answers/for me"));
}

#[test]
fn mqtt_3_3_2_16_correlation_data_are_passed_on() {
    passed_on(&property::data(property::CORRELATION_DATA, (0..=255).collect::<Vec<u8>>()));
    passed_on(&property::data(property::CORRELATION_DATA, ""));
    let together =
        [property::data(property::RESPONSE_TOPIC, "a"), property::data(property::CORRELATION_DATA, [0])];
    passed_on(&together.concat());
}

#[test]
fn mqtt_3_3_2_17_user_properties_are_passed_on() {
    passed_on(&property::pair("name", "value"));
    passed_on(&[property::pair("", ""), property::pair("ä\u{1f980}", "x".repeat(300))].concat());
}

#[test]
fn mqtt_3_3_2_18_user_properties_keep_their_order() {
    let names = ["z", "a", "z", "m", "a", "", "z"];
    let pairs = names.iter().enumerate().map(|(at, name)| property::pair(name, at.to_string()));
    passed_on(&pairs.collect::<Vec<_>>().concat());
}

#[test]
fn mqtt_3_3_2_19_the_content_type_is_a_string() {
    on_each_layout(|broker| {
        for bad in [&b"\xff"[..], b"a\0", b"\xed\xa0\x80"] {
            refused(broker, &property::data(property::CONTENT_TYPE, bad), 0x81);
        }
        let truncated = binary(b"text/plain");
        refused(broker, &[&[property::CONTENT_TYPE][..], &truncated[..8]].concat(), 0x81);
        broker.serves();
    });
}

#[test]
fn mqtt_3_3_2_20_the_content_type_is_passed_on() {
    passed_on(&property::data(property::CONTENT_TYPE, "application/json; charset=ütf-8"));
    passed_on(&property::data(property::CONTENT_TYPE, ""));
}
