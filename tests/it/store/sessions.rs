//! Sessions, subscriptions and retained messages over a restart.

use super::{clean, each_restart, persistent};
use crate::support::{Connect, property, publish, publish_v5, subscribe_v5, unsubscribe_v5};

#[test]
fn retained_messages_are_there_replaced_and_gone_as_before() {
    each_restart(|life| {
        let mut publisher = clean(life, "publisher");
        for (topic, payload) in [("r/kept", "old"), ("r/kept", "new"), ("r/cleared", "x"), ("r/cleared", "")]
        {
            publisher.publishes_v3(1, topic, payload.as_bytes());
        }
        life.restart();
        let mut reader = clean(life, "reader");
        reader.subscribe("r/#", 1);
        reader.expect(&publish(3, "r/kept", Some(1), b"new"));
        reader.expect_silence();
        let mut publisher = clean(life, "publisher");
        publisher.publishes_v3(1, "r/kept", b"");
        publisher.publishes_v3(1, "r/cleared", b"again");
        life.restart();
        let mut reader = clean(life, "reader");
        reader.subscribe("r/#", 0);
        reader.expect(&publish(1, "r/cleared", None, b"again"));
        reader.expect_silence();
    });
}

#[test]
fn sessions_are_present_and_clean_ones_are_not() {
    each_restart(|life| {
        let away = persistent(life, "away", false);
        away.leave_v3();
        let _there = persistent(life, "there", false);
        drop(life.kept_v5("five", false));
        let _clean = clean(life, "clean");
        drop(persistent(life, "was-kept", false));
        let _now_clean = clean(life, "was-kept");
        life.restart();
        drop(persistent(life, "away", true));
        drop(persistent(life, "there", true));
        drop(life.kept_v5("five", true));
        drop(persistent(life, "clean", false));
        drop(persistent(life, "was-kept", false));
    });
}

#[test]
fn subscriptions_gather_messages_before_their_clients_are_back() {
    each_restart(|life| {
        let ids: Vec<String> = (0..8).map(|n| format!("sleeper-{n}")).collect();
        for id in &ids {
            let mut sleeper = persistent(life, id, false);
            sleeper.subscribe("wait/+", 1);
        }
        life.restart();
        // The first thing that happens, by clients of whatever shard.
        for n in 0..8u8 {
            clean(life, &format!("publisher-{n}")).publishes_v3(0, "wait/1", &[n]);
        }
        for id in &ids {
            let mut sleeper = persistent(life, id, true);
            let mut got: Vec<u8> = (0..8).map(|_| *sleeper.packet().last().expect("a payload")).collect();
            got.sort_unstable();
            assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7], "{id}");
            sleeper.expect_silence();
        }
    });
}

#[test]
fn subscriptions_keep_their_options_and_identifiers() {
    each_restart(|life| {
        let mut client = life.kept_v5("client", false);
        let id = property::subscription_id(77);
        client.subscribe_with(&id, "o/identified", 1);
        client.subscribe_v5("o/qos-2", 2);
        client.subscribe_v5("o/qos-0", 0);
        client.subscribe_v5("o/not-mine", 1 | 4);
        client.subscribe_v5("o/as-published", 1 | 8);
        // What was granted later counts.
        client.subscribe_v5("o/changed", 2);
        client.subscribe_v5("o/changed", 1);
        life.restart();
        let mut client = life.kept_v5("client", true);
        let mut other = life.v5("other");
        client.publishes(0, "o/not-mine", &[], b"own");
        let topics = ["o/identified", "o/qos-2", "o/qos-0", "o/not-mine", "o/as-published", "o/changed"];
        for topic in topics {
            other.send(&publish_v5(5, topic, Some(5), &[], b"x"));
            assert_eq!(other.packet()[0], 0x50);
            other.send(&[0x62, 2, 0, 5]);
            other.expect(&[0x70, 2, 0, 5]);
        }
        let flags = [2, 4, 0, 2, 3, 2];
        for (topic, flags) in topics.iter().zip(flags) {
            let got = client.publication();
            assert_eq!((got.topic.as_str(), got.flags), (*topic, flags));
            let ids = if *topic == "o/identified" { vec![77] } else { vec![] };
            assert_eq!(got.properties.subscription_ids(), ids, "{topic}");
        }
        client.expect_silence();
    });
}

#[test]
fn shared_subscriptions_give_each_message_to_one_member() {
    each_restart(|life| {
        let ids: Vec<String> = (0..4).map(|n| format!("member-{n}")).collect();
        for id in &ids {
            life.kept_v5(id, false).subscribe_v5("$share/group/s/#", 1);
        }
        life.restart();
        let mut publisher = clean(life, "publisher");
        for n in 0..20 {
            publisher.publishes_v3(0, "s/1", &[n]);
        }
        let mut got = Vec::new();
        for id in &ids {
            let mut member = life.kept_v5(id, true);
            member.send(&crate::support::PINGREQ);
            loop {
                let packet = member.packet();
                if packet == crate::support::PINGRESP {
                    break;
                }
                got.push(*packet.last().expect("a payload"));
            }
        }
        got.sort_unstable();
        assert_eq!(got, (0..20).collect::<Vec<u8>>());
    });
}

#[test]
fn what_was_unsubscribed_stays_so() {
    each_restart(|life| {
        let mut client = life.kept_v5("client", false);
        client.send(&subscribe_v5(1, &[], &[("u/1", 1), ("u/2", 1), ("$share/g/u/3", 1)]));
        client.expect(&[0x90, 6, 0, 1, 0, 1, 1, 1]);
        client.send(&unsubscribe_v5(2, &["u/1", "$share/g/u/3"]));
        client.expect(&[0xb0, 5, 0, 2, 0, 0, 0]);
        life.restart();
        let mut publisher = clean(life, "publisher");
        for topic in ["u/1", "u/3", "u/2"] {
            publisher.publishes_v3(0, topic, b"x");
        }
        let mut client = life.kept_v5("client", true);
        client.expect(&publish_v5(2, "u/2", Some(1), &[], b"x"));
        client.expect_silence();
    });
}

#[test]
fn a_clean_start_forgets_for_good() {
    each_restart(|life| {
        let mut client = life.kept_v5("client", false);
        client.subscribe_v5("c", 1);
        clean(life, "publisher").publishes_v3(0, "c", b"queued");
        client.publication();
        // Its session is kept as well, and is another one.
        let properties = &property::four(property::SESSION_EXPIRY, 1_000);
        let (mut fresh, answer) = life.greeted(&Connect { properties, ..Connect::v5("client") });
        assert_eq!(answer.flags, 0);
        fresh.subscribe_v5("d", 1);
        life.restart();
        let mut publisher = clean(life, "publisher");
        publisher.publishes_v3(0, "c", b"to nobody");
        publisher.publishes_v3(0, "d", b"x");
        let mut client = life.kept_v5("client", true);
        client.expect(&publish_v5(2, "d", Some(1), &[], b"x"));
        client.expect_silence();
    });
}
