//! Chapter 4.7: topic names and topic filters.

use crate::conformance::on_each_layout;
use crate::support::{Broker, Connect, Raw, binary, packet, publish_v5, subscribe_v5, unsubscribe_v5};

/// A client subscribed to a filter gets what is published to `matching`, and nothing of `others`.
fn matches(broker: &Broker, filter: &str, matching: &[&str], others: &[&str]) {
    let mut client = broker.v5(&format!("subscriber of {filter}"));
    client.send(&subscribe_v5(1, &[], &[(filter, 0), ("mark/of/matches", 0)]));
    client.expect(&[0x90, 5, 0, 1, 0, 0, 0]);
    let mut publisher = broker.v5(&format!("publisher for {filter}"));
    for topic in others.iter().chain(matching) {
        publisher.send(&publish_v5(0, topic, None, &[], filter.as_bytes()));
    }
    for topic in matching {
        client.expect(&publish_v5(0, topic, None, &[], filter.as_bytes()));
    }
    publisher.send(&publish_v5(0, "mark/of/matches", None, &[], b"mark"));
    client.expect(&publish_v5(0, "mark/of/matches", None, &[], b"mark"));
}

/// The filter is refused in SUBACK; those before and after it are granted.
#[track_caller]
fn refused(client: &mut Raw, filter: &str) {
    client.send(&subscribe_v5(1, &[], &[("before", 0), (filter, 1), ("after", 2)]));
    let answer = client.packet();
    assert_eq!(
        (answer[0], &answer[answer.len() - 3..]),
        (0x90, &[0, 0x8f, 2][..]),
        "{filter}: {answer:02x?}"
    );
}

#[test]
fn mqtt_4_7_0_1_wildcards_are_for_filters_and_not_for_names() {
    on_each_layout(|broker| {
        matches(broker, "a/+/#", &["a/b", "a/b/c"], &["a", "b/b"]);
        for topic in ["a/+", "#", "a+b", "a/#"] {
            broker.disconnects("client", &publish_v5(0, topic, None, &[], b""), 0x90);
            let connect = Connect { will: Some((topic, "", 0, false)), ..Connect::v5("will") };
            broker.refuses(&connect.bytes(), 0x90);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_4_7_1_1_the_multi_level_wildcard_is_the_whole_last_level() {
    on_each_layout(|broker| {
        matches(broker, "#", &["a", "a/b", "/", "/a", "a//"], &["$a"]);
        matches(broker, "a/#", &["a", "a/", "a/b", "a/b/c"], &["A/b", "b", "ab", "/a"]);
        matches(broker, "/#", &["/", "/a", "//"], &["a", "a/"]);
        let mut client = broker.v5("client");
        for filter in ["a#", "#a", "a/#/b", "#/", "##", "a/##", "a/b#", "/#/", "#/#", "a/#b"] {
            refused(&mut client, filter);
        }
        client.lives();
    });
}

#[test]
fn mqtt_4_7_1_2_the_single_level_wildcard_is_a_whole_level() {
    on_each_layout(|broker| {
        matches(broker, "+", &["a", "b"], &["a/b", "/a", "a/", "$a"]);
        matches(broker, "+/b", &["a/b", "/b"], &["a/c", "b", "a/b/c"]);
        matches(broker, "a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/b/c", "a/b/d"]);
        matches(broker, "a/+", &["a/b", "a/"], &["a", "a/b/c"]);
        matches(broker, "+/+", &["/a", "a/", "a/b", "/"], &["a", "a/b/c", "$a/b"]);
        let mut client = broker.v5("client");
        for filter in ["a+", "+a", "a/+b", "a/b+/c", "++", "+/a+", "+#"] {
            refused(&mut client, filter);
        }
        client.lives();
    });
}

#[test]
fn mqtt_4_7_2_1_filters_that_begin_with_a_wildcard_do_not_match_dollar_topics() {
    on_each_layout(|broker| {
        let dollar = ["$a", "$a/b", "$/b", "$SYSX/c"];
        matches(broker, "#", &["a", "a/$a", "/$a"], &dollar);
        matches(broker, "+/b", &["a/b"], &dollar);
        matches(broker, "+/#", &["a/b"], &dollar);
        matches(broker, "$a/#", &["$a", "$a/b"], &["a", "a/b"]);
        matches(broker, "$a/+", &["$a/b"], &["$a"]);
        matches(broker, "a/+", &["a/$b"], &dollar);
        // Neither do they find what is retained there.
        let mut publisher = broker.v5("publisher");
        publisher.publishes(1, "$a/b", &[], b"kept");
        publisher.publishes(1, "a/b", &[], b"kept");
        let mut client = broker.v5("client");
        for filter in ["#", "+/b"] {
            client.subscribe_v5(filter, 0);
            client.expect(&publish_v5(1, "a/b", None, &[], b"kept"));
            client.lives();
        }
        client.subscribe_v5("$a/+", 0);
        client.expect(&publish_v5(1, "$a/b", None, &[], b"kept"));
        // The broker's own topics are among them.
        client.send(&unsubscribe_v5(2, &["$a/+"]));
        client.expect(&[0xb0, 4, 0, 2, 0, 0]);
        client.subscribe_v5("$SYS/broker/version", 0);
        assert!(client.publication().topic.starts_with("$SYS/"));
    });
}

#[test]
fn mqtt_4_7_3_1_names_and_filters_are_not_empty() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        refused(&mut client, "");
        // Nobody can be subscribed to it.
        client.send(&unsubscribe_v5(3, &["a", ""]));
        client.expect(&[0xb0, 5, 0, 3, 0, 0x11, 0x11]);
        broker.disconnects("publisher", &publish_v5(0, "", None, &[], b"x"), 0x82);
        let connect = Connect { will: Some(("", "", 0, false)), ..Connect::v5("will") };
        broker.refuses(&connect.bytes(), 0x90);
        // One character is enough, and a level may be empty.
        for topic in ["a", "/", " "] {
            client.subscribe_v5(topic, 0);
            client.echoes(topic);
        }
    });
}

