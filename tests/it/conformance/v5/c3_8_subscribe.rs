//! Chapters 3.8 and 3.9: SUBSCRIBE and SUBACK.

use super::explains;
use crate::conformance::{on_each_layout, with_settings};
use crate::support::{LIVE_ONLY, binary, packet, property, publish_v5, subscribe_v5, text, unsubscribe_v5};

/// Options of a subscription.
const NO_LOCAL: u8 = 0x04;

#[test]
fn mqtt_3_8_1_1_subscribe_with_other_flags_ends_the_connection() {
    on_each_layout(|broker| {
        let good = subscribe_v5(1, &[], &[("t", 0)]);
        for flags in (0..16).filter(|&flags| flags != 2) {
            broker.disconnects("client", &[&[0x80 | flags], &good[1..]].concat(), 0x81);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_8_3_1_filters_are_strings() {
    on_each_layout(|broker| {
        for bad in [&b"\xff"[..], b"a/\xc3", b"\xed\xa0\x80", b"a\0"] {
            broker.disconnects("client", &packet(0x82, &[&[0, 1, 0], &binary(bad), &[0]]), 0x81);
            let second = packet(0x82, &[&[0, 1, 0], &text("good"), &[0], &binary(bad), &[0]]);
            broker.disconnects("client", &second, 0x81);
        }
        let mut client = broker.v5("client");
        client.subscribe_v5("ü/\u{1f980}", 0);
        client.echoes("ü/\u{1f980}");
    });
}

#[test]
fn mqtt_3_8_3_2_subscribe_has_a_filter_and_its_options() {
    on_each_layout(|broker| {
        broker.disconnects("none", &packet(0x82, &[&[0, 1, 0]]), 0x82);
        broker.disconnects("no options", &packet(0x82, &[&[0, 1, 0], &text("t")]), 0x81);
        let second = packet(0x82, &[&[0, 1, 0], &text("t"), &[0], &text("u")]);
        broker.disconnects("second without options", &second, 0x81);
        broker.disconnects("cut off", &packet(0x82, &[&[0, 1, 0], &[0, 9], b"t"]), 0x81);
        broker.serves();
    });
}

#[test]
fn mqtt_3_8_3_3_with_no_local_a_clients_own_messages_do_not_come_back() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three"] {
            let topic = format!("local/{id}");
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5(&topic, NO_LOCAL | 1);
            client.subscribe_v5("echo", 0);
            client.publishes(0, &topic, &[], b"own");
            client.echoes("echo");
            // Of the client, not of the connection.
            client.leave();
            let mut client = broker.kept_v5(id, true);
            client.publishes(1, &topic, &[], b"own");
            client.echoes("echo");
            broker.v5("other").publishes(0, &topic, &[], b"another's");
            client.expect(&publish_v5(2, &topic, Some(1), &[], b"another's"));
            // Another subscription that matches brings them.
            client.subscribe_v5("+/new", 0);
            client.subscribe_v5("local/new", NO_LOCAL);
            client.echoes("local/new");
            client.leave();
        }
    });
}

#[test]
fn mqtt_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error() {
    on_each_layout(|broker| {
        for filters in [&[("$share/g/t", NO_LOCAL)][..], &[("t", NO_LOCAL), ("$share/g/t", NO_LOCAL | 1)]] {
            broker.disconnects("client", &subscribe_v5(1, &[], filters), 0x82);
        }
        let mut client = broker.v5("client");
        client.subscribe_v5("$share/g/t", 0);
        client.echoes("t");
    });
}

#[test]
fn mqtt_3_8_3_5_reserved_options_are_malformed() {
    on_each_layout(|broker| {
        for options in [0x40, 0x80, 0xc0, 0x42, 0x81] {
            broker.disconnects("client", &subscribe_v5(1, &[], &[("t", options)]), 0x81);
            broker.disconnects("client", &subscribe_v5(1, &[], &[("t", 0), ("u", options)]), 0x81);
        }
        // QoS 3 and Retain Handling 3 do not exist either.
        for options in [0x03, 0x30, 0x33] {
            broker.disconnects("client", &subscribe_v5(1, &[], &[("t", options)]), 0x82);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_8_4_1_subscribe_is_answered_by_suback() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three", "four"] {
            let mut client = broker.v5(id);
            for (filter, options) in [("t", 0), ("t", 0), ("#", 1), ("$share/g/t", 2), ("t/+", 0x2d)] {
                client.send(&subscribe_v5(1, &[], &[(filter, options)]));
                client.expect(&[0x90, 4, 0, 1, 0, options & 3]);
            }
        }
    });
}

