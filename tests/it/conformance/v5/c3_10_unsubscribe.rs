//! Chapters 3.10 to 3.12: UNSUBSCRIBE, UNSUBACK, PINGREQ and PINGRESP.

use crate::conformance::on_each_layout;
use crate::support::{PINGREQ, PINGRESP, binary, packet, publish_v5, text, unsubscribe_v5};

#[test]
fn mqtt_3_10_1_1_unsubscribe_with_other_flags_ends_the_connection() {
    on_each_layout(|broker| {
        let good = unsubscribe_v5(1, &["t"]);
        for flags in (0..16).filter(|&flags| flags != 2) {
            broker.disconnects("client", &[&[0xa0 | flags], &good[1..]].concat(), 0x81);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_10_3_1_filters_are_strings() {
    on_each_layout(|broker| {
        for bad in [&b"\xff"[..], b"a/\xc3", b"\xed\xa0\x80", b"a\0"] {
            broker.disconnects("client", &packet(0xa2, &[&[0, 1, 0], &binary(bad)]), 0x81);
            broker.disconnects("client", &packet(0xa2, &[&[0, 1, 0], &text("t"), &binary(bad)]), 0x81);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_10_3_2_unsubscribe_has_a_filter() {
    on_each_layout(|broker| {
        broker.disconnects("none", &packet(0xa2, &[&[0, 1, 0]]), 0x82);
        broker.disconnects("cut off", &packet(0xa2, &[&[0, 1, 0], &[0, 3], b"t"]), 0x81);
        broker.serves();
    });
}

#[test]
fn mqtt_3_10_4_1_a_filter_is_deleted_that_is_equal_in_every_character() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in ["one", "two", "three"] {
            let mut client = broker.v5(id);
            client.subscribe_v5("a/+", 0);
            client.subscribe_v5("$share/g/s", 0);
            let others =
                ["a/b", "a/#", "#", "A/+", "a/+/", "/a/+", "a/", "+/+", "$share/h/s", "s", "$share/g/+"];
            client.send(&unsubscribe_v5(1, &others));
            client.expect(&packet(0xb0, &[&[0, 1, 0], &[0x11; 11]]));
            for topic in ["a/b", "s"] {
                publisher.publishes(0, topic, &[], b"x");
                client.expect(&publish_v5(0, topic, None, &[], b"x"));
            }
            for (filter, topic) in [("a/+", "a/b"), ("$share/g/s", "s")] {
                client.send(&unsubscribe_v5(2, &[filter]));
                client.expect(&[0xb0, 4, 0, 2, 0, 0]);
                publisher.publishes(0, topic, &[], b"x");
                client.lives();
            }
        }
    });
}

#[test]
fn mqtt_3_10_4_2_no_new_message_is_added() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in ["one", "two", "three"] {
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5("t", 1);
            client.subscribe_v5("mark", 0);
            client.send(&unsubscribe_v5(1, &["t"]));
            client.expect(&[0xb0, 4, 0, 1, 0, 0]);
            for _ in 0..5 {
                publisher.publishes(0, "t", &[], b"x");
            }
            publisher.nothing_before_mark(&mut client, "mark");
            // Nor while it is away.
            client.leave();
            publisher.publishes(0, "t", &[], b"x");
            broker.kept_v5(id, true).lives();
        }
    });
}

#[test]
fn mqtt_3_10_4_3_deliveries_that_have_begun_are_completed() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in ["one", "two", "three"] {
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5(id, 2);
            publisher.publishes(0, id, &[], b"1");
            for packet_id in [1, 2] {
                publisher.send(&publish_v5(4, id, Some(packet_id), &[], b"2"));
                publisher.expect(&[0x50, 2, 0, packet_id.to_be_bytes()[1]]);
                publisher.send(&[0x62, 2, 0, packet_id.to_be_bytes()[1]]);
                publisher.expect(&[0x70, 2, 0, packet_id.to_be_bytes()[1]]);
            }
            client.expect(&publish_v5(2, id, Some(1), &[], b"1"));
            client.expect(&publish_v5(4, id, Some(2), &[], b"2"));
            client.expect(&publish_v5(4, id, Some(3), &[], b"2"));
            client.send(&[0x50, 2, 0, 3]);
            client.expect(&[0x62, 2, 0, 3]);
            client.send(&unsubscribe_v5(1, &[id]));
            client.expect(&[0xb0, 4, 0, 1, 0, 0]);
            client.send(&[0x50, 2, 0, 2]);
            client.expect(&[0x62, 2, 0, 2]);
            // On another connection they go on.
            client.leave();
            let mut client = broker.kept_v5(id, true);
            client.expect(&publish_v5(0xa, id, Some(1), &[], b"1"));
            client.expect(&[0x62, 2, 0, 2, 0x62, 2, 0, 3]);
            client.send(&[0x40, 2, 0, 1, 0x70, 2, 0, 2, 0x70, 2, 0, 3]);
            client.lives();
            client.leave();
            broker.kept_v5(id, true).lives();
        }
    });
}

