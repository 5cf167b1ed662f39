//! 4.7: topic names and filters.

use super::{clean, closes, nothing_but_the_mark, subscriber};
use crate::conformance::on_each_layout;
use crate::support::{Broker, packet, publish, suback, subscribe, text};

/// The longest string there is.
const LONGEST: usize = 65_535;

/// A subscription gets the messages of these topics and not those of the others.
fn matches(broker: &Broker, filter: &str, matching: &[&str], others: &[&str]) {
    let mut subscriber = subscriber(broker, "subscriber", &[(filter, 0)]);
    let mut publisher = clean(broker, "publisher");
    for topic in others.iter().chain(matching).chain(others) {
        publisher.send(&publish(0, topic, None, filter.as_bytes()));
    }
    for topic in matching {
        subscriber.expect(&publish(0, topic, None, filter.as_bytes()));
    }
    nothing_but_the_mark(&mut publisher, &mut subscriber);
}

/// A subscription to each is refused.
fn refused(broker: &Broker, filters: &[&str]) {
    let mut raw = clean(broker, "refused");
    for filter in filters {
        raw.send(&subscribe(1, filter, 0));
        raw.expect(&suback(1, 0x80));
    }
}

#[test]
fn mqtt_4_7_1_1_a_topic_name_with_a_wildcard_closes_the_connection() {
    on_each_layout(|broker| {
        for topic in ["+", "#", "a/+", "+/a", "a/#", "/+/", "a+b", "#a"] {
            closes(broker, "wildcard", &publish(0, topic, None, b"x"));
        }
    });
}

#[test]
fn mqtt_4_7_1_2_a_number_sign_stands_alone_and_last() {
    on_each_layout(|broker| {
        refused(broker, &["#/a", "a/#/b", "a#", "a/b#", "#a", "##", "a/##", "/#/"]);
        matches(
            broker,
            "a/#",
            &["a", "a/", "a/b", "a/b/c/d", "a//", "a/$b"],
            &["b/a", "ab", "/a", "A", "$a"],
        );
        matches(broker, "#", &["a", "/", "//", "a/b/c", " "], &["$a", "$a/b"]);
        matches(broker, "/#", &["/", "/a", "/a/b", "//"], &["a", "a/", "a/b"]);
    });
}

#[test]
fn mqtt_4_7_1_3_a_plus_sign_stands_alone_in_its_level() {
    on_each_layout(|broker| {
        refused(broker, &["a+", "+a", "a/b+", "a/+b/c", "++", "+#", "#+", "a/+#"]);
        matches(broker, "+", &["a", " "], &["a/b", "/a", "/", "$a"]);
        matches(broker, "a/+/c", &["a/b/c", "a//c", "a/$/c"], &["a/c", "a/b/b/c", "a/b/d", "a/b/c/d", "a/b"]);
        matches(broker, "+/+", &["/", "a/b", "/a", "a/"], &["a", "a/b/c", "$a/b"]);
        matches(broker, "/+", &["/", "/a"], &["a", "a/b", "/a/b"]);
        matches(broker, "+/a/#", &["/a", "b/a", "b/a/c/d"], &["a", "b/c/a", "$b/a"]);
    });
}

#[test]
fn mqtt_4_7_2_1_a_wildcard_at_the_front_does_not_match_a_dollar_sign() {
    on_each_layout(|broker| {
        for filter in ["#", "+/a", "+/#", "+"] {
            let plain: &[&str] = match filter {
                "+" => &["a"],
                _ => &["b/a"],
            };
            matches(broker, filter, plain, &["$b/a", "$", "$b", "$/a"]);
        }
        matches(broker, "$b/#", &["$b", "$b/a", "$b/a/c"], &["b", "$c/a", "$bb"]);
        matches(broker, "$b/+", &["$b/a", "$b/"], &["$b", "$b/a/c"]);
        // The broker's own messages come to those who ask for them.
        let mut raw = clean(broker, "sys");
        raw.subscribe("$SYS/#", 0);
        assert_eq!(raw.packet()[0] & 0xf0, 0x30);
    });
}

#[test]
fn mqtt_4_7_3_1_names_and_filters_have_a_character() {
    on_each_layout(|broker| {
        closes(broker, "empty", &publish(0, "", None, b"x"));
        closes(broker, "empty", &publish(2, "", Some(1), b"x"));
        refused(broker, &[""]);
        matches(broker, "/", &["/"], &["a", "//"]);
        matches(broker, "a", &["a"], &["/a", "a/", "b"]);
    });
}

#[test]
fn mqtt_4_7_3_2_names_and_filters_have_no_u_0000() {
    on_each_layout(|broker| {
        for bad in ["\0", "a\0", "a/\0/b"] {
            closes(broker, "nul", &publish(0, bad, None, b"x"));
            closes(broker, "nul", &subscribe(1, bad, 0));
            closes(broker, "nul", &super::unsubscribe(1, &[bad]));
        }
    });
}

#[test]
fn mqtt_4_7_3_3_names_and_filters_have_up_to_65_535_bytes() {
    on_each_layout(|broker| {
        let longest = "ü".repeat(LONGEST / 2) + "x";
        assert_eq!(longest.len(), LONGEST);
        matches(broker, &longest, &[&longest], &[&longest[2..]]);
        // What looks like a longer one is a topic of that length with a payload.
        let mut subscriber = subscriber(broker, "longer", &[("+", 0)]);
        let mut publisher = clean(broker, "publisher");
        publisher.send(&packet(0x30, &[&text(&longest), b"more"]));
        subscriber.expect(&packet(0x30, &[&text(&longest), b"more"]));
    });
}

#[test]
fn mqtt_4_7_3_4_nothing_is_normalized() {
    on_each_layout(|broker| {
        let alike = [
            "ACCOUNTS",
            "Accounts",
            "accounts",
            "accounts ",
            " accounts",
            "accounts/",
            "/accounts",
            "//accounts",
        ];
        for name in alike {
            let others: Vec<_> = alike.into_iter().filter(|&other| other != name).collect();
            matches(broker, name, &[name], &others);
        }
        // An é of one character, and one of two; a full-width slash; percent signs and dots.
        matches(broker, "caf\u{e9}", &["caf\u{e9}"], &["cafe\u{301}", "cafe"]);
        matches(broker, "a/b", &["a/b"], &["a\u{ff0f}b", "a%2Fb", "a/./b", "a/c/../b", "a//b"]);
        matches(broker, "\u{fffd}", &["\u{fffd}"], &["\u{fffe}", "?"]);
    });
}