#[test]
fn mqtt_3_8_4_2_suback_has_the_identifier_of_subscribe() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        let ids = [1, 2, 300, 65_535, 4];
        let sent: Vec<u8> = ids.iter().flat_map(|&id| subscribe_v5(id, &[], &[("t", 0)])).collect();
        client.send(&sent);
        for id in ids {
            let [high, low] = id.to_be_bytes();
            client.expect(&[0x90, 4, high, low, 0, 0]);
        }
    });
}

#[test]
fn mqtt_3_8_4_3_subscribing_again_replaces_the_subscription() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in ["one", "two", "three"] {
            let mut client = broker.v5(id);
            let mut came = |properties: &[u8], options: u8, flags: u8, id: Option<u16>| {
                client.subscribe_with(properties, "t", options | LIVE_ONLY);
                publisher.publishes(1, "t", &[], b"x");
                client.expect(&publish_v5(flags, "t", id, properties, b"x"));
                publisher.publishes(1, "t", &[], b"");
                let empty = client.publication();
                assert_eq!(empty.payload, b"");
                for packet_id in [id, empty.id].into_iter().flatten() {
                    let [high, low] = packet_id.to_be_bytes();
                    client.send(&[0x40, 2, high, low]);
                }
                // There is one subscription, so there is one copy.
                client.lives();
            };
            let named = property::subscription_id(7);
            came(&[], 0, 0, None);
            came(&named, 0, 0, None);
            came(&[], 0x08, 1, None);
            came(&property::subscription_id(8), 1, 2, Some(1));
            came(&[], 0, 0, None);
        }
    });
}

#[test]
fn mqtt_3_8_4_4_retained_messages_come_again_and_no_message_is_lost() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        publisher.publishes(1, "kept/1", &[], b"kept");
        publisher.publishes(1, "kept/2", &[], b"kept");
        for id in ["one", "two", "three"] {
            let mut client = broker.v5(id);
            for _ in 0..3 {
                client.subscribe_v5("kept/+", 0);
                let mut topics = [client.publication().topic, client.publication().topic];
                topics.sort();
                assert_eq!(topics, ["kept/1", "kept/2"]);
                client.lives();
            }
            // While messages come one after the other, the subscription is replaced again and again.
            client.subscribe_v5("live", 1);
            let sent: Vec<u8> =
                (1..=200_u16).flat_map(|n| publish_v5(2, "live", Some(n), &[], &n.to_be_bytes())).collect();
            let (mut next, mut replaced) = (1_u16, 0);
            for (chunk, _) in sent.chunks(50).zip(0..) {
                publisher.send(chunk);
                client.send(&subscribe_v5(1, &[], &[("live", 1)]));
            }
            while next <= 200 || replaced < sent.len().div_ceil(50) {
                let packet = client.packet();
                if packet[0] == 0x90 {
                    replaced += 1;
                    continue;
                }
                assert_eq!(packet[packet.len() - 2..], next.to_be_bytes());
                client.send(&[&[0x40, 2][..], &packet[8..10]].concat());
                next += 1;
            }
            (1..=200).for_each(|_| drop(publisher.packet()));
        }
    });
}

#[test]
fn mqtt_3_8_4_5_several_filters_count_as_several_subscribes() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        publisher.publishes(1, "a", &[], b"kept");
        publisher.publishes(1, "b", &[], b"kept");
        let mut client = broker.v5("client");
        // The later one of two alike counts; one that is refused changes nothing for the others.
        let filters = [("a", 1), ("b", 0x20), ("c/#/d", 0), ("c", 2), ("c", 1), ("+", 0x20)];
        client.send(&subscribe_v5(5, &property::subscription_id(9), &filters));
        assert!(client.packet().ends_with(&[1, 0, 0x8f, 2, 1, 0]));
        let ids = property::subscription_id(9);
        client.expect(&publish_v5(3, "a", Some(1), &ids, b"kept"));
        client.lives();
        publisher.send(&publish_v5(4, "c", Some(1), &[], b"x"));
        publisher.expect(&[0x50, 2, 0, 1]);
        let got = client.publication();
        assert_eq!((got.flags, &got.topic[..]), (2, "c"));
        publisher.publishes(0, "b", &[], b"y");
        assert_eq!(client.publication().topic, "b");
    });
}

#[test]
fn mqtt_3_8_4_6_suback_has_a_reason_for_each_filter() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        for count in [1, 2, 50, 200] {
            let filters: Vec<String> = (0..count).map(|number| format!("filter/{number}")).collect();
            let filters: Vec<(&str, u8)> = filters.iter().zip(0..).map(|(f, n)| (&f[..], n % 3)).collect();
            client.send(&subscribe_v5(1, &[], &filters));
            let reasons: Vec<u8> = filters.iter().map(|(_, options)| *options).collect();
            client.expect(&packet(0x90, &[&[0, 1, 0], &reasons]));
        }
    });
}

