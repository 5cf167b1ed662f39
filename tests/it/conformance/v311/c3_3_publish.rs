//! 3.3: PUBLISH.

use super::{
    acknowledged, clean, closes, established, kept, latecomer, nothing_but_the_mark, retained, subscriber,
};
use crate::conformance::on_each_layout;
use crate::support::{binary, packet, publish, suback, subscribe, subscribe_many, text};

#[test]
fn mqtt_3_3_1_1_dup_is_set_on_what_is_sent_again() {
    on_each_layout(|broker| {
        let mut raw = kept(broker, "again", false);
        raw.subscribe("again", 2);
        let mut publisher = clean(broker, "publisher");
        acknowledged(&mut publisher, "again", b"1");
        publisher.send(&publish(4, "again", Some(2), b"2"));
        raw.expect(&publish(2, "again", Some(1), b"1"));
        raw.expect(&publish(4, "again", Some(2), b"2"));
        drop(raw);
        let mut raw = kept(broker, "again", true);
        raw.expect(&publish(0xa, "again", Some(1), b"1"));
        raw.expect(&publish(0xc, "again", Some(2), b"2"));
    });
}

#[test]
fn mqtt_3_3_1_2_dup_with_qos_0_closes_the_connection_and_is_never_sent() {
    on_each_layout(|broker| {
        closes(broker, "dup", &packet(0x38, &[&text("dup"), b"x"]));
        closes(broker, "dup", &packet(0x39, &[&text("dup"), b"x"]));
        let mut subscriber = subscriber(broker, "subscriber", &[("dup", 0)]);
        let mut publisher = clean(broker, "publisher");
        publisher.send(&publish(0xa, "dup", Some(1), b"x"));
        subscriber.expect(&publish(0, "dup", None, b"x"));
    });
}

#[test]
fn mqtt_3_3_1_3_dup_is_not_passed_on() {
    on_each_layout(|broker| {
        let mut subscriber = subscriber(broker, "subscriber", &[("dup", 2)]);
        let mut publisher = clean(broker, "publisher");
        publisher.send(&publish(0xa, "dup", Some(1), b"1"));
        subscriber.expect(&publish(2, "dup", Some(1), b"1"));
        publisher.send(&publish(0xc, "dup", Some(2), b"2"));
        subscriber.expect(&publish(4, "dup", Some(2), b"2"));
    });
}

#[test]
fn mqtt_3_3_1_4_qos_3_closes_the_connection() {
    on_each_layout(|broker| {
        for flags in [6, 7, 0xe, 0xf] {
            closes(broker, "qos-3", &packet(0x30 | flags, &[&text("qos"), &[0, 1], b"x"]));
        }
    });
}

#[test]
fn mqtt_3_3_1_5_a_retained_message_is_stored_with_its_qos() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        retained(&mut publisher, "stored/1", b"1");
        publisher.send(&publish(5, "stored/2", Some(2), b"2"));
        publisher.expect(&[0x50, 2, 0, 2]);
        for qos in [1, 2] {
            let mut later = clean(broker, &format!("later-{qos}"));
            let topic = format!("stored/{qos}");
            later.subscribe(&topic, 2);
            later.expect(&publish(qos << 1 | 1, &topic, Some(1), &topic.as_bytes()[7..]));
        }
    });
}

#[test]
fn mqtt_3_3_1_6_a_new_subscription_gets_the_last_message_of_each_topic() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        let topics: Vec<String> = (0..20).map(|n| format!("last/{n:02}")).collect();
        for payload in [b"old", b"new"] {
            topics.iter().for_each(|topic| retained(&mut publisher, topic, payload));
        }
        let mut later = clean(broker, "later");
        later.subscribe("last/+", 0);
        let mut got: Vec<_> = topics.iter().map(|_| later.packet()).collect();
        got.sort();
        let want: Vec<_> = topics.iter().map(|topic| publish(1, topic, None, b"new")).collect();
        assert_eq!(got, want);
        later.expect_silence();
    });
}

#[test]
fn mqtt_3_3_1_7_a_retained_message_of_qos_0_replaces_what_was_there() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        retained(&mut publisher, "replaced", b"old");
        let mut watcher = clean(broker, "watcher");
        watcher.subscribe("replaced", 0);
        watcher.expect(&publish(1, "replaced", None, b"old"));
        publisher.send(&publish(1, "replaced", None, b"new"));
        watcher.expect(&publish(0, "replaced", None, b"new"));
        let mut later = latecomer(broker, "later");
        later.subscribe("replaced", 1);
        later.expect(&publish(1, "replaced", None, b"new"));
    });
}

#[test]
fn mqtt_3_3_1_8_retain_is_set_on_what_a_new_subscription_brings() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        retained(&mut publisher, "flag", b"x");
        for qos in 0..=1 {
            let mut later = clean(broker, "later");
            later.subscribe("flag", qos);
            later.expect(&publish(qos << 1 | 1, "flag", (qos > 0).then_some(1), b"x"));
        }
    });
}

#[test]
fn mqtt_3_3_1_9_retain_is_not_set_on_what_an_established_subscription_brings() {
    on_each_layout(|broker| {
        for qos in 0..=1 {
            let mut subscriber = established(broker, "subscriber", "flag", qos);
            retained(&mut clean(broker, "publisher"), "flag", b"x");
            subscriber.expect(&publish(qos << 1, "flag", (qos > 0).then_some(2), b"x"));
        }
    });
}

