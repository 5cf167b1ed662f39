//! 4.5 and 4.6: who gets a message, and in which order.

use super::{acknowledged, clean, kept, leaves};
use crate::conformance::on_each_layout;
use crate::support::{Raw, publish};

/// How many messages: more than are unacknowledged at a time, and than one read of the broker brings.
const MANY: u16 = 3_000;

/// Sends QoS 1 or 2 messages to "order" with the ids 1 to [`MANY`], each with its id as payload.
fn send_many(publisher: &mut Raw, flags: u8) {
    for chunk in (1..=MANY).collect::<Vec<_>>().chunks(100) {
        let bytes: Vec<u8> =
            chunk.iter().flat_map(|&id| publish(flags, "order", Some(id), &id.to_be_bytes())).collect();
        publisher.send(&bytes);
    }
}

#[test]
fn mqtt_4_5_0_1_a_message_goes_to_all_that_match_here_or_away() {
    on_each_layout(|broker| {
        let mut away: Vec<String> = Vec::new();
        let mut here: Vec<Raw> = Vec::new();
        for number in 0..8 {
            let id = format!("away-{number}");
            let mut raw = kept(broker, &id, false);
            raw.subscribe("all/+", 1);
            leaves(raw);
            away.push(id);
            let mut raw = clean(broker, &format!("here-{number}"));
            raw.subscribe("all/#", 1);
            here.push(raw);
        }
        acknowledged(&mut clean(broker, "publisher"), "all/of-you", b"x");
        for raw in &mut here {
            raw.expect(&publish(2, "all/of-you", Some(1), b"x"));
        }
        for id in away {
            kept(broker, &id, true).expect(&publish(2, "all/of-you", Some(1), b"x"));
        }
    });
}

#[test]
fn mqtt_4_6_0_1_what_is_sent_again_comes_in_its_first_order() {
    on_each_layout(|broker| {
        let mut raw = kept(broker, "subscriber", false);
        raw.subscribe("order", 2);
        let mut publisher = clean(broker, "publisher");
        let flags = |id: u16| if id.is_multiple_of(3) { 4 } else { 2 };
        for id in 1..=50 {
            publisher.send(&publish(flags(id), "order", Some(id), b"x"));
            raw.expect(&publish(flags(id), "order", Some(id), b"x"));
        }
        // Some are acknowledged, the latest first.
        for id in [40, 20, 10, 1] {
            raw.send(&[0x40, 2, 0, id]);
        }
        raw.expect_silence();
        drop(raw);
        let mut raw = kept(broker, "subscriber", true);
        for id in (1..=50).filter(|id| ![40, 20, 10, 1].contains(id)) {
            raw.expect(&publish(8 | flags(id), "order", Some(id), b"x"));
        }
    });
}

#[test]
fn mqtt_4_6_0_2_pubacks_come_in_the_order_of_their_publishes() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        // Retained ones wait for the shard that stores them, the others for nobody.
        for round in 0..5 {
            let sent: Vec<u8> = (1..=200)
                .flat_map(|id| publish(2 | u8::from(id % 3 > 0), &format!("r/{round}/{id}"), Some(id), b"x"))
                .collect();
            publisher.send(&sent);
            for id in 1..=200u16 {
                publisher.expect(&[&[0x40, 2][..], &id.to_be_bytes()].concat());
            }
        }
    });
}

#[test]
fn mqtt_4_6_0_3_pubrecs_come_in_the_order_of_their_publishes() {
    on_each_layout(|broker| {
        let mut publisher = clean(broker, "publisher");
        for round in 0..5u16 {
            let ids = round * 200 + 1..=round * 200 + 200;
            let sent: Vec<u8> = ids
                .clone()
                .flat_map(|id| publish(4 | u8::from(id % 3 > 0), &format!("r/{id}"), Some(id), b"x"))
                .collect();
            publisher.send(&sent);
            for id in ids {
                publisher.expect(&[&[0x50, 2][..], &id.to_be_bytes()].concat());
            }
        }
    });
}

#[test]
fn mqtt_4_6_0_4_pubrels_come_in_the_order_of_their_pubrecs() {
    on_each_layout(|broker| {
        let mut raw = clean(broker, "subscriber");
        raw.subscribe("order", 2);
        let mut publisher = clean(broker, "publisher");
        for id in 1..=50 {
            publisher.send(&publish(4, "order", Some(id), b"x"));
            raw.expect(&publish(4, "order", Some(id), b"x"));
        }
        // Not the order of the messages.
        let order = (0..50u8).map(|n| n * 3 % 50 + 1);
        raw.send(&order.clone().flat_map(|id| [0x50, 2, 0, id]).collect::<Vec<_>>());
        raw.expect(&order.flat_map(|id| [0x62, 2, 0, id]).collect::<Vec<_>>());
    });
}

#[test]
fn mqtt_4_6_0_5_every_topic_is_ordered_without_any_setting() {
    on_each_layout(|broker| {
        let mut subscribers: Vec<Raw> = (0..4)
            .map(|number| {
                let mut raw = clean(broker, &format!("subscriber-{number}"));
                raw.subscribe("order", 0);
                raw
            })
            .collect();
        let mut publisher = clean(broker, "publisher");
        for number in 0..MANY {
            publisher.send(&publish(0, "order", None, &number.to_be_bytes()));
        }
        for raw in &mut subscribers {
            for number in 0..MANY {
                raw.expect(&publish(0, "order", None, &number.to_be_bytes()));
            }
        }
    });
}

#[test]
fn mqtt_4_6_0_6_messages_of_a_client_reach_each_subscriber_in_its_order() {
    on_each_layout(|broker| {
        for (flags, ack) in [(2, 0x40), (4, 0x50)] {
            let mut raw = clean(broker, "subscriber");
            raw.subscribe("order", 2);
            let mut publisher = clean(broker, &format!("publisher-{flags}"));
            send_many(&mut publisher, flags);
            let mut next = 1;
            while next <= MANY {
                let got = raw.packet();
                // PUBRELs come between the messages; PUBCOMP makes room for more of them.
                if let &[0x62, 2, high, low] = &got[..] {
                    raw.send(&[0x70, 2, high, low]);
                    continue;
                }
                let &[first, .., id_high, id_low, high, low] = &got[..] else { panic!("{got:02x?}") };
                assert_eq!((first, u16::from_be_bytes([high, low])), (0x30 | flags, next));
                raw.send(&[ack, 2, id_high, id_low]);
                next += 1;
            }
        }
    });
}