#[test]
fn mqtt_3_8_4_7_it_is_the_granted_qos_or_a_failure() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        client.send(&subscribe_v5(1, &[], &[("a", 0), ("a/#b", 2), ("b", 1), ("", 0), ("c", 2)]));
        let answer = client.packet();
        assert_eq!(answer[answer.len() - 5..], [0, 0x8f, 1, 0x8f, 2]);
        // What failed is no subscription, what was granted is.
        for (topic, flags) in [("a", 0), ("b", 2), ("c", 4)] {
            client.send(&publish_v5(4, topic, Some(9), &[], b""));
            let mut firsts = [client.packet()[0], client.packet()[0]];
            firsts.sort_unstable();
            assert_eq!(firsts, [0x30 | flags, 0x50]);
            client.send(&[0x62, 2, 0, 9]);
            client.expect(&[0x70, 2, 0, 9]);
        }
        client.send(&publish_v5(0, "a/x", None, &[], b""));
        client.lives();
    });
    with_settings("[mqtt]\nqos_max = 1", |broker| {
        let mut client = broker.v5("client");
        client.send(&subscribe_v5(1, &[], &[("t", 2)]));
        client.expect(&[0x90, 4, 0, 1, 0, 1]);
    });
}

#[test]
fn mqtt_3_8_4_8_deliveries_have_the_lower_qos_of_publication_and_grant() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for granted in 0..3_u8 {
            let topic = format!("t/{granted}");
            let mut client = broker.v5(&format!("client-{granted}"));
            client.subscribe_v5(&topic, granted);
            for qos in 0..3_u8 {
                publisher.send(&publish_v5(qos << 1, &topic, (qos > 0).then_some(1), &[], b"x"));
                match qos {
                    0 => {}
                    1 => publisher.expect(&[0x40, 2, 0, 1]),
                    _ => {
                        publisher.expect(&[0x50, 2, 0, 1]);
                        publisher.send(&[0x62, 2, 0, 1]);
                        publisher.expect(&[0x70, 2, 0, 1]);
                    }
                }
                assert_eq!(client.packet()[0], 0x30 | qos.min(granted) << 1, "of {qos} to {granted}");
            }
        }
        // What is retained as well.
        publisher.send(&publish_v5(5, "kept", Some(1), &[], b"x"));
        publisher.expect(&[0x50, 3, 0, 1, 0x10]);
        for granted in 0..3_u8 {
            let mut client = broker.v5(&format!("later-{granted}"));
            client.subscribe_v5("kept", granted);
            assert_eq!(client.packet()[0], 0x31 | granted << 1);
        }
    });
}

#[test]
fn mqtt_3_9_2_1_a_reason_string_does_not_make_suback_too_large() {
    explains(&subscribe_v5(5, &[], &[("a/#/b", 0)]), &[0x90, 4, 0, 5, 0, 0x8f], 4);
}

#[test]
fn mqtt_3_9_3_1_reasons_come_in_the_order_of_the_filters() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        let filters = [("a", 2), ("#/", 0), ("b", 0), ("c+", 1), ("d", 1), ("e", 2), ("a", 0)];
        client.send(&subscribe_v5(1, &[], &filters));
        let answer = client.packet();
        assert_eq!(answer[answer.len() - 7..], [2, 0x8f, 0, 0x8f, 1, 2, 0]);
    });
}

#[test]
fn mqtt_3_9_3_2_reasons_are_of_subacks_table() {
    const TABLE: [u8; 12] = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2];
    let settings = "[session]\nsubscriptions_max = 3\n[mqtt]\nwildcard_subscriptions = false\n\
                    subscription_ids = false\nshared_subscriptions = false";
    with_settings(settings, |broker| {
        let mut client = broker.v5("client");
        let filters = [("a", 0), ("b", 1), ("c", 2), ("d", 0), ("a/+", 0), ("a/#b", 0), ("$share/g/t", 0)];
        client.send(&subscribe_v5(1, &[], &filters));
        let answer = client.packet();
        let reasons = &answer[answer.len() - 7..];
        assert_eq!(reasons, [0, 1, 2, 0x97, 0xa2, 0x8f, 0x9e]);
        client.send(&subscribe_v5(1, &property::subscription_id(1), &[("a", 0)]));
        let answer = client.packet();
        assert_eq!(answer.last(), Some(&0xa1));
        assert!(reasons.iter().all(|reason| TABLE.contains(reason)));
        // It can subscribe to another one again when it has given one up.
        client.send(&unsubscribe_v5(2, &["a"]));
        client.expect(&[0xb0, 4, 0, 2, 0, 0]);
        client.subscribe_v5("d", 0);
    });
}