#[test]
fn mqtt_3_3_1_10_an_empty_retained_message_is_delivered_and_removes_what_was_there() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        for n in 0..6 {
            let topic = format!("removed/{n}");
            retained(&mut publisher, &topic, b"x");
            let mut watcher = clean(broker, "watcher");
            watcher.subscribe(&topic, 0);
            watcher.expect(&publish(1, &topic, None, b"x"));
            retained(&mut publisher, &topic, b"");
            watcher.expect(&publish(0, &topic, None, b""));
        }
        let mut later = subscriber(broker, "later", &[("removed/+", 0)]);
        nothing_but_the_mark(&mut publisher, &mut later);
    });
}

#[test]
fn mqtt_3_3_1_11_an_empty_retained_message_is_not_stored() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        for n in 0..6 {
            retained(&mut publisher, &format!("empty/{n}"), b"");
        }
        let mut later = subscriber(broker, "later", &[("empty/#", 0)]);
        nothing_but_the_mark(&mut publisher, &mut later);
    });
}

#[test]
fn mqtt_3_3_1_12_without_retain_nothing_is_stored_or_removed() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        retained(&mut publisher, "kept", b"kept");
        acknowledged(&mut publisher, "kept", b"passes");
        acknowledged(&mut publisher, "kept", b"");
        acknowledged(&mut publisher, "passes", b"passes");
        let mut later = subscriber(broker, "later", &[("passes", 0)]);
        nothing_but_the_mark(&mut publisher, &mut later);
        later.subscribe("kept", 0);
        later.expect(&publish(1, "kept", None, b"kept"));
        later.expect_silence();
    });
}

#[test]
fn mqtt_3_3_2_1_a_topic_that_is_not_there_or_not_utf_8_closes_the_connection() {
    on_each_layout(|broker| {
        for body in
            [&[][..], &[0], &[0, 2, b'a'], &[0xff, 0xff, b'a'], &binary(b"\xff"), &binary(b"a\xed\xa0\x80")]
        {
            closes(broker, "topic", &packet(0x30, &[body]));
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_3_2_2_a_topic_with_wildcards_closes_the_connection() {
    on_each_layout(|broker| {
        for topic in ["#", "+", "a/#", "a/+/b", "a+", "a#b"] {
            closes(broker, "wildcard", &publish(0, topic, None, b"x"));
            closes(broker, "wildcard", &publish(2, topic, Some(1), b"x"));
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_3_2_3_what_is_delivered_has_the_topic_it_was_published_to() {
    on_each_layout(|broker| {
        let filters = [("match/#", 0), ("+/other", 0), ("exact", 0)];
        let mut subscriber = subscriber(broker, "subscriber", &filters);
        let mut publisher = clean(broker, "publisher");
        let matching = ["match", "match/a", "match/a/b/c", "x/other", "/other", "exact"];
        for topic in matching.into_iter().chain(["matches", "x/others", "x/y/other", "exactly"]) {
            publisher.send(&publish(0, topic, None, b"x"));
        }
        for topic in matching {
            subscriber.expect(&publish(0, topic, None, b"x"));
        }
        nothing_but_the_mark(&mut publisher, &mut subscriber);
    });
}

#[test]
fn mqtt_3_3_4_1_the_answer_depends_on_the_qos() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        for topic in ["nobody", "nobody/either"] {
            publisher.send(&publish(0, topic, None, b"x"));
            publisher.expect_silence();
            publisher.send(&publish(2, topic, Some(1), b"x"));
            publisher.expect(&[0x40, 2, 0, 1]);
            publisher.send(&publish(4, topic, Some(1), b"x"));
            publisher.expect(&[0x50, 2, 0, 1]);
            publisher.send(&[0x62, 2, 0, 1]);
            publisher.expect(&[0x70, 2, 0, 1]);
        }
    });
}

#[test]
fn mqtt_3_3_5_1_overlapping_subscriptions_deliver_with_the_highest_of_their_qos() {
    on_each_layout(|broker| {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for (number, [exact, plus, hash]) in orders.into_iter().enumerate() {
            let mut raw = clean(broker, &format!("overlap-{number}"));
            raw.send(&subscribe_many(1, &[("over/lap", exact), ("over/+", plus), ("over/#", hash)]));
            raw.expect(&packet(0x90, &[&[0, 1, exact, plus, hash]]));
            let mut publisher = clean(broker, "publisher");
            publisher.send(&publish(4, "over/lap", Some(1), b"x"));
            publisher.expect(&[0x50, 2, 0, 1]);
            raw.expect(&publish(4, "over/lap", Some(1), b"x"));
            raw.expect_silence();
            acknowledged(&mut publisher, "over/lap", b"y");
            raw.expect(&publish(2, "over/lap", Some(2), b"y"));
            raw.expect_silence();
        }
    });
}

#[test]
fn mqtt_3_3_5_2_a_publish_that_is_not_allowed_is_acknowledged_as_usual() {
    on_each_layout(|broker| {
        let mut subscriber = subscriber(broker, "subscriber", &[]);
        subscriber.send(&subscribe(2, "$SYS/mine", 0));
        subscriber.expect(&suback(2, 0));
        let mut publisher = clean(broker, "publisher");
        acknowledged(&mut publisher, "$SYS/mine", b"x");
        publisher.send(&publish(4, "$SYS/mine", Some(2), b"x"));
        publisher.expect(&[0x50, 2, 0, 2]);
        publisher.send(&[0x62, 2, 0, 2]);
        publisher.expect(&[0x70, 2, 0, 2]);
        nothing_but_the_mark(&mut publisher, &mut subscriber);
    });
}
