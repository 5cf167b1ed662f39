//! Chapters 4.1 and 4.2: how long sessions live, and what carries them.

use crate::conformance::on_each_layout;
use crate::support::{Connect, property, publish_v5};

#[test]
fn mqtt_4_1_0_1_a_session_is_kept_as_long_as_its_connection() {
    on_each_layout(|broker| {
        let properties = &property::four(property::SESSION_EXPIRY, 1);
        let brief = Connect { properties, clean: false, ..Connect::v5("brief") };
        let (mut first, _) = broker.greeted(&brief);
        first.subscribe_v5("brief", 1);
        // One whose session ends with its connection.
        let mut ephemeral = broker.v5("ephemeral");
        ephemeral.subscribe_v5("ephemeral", 1);
        broker.let_pass(2);
        first.echoes("brief");
        ephemeral.echoes("ephemeral");
        // Another connection finds the sessions of those that are still there.
        let (mut second, answer) = broker.greeted(&brief);
        assert_eq!(answer.flags, 1);
        second.echoes("brief");
        drop((first, ephemeral));
    });
}

#[test]
fn mqtt_4_1_0_2_a_session_is_discarded_when_its_expiry_interval_is_over() {
    on_each_layout(|broker| {
        let ids = ["one", "two", "three", "four"];
        let connect = |id: &str, seconds| {
            let properties = &property::four(property::SESSION_EXPIRY, seconds);
            let (raw, answer) = broker.greeted(&Connect { properties, clean: false, ..Connect::v5(id) });
            (raw, answer.flags == 1)
        };
        for id in ids {
            let (mut raw, _) = connect(id, 1);
            raw.subscribe_v5("t", 1);
            raw.leave();
            // With the connection itself, when that is what the client asks for.
            let at_once = format!("{id}-0");
            connect(&at_once, 0).0.leave();
            assert!(!connect(&at_once, 0).1);
            // A goodbye may shorten it.
            let (mut raw, _) = connect(&format!("{id}-bye"), 1_000);
            raw.send(&[0xe0, 7, 0, 5, property::SESSION_EXPIRY, 0, 0, 0, 1]);
            raw.expect_closed();
            connect(&format!("{id}-long"), 1_000).0.leave();
        }
        broker.let_pass(3);
        broker.v5("publisher").publishes(0, "t", &[], b"for nobody");
        for id in ids {
            let (mut raw, present) = connect(id, 0);
            assert!(!present);
            raw.lives();
            assert!(!connect(&format!("{id}-bye"), 0).1);
            assert!(connect(&format!("{id}-long"), 0).1);
        }
    });
}

#[test]
fn mqtt_4_2_0_1_the_transport_is_an_ordered_lossless_stream() {
    on_each_layout(|broker| {
        let mut client = broker.v5("client");
        client.subscribe_v5("t", 1);
        let mut publisher = broker.v5("publisher");
        // Packets of all sizes, in pieces of all sizes, of which none is a packet.
        let payload = |number: u16| vec![number.to_le_bytes()[0]; usize::from(number) * 37 % 3_000];
        let sent: Vec<u8> =
            (1..=300).flat_map(|number| publish_v5(2, "t", Some(number), &[], &payload(number))).collect();
        let (mut rest, mut size) = (&sent[..], 1);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            publisher.send(piece);
            (rest, size) = (after, size * 7 % 9_973);
        }
        for number in 1..=300_u16 {
            let [high, low] = number.to_be_bytes();
            publisher.expect(&[0x40, 2, high, low]);
            client.expect(&publish_v5(2, "t", Some(number), &[], &payload(number)));
        }
        client.lives();
    });
}
