//! Chapter 3.14: DISCONNECT.

use crate::conformance::on_each_layout;
use crate::support::{
    Broker, Connect, PINGREQ, Properties, packet, property, publish_v5, subscribe_v5, text,
};
use std::io::Read;

/// Reason codes that a client's DISCONNECT has.
const OF_CLIENTS: [u8; 14] =
    [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
/// Reason codes that a server's DISCONNECT has.
const OF_SERVERS: [u8; 28] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
    0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
];

/// Packets that end the connection of a client, and the reason that it is given.
fn violations() -> Vec<(Vec<u8>, u8)> {
    vec![
        (vec![0xc1, 0], 0x81),
        (vec![0x30, 0], 0x81),
        (packet(0x82, &[&[0, 1, 0]]), 0x82),
        (Connect::v5("again").bytes(), 0x82),
        (vec![0xd0, 0], 0x82),
        (publish_v5(0, "#", None, &[], b""), 0x90),
        (publish_v5(0, "t", None, &property::two(property::ALIAS, 60_000), b""), 0x94),
        // 100 megabytes are announced.
        (vec![0x30, 0x80, 0xc2, 0xd7, 0x2f], 0x95),
    ]
}

/// All that comes on a connection that begins like this, until its end.
fn all_of(broker: &Broker, bytes: &[u8]) -> Vec<u8> {
    let mut raw = broker.raw();
    raw.send(bytes);
    let mut got = Vec::new();
    // A reset is an end as well.
    let _ = raw.0.read_to_end(&mut got);
    got
}

#[test]
fn mqtt_3_14_0_1_who_was_not_accepted_gets_no_disconnect() {
    on_each_layout(|broker| {
        let method = property::data(property::AUTH_METHOD, "of our own");
        let will = Some(("#", "", 0, false));
        let refused = [
            PINGREQ.to_vec(),
            vec![0xe0, 0],
            publish_v5(0, "t", None, &[], b""),
            packet(0x10, &[&text("MQTT"), &[5, 3, 0, 0, 0], &text("c")]),
            packet(0x10, &[&text("MQTT"), &[9, 2, 0, 0, 0], &text("c")]),
            [0x10, 0xff, 0xff, 0xff, 0xff].to_vec(),
            Connect { properties: &method, ..Connect::v5("c") }.bytes(),
            Connect { will, ..Connect::v5("c") }.bytes(),
        ];
        for bytes in refused {
            let got = all_of(broker, &bytes);
            // At most a CONNACK that refuses, and nothing after it.
            match got[..] {
                [] => {}
                [0x20, len, 0, 0x80..=0xff, ..] => assert_eq!(got.len(), 2 + usize::from(len), "{got:02x?}"),
                _ => panic!("{got:02x?}"),
            }
        }
    });
}

#[test]
fn mqtt_3_14_1_1_disconnect_with_other_flags_is_malformed() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("will", 0);
        for flags in 1..16 {
            let (mut client, _) =
                broker.greeted(&Connect { will: Some(("will", "x", 0, false)), ..Connect::v5("client") });
            client.send(&[0xe0 | flags, 0]);
            client.expect_goodbye(0x81);
            // So it was no goodbye.
            watcher.expect(&publish_v5(0, "will", None, &[], b"x"));
        }
    });
}

#[test]
fn mqtt_3_14_2_1_disconnect_has_a_reason_of_its_table() {
    on_each_layout(|broker| {
        for reason in OF_CLIENTS {
            let mut client = broker.v5("client");
            client.send(&[0xe0, 1, reason]);
            client.expect_closed();
        }
        // 0x8c is DISCONNECT's in the standard's chapter 2.4, and not in 3.14.
        let listed = [&OF_CLIENTS[..], &OF_SERVERS, &[0x8c]].concat();
        for reason in (0..=0xff).filter(|reason| !listed.contains(reason)) {
            broker.disconnects("client", &[0xe0, 1, reason], 0x81);
        }
        for (bytes, reason) in violations() {
            assert!(OF_SERVERS.contains(&reason));
            broker.disconnects("client", &bytes, reason);
        }
    });
}

/// Properties of all DISCONNECTs that the broker has cause for here.
fn goodbyes(broker: &Broker) -> Vec<Properties> {
    let mut all: Vec<Properties> = violations()
        .into_iter()
        .map(|(bytes, reason)| {
            let mut client = broker.kept_v5("client", false);
            client.send(&bytes);
            let properties = client.expect_goodbye(reason);
            broker.v5("client").leave();
            properties
        })
        .collect();
    let mut taken = broker.kept_v5("taken", false);
    broker.v5("taken").lives();
    all.push(taken.expect_goodbye(0x8e));
    let (mut silent, _) = broker.greeted(&Connect { keep_alive: 1, ..Connect::v5("silent") });
    all.push(silent.expect_goodbye(0x8d));
    let mut stopped = broker.kept_v5("stopped", false);
    broker.terminate();
    all.push(stopped.expect_goodbye(0x8b));
    all
}