#[test]
fn mqtt_4_7_3_2_names_and_filters_have_no_null_character() {
    on_each_layout(|broker| {
        for bytes in [&b"\0"[..], b"a\0", b"a/\0/b", b"\0/#"] {
            let field = binary(bytes);
            broker.disconnects("publisher", &packet(0x30, &[&field, &[0]]), 0x81);
            broker.disconnects("subscriber", &packet(0x82, &[&[0, 1, 0], &field, &[0]]), 0x81);
            broker.disconnects("unsubscriber", &packet(0xa2, &[&[0, 1, 0], &field]), 0x81);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_4_7_3_3_names_and_filters_have_up_to_65_535_bytes() {
    on_each_layout(|broker| {
        // More cannot be said with a length of two bytes.
        let longest = "ü".repeat(32_767) + "x";
        assert_eq!(longest.len(), 65_535);
        let mut client = broker.v5("client");
        client.subscribe_v5(&longest, 1);
        client.echoes(&longest);
        let mut publisher = broker.v5("publisher");
        publisher.publishes(1, &longest, &[], b"kept");
        client.expect(&publish_v5(2, &longest, Some(1), &[], b"kept"));
        let mut later = broker.v5("later");
        later.subscribe_v5(&longest, 0);
        later.expect(&publish_v5(1, &longest, None, &[], b"kept"));
        client.send(&unsubscribe_v5(2, &[&longest]));
        client.expect(&[0xb0, 4, 0, 2, 0, 0]);
    });
}

#[test]
fn mqtt_4_7_3_4_names_and_filters_are_compared_as_they_are() {
    on_each_layout(|broker| {
        // Composed and decomposed, wide and narrow, upper and lower case, with and without a byte order mark, spaces,
        // empty levels and dots: all are different.
        let names = [
            "\u{e9}",
            "e\u{301}",
            "E\u{301}",
            "a",
            "A",
            "\u{ff41}",
            "\u{feff}a",
            " a",
            "a ",
            "/a",
            "a/",
            "a//",
            "./a",
            "a/../a",
            "%61",
            "a\u{200b}",
            "\u{df}",
            "ss",
            "\u{130}",
            "i",
            "\u{212b}",
            "\u{c5}",
            "a\u{1}",
        ];
        let mut clients: Vec<Raw> =
            (0..names.len()).map(|number| broker.v5(&format!("client-{number}"))).collect();
        for (client, name) in clients.iter_mut().zip(names) {
            client.send(&subscribe_v5(1, &[], &[(name, 0), ("mark", 0)]));
            client.expect(&[0x90, 5, 0, 1, 0, 0, 0]);
        }
        let mut publisher = broker.v5("publisher");
        for name in names {
            publisher.send(&publish_v5(0, name, None, &[], name.as_bytes()));
        }
        publisher.send(&publish_v5(0, "mark", None, &[], b"mark"));
        for (client, name) in clients.iter_mut().zip(names) {
            client.expect(&publish_v5(0, name, None, &[], name.as_bytes()));
            client.expect(&publish_v5(0, "mark", None, &[], b"mark"));
        }
    });
}