#[test]
fn mqtt_3_10_4_4_unsubscribe_is_answered_by_unsuback() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three", "four"] {
            let mut client = broker.v5(id);
            client.subscribe_v5("t", 0);
            client.send(&unsubscribe_v5(1, &["t"]));
            client.expect(&[0xb0, 4, 0, 1, 0, 0]);
        }
    });
}

#[test]
fn mqtt_3_10_4_5_unsuback_has_the_identifier_even_if_nothing_was_deleted() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        for id in [1_u16, 2, 300, 65_535] {
            let [high, low] = id.to_be_bytes();
            client.send(&unsubscribe_v5(id, &["never/subscribed"]));
            client.expect(&[0xb0, 4, high, low, 0, 0x11]);
        }
    });
}

#[test]
fn mqtt_3_10_4_6_several_filters_count_as_several_unsubscribes() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        for filter in ["a", "b", "c", "d"] {
            client.subscribe_v5(filter, 0);
        }
        // The second time it is gone.
        client.send(&unsubscribe_v5(1, &["a", "x", "c", "a"]));
        client.expect(&[0xb0, 7, 0, 1, 0, 0, 0x11, 0, 0x11]);
        for topic in ["a", "c"] {
            client.send(&publish_v5(0, topic, None, &[], b""));
        }
        client.echoes("b");
        client.echoes("d");
    });
}

#[test]
fn mqtt_3_11_3_1_reasons_come_in_the_order_of_the_filters() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        let filters: Vec<String> = (0..40).map(|number| format!("filter/{number}")).collect();
        let filters: Vec<&str> = filters.iter().map(|filter| &filter[..]).collect();
        let subscribed = |number: usize| number.is_multiple_of(3) || number.is_multiple_of(7);
        for (number, filter) in filters.iter().enumerate() {
            if subscribed(number) {
                client.subscribe_v5(filter, 0);
            }
        }
        client.send(&unsubscribe_v5(1, &filters));
        let reasons: Vec<u8> = (0..40).map(|number| if subscribed(number) { 0 } else { 0x11 }).collect();
        client.expect(&packet(0xb0, &[&[0, 1, 0], &reasons]));
    });
}

#[test]
fn mqtt_3_11_3_2_reasons_are_of_unsubacks_table() {
    const TABLE: [u8; 7] = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        client.subscribe_v5("t", 0);
        let filters = ["t", "t", "#", "", "a/#/b", "$share/g/t", "$share/", "$SYS/#"];
        client.send(&unsubscribe_v5(1, &filters));
        let answer = client.packet();
        let reasons = &answer[answer.len() - filters.len()..];
        assert_eq!(reasons[..2], [0, 0x11]);
        assert!(reasons.iter().all(|reason| TABLE.contains(reason)), "{reasons:02x?}");
    });
}

#[test]
fn mqtt_3_12_4_1_pingreq_is_answered_by_pingresp() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        for count in [1, 2, 500] {
            client.send(&PINGREQ.repeat(count));
            client.expect(&PINGRESP.repeat(count));
        }
        // It has no body.
        broker.disconnects("body", &[0xc0, 1, 0], 0x81);
    });
}