#[test]
fn mqtt_3_14_2_2_the_broker_sends_no_session_expiry_interval_in_disconnect() {
    on_each_layout(|broker| {
        // A client may, unless it began with 0.
        let sets = [&[0xe0, 7, 0, 5, property::SESSION_EXPIRY][..], &[0, 0, 0, 9]].concat();
        broker.disconnects("ephemeral", &sets, 0x82);
        let mut client = broker.kept_v5("kept", false);
        client.send(&sets);
        client.expect_closed();
        let all = goodbyes(broker);
        assert!(all.len() > 10 && all.iter().all(|properties| !properties.has(property::SESSION_EXPIRY)));
    });
}

#[test]
fn mqtt_3_14_2_3_a_reason_string_does_not_make_disconnect_too_large() {
    on_each_layout(|broker| {
        for (bytes, reason) in violations() {
            let goodbye = |properties: &[u8]| {
                let (mut client, _) = broker.greeted(&Connect { properties, ..Connect::v5("client") });
                client.send(&bytes);
                let packet = client.packet();
                client.expect_closed();
                packet
            };
            let within = |bytes: usize| {
                let bytes = u32::try_from(bytes).expect("small");
                goodbye(&property::four(property::MAXIMUM_PACKET_SIZE, bytes))
            };
            let explained = goodbye(&[]);
            assert_eq!((explained[0], explained[2]), (0xe0, reason), "{explained:02x?}");
            assert!(Properties::within(&explained[3..]).has(property::REASON_STRING));
            assert_eq!(within(explained.len()), explained);
            for bare in
                [within(explained.len() - 1), goodbye(&property::byte(property::PROBLEM_INFORMATION, 0))]
            {
                assert!(bare.len() <= 4 && bare[2] == reason, "{bare:02x?}");
            }
        }
    });
}

#[test]
fn mqtt_3_14_4_1_nothing_follows_disconnect() {
    on_each_layout(|broker| {
        // The broker's: while messages are on their way to the client.
        let mut publisher = broker.v5("publisher");
        for (number, (bytes, reason)) in violations().into_iter().enumerate() {
            let topic = format!("flood/{number}");
            let mut client = broker.v5("client");
            client.subscribe_v5(&topic, 0);
            let flood = publish_v5(0, &topic, None, &[], &[b'x'; 100]);
            publisher.send(&flood.repeat(100));
            client.send(&[bytes, PINGREQ.repeat(10)].concat());
            publisher.send(&flood.repeat(100));
            loop {
                let packet = client.packet();
                if packet[0] == 0xe0 {
                    assert_eq!(packet[2], reason);
                    break;
                }
                assert!(packet == flood, "{packet:02x?}");
            }
            client.expect_closed();
        }
        // The client's: what follows it is not done.
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("after", 0);
        watcher.subscribe_v5("mark", 0);
        for id in ["one", "two", "three"] {
            let mut client = broker.kept_v5(id, false);
            let rest = [publish_v5(1, "after", None, &[], b"x"), subscribe_v5(1, &[], &[("t", 0)])].concat();
            client.send(&[&[0xe0, 0][..], &rest, &PINGREQ].concat());
            client.expect_closed();
            broker.kept_v5(id, true).nothing_before_mark(&mut watcher, "mark");
        }
    });
}

#[test]
fn mqtt_3_14_4_2_disconnect_closes_the_connection() {
    on_each_layout(|broker| {
        for (bytes, reason) in violations() {
            // The client keeps its end open, and goes on.
            let mut client = broker.v5("client");
            client.send(&bytes);
            assert_eq!(client.packet()[2], reason);
            client.expect_closed();
        }
        for goodbye in [&[0xe0, 0][..], &[0xe0, 1, 0x04], &[0xe0, 2, 0x80, 0]] {
            let mut client = broker.v5("client");
            client.send(goodbye);
            client.expect_closed();
        }
    });
}

#[test]
fn mqtt_3_14_4_3_disconnect_with_success_discards_the_will() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("will", 0);
        let ids = ["one", "two", "three"];
        let delay = property::four(property::WILL_DELAY, 1);
        for id in ids {
            for (will_properties, seconds) in [(&[][..], 0), (&[], 1_000), (&delay, 1_000)] {
                let connect = Connect {
                    will: Some(("will", "x", 1, true)),
                    will_properties,
                    properties: &property::four(property::SESSION_EXPIRY, seconds),
                    ..Connect::v5(id)
                };
                broker.greeted(&connect).0.leave();
            }
        }
        broker.let_pass(2);
        for id in ids {
            broker.v5(id).nothing_before_mark(&mut watcher, "will");
        }
    });
}
