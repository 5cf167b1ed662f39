//! Chapter 3.1: CONNECT, its flags but those of the will, and what is done with it.

use crate::conformance::{on_each_layout, with_settings};
use crate::support::{
    Broker, Connect, PINGREQ, Raw, binary, packet, property, publish_v5, subscribe_v5, text, unsubscribe_v5,
};

/// CONNECT with these flags and this payload.
fn connect_of(flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &[&text("MQTT"), &[5, flags, 0, 0, 0], &payload.concat()])
}

/// A client that leaves a session behind: subscribed to `topic`, with a message that waits for it.
fn leaves_a_session(broker: &Broker, id: &str, topic: &str) {
    let mut client = broker.kept_v5(id, false);
    client.subscribe_v5(topic, 1);
    client.leave();
    broker.v5("messenger").publishes(0, topic, &[], b"waited");
}

#[test]
fn mqtt_3_1_0_1_a_connection_that_does_not_begin_with_connect_is_closed() {
    on_each_layout(|broker| {
        let packets = [
            publish_v5(0, "t", None, &[], b""),
            publish_v5(2, "t", Some(1), &[], b""),
            subscribe_v5(1, &[], &[("t", 0)]),
            unsubscribe_v5(1, &["t"]),
            PINGREQ.to_vec(),
            vec![0xe0, 0],
            packet(0xf0, &[&[0x18, 9], &property::data(property::AUTH_METHOD, "method")]),
            vec![0x40, 2, 0, 1],
            vec![0x20, 3, 0, 0, 0],
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ];
        for first in packets {
            let mut raw = broker.raw();
            raw.send(&first);
            raw.expect_closed();
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_0_2_a_second_connect_is_a_protocol_error() {
    on_each_layout(|broker| {
        broker.disconnects("twice", &Connect::v5("twice").bytes(), 0x82);
        broker.disconnects("once", &Connect::v5("another").bytes(), 0x82);
        broker.disconnects("of 5.0", &Connect::new("of 3.1.1").bytes(), 0x82);
        // Also in the same breath, before the first is answered.
        let mut raw = broker.raw();
        raw.send(&[Connect::v5("breath").bytes(), Connect::v5("breath").bytes()].concat());
        assert_eq!(raw.packet()[..4], [0x20, raw_len(broker), 0, 0]);
        raw.expect_goodbye(0x82);
        broker.serves();
    });
}

/// The remaining length of an ordinary CONNACK.
fn raw_len(broker: &Broker) -> u8 {
    let mut raw = broker.raw();
    raw.send(&Connect::v5("measure").bytes());
    raw.packet()[1]
}

#[test]
fn mqtt_3_1_2_1_another_protocol_name_is_turned_away() {
    on_each_layout(|broker| {
        for name in ["", "M", "mqtt", "MQTX", "MQTT ", "HTTP"] {
            broker.turns_away(&packet(0x10, &[&text(name), &[5, 2, 0, 0, 0], &text("c")]), 0x84);
        }
        // 3.1's name belongs to clients that would not understand 0x84.
        let mut raw = broker.raw();
        raw.send(&packet(0x10, &[&text("MQIsdp"), &[5, 2, 0, 0, 0], &text("c")]));
        raw.expect(&[0x20, 2, 0, 1]);
        raw.expect_closed();
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_2_2_a_version_that_is_not_spoken_is_turned_away() {
    on_each_layout(|broker| {
        for level in [6, 7, 0x7f, 0x85, 0xff] {
            broker.turns_away(&packet(0x10, &[&text("MQTT"), &[level, 2, 0, 0, 0], &text("c")]), 0x84);
        }
        for level in [0, 1, 2] {
            // Older clients would not understand 0x84.
            let mut raw = broker.raw();
            raw.send(&packet(0x10, &[&text("MQTT"), &[level, 2, 0, 0], &text("c")]));
            raw.expect(&[0x20, 2, 0, 1]);
            raw.expect_closed();
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_2_3_the_reserved_flag_is_refused() {
    on_each_layout(|broker| {
        for flags in [1, 3] {
            broker.turns_away(&connect_of(flags, &[&text("c")]), 0x81);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_2_4_clean_start_discards_the_session_of_earlier() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three"] {
            leaves_a_session(broker, id, id);
            let properties = &property::four(property::SESSION_EXPIRY, 1_000);
            let (mut client, answer) = broker.greeted(&Connect { properties, ..Connect::v5(id) });
            assert_eq!(answer.flags, 0);
            // Neither the message that waited nor the subscription is there any more.
            client.publishes(0, id, &[], b"for nobody");
            client.lives();
            // Nor are they under the session that began now.
            drop(client);
            broker.kept_v5(id, true).lives();
        }
    });
}

#[test]
fn mqtt_3_1_2_5_without_clean_start_the_session_is_resumed() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three"] {
            leaves_a_session(broker, id, id);
            let mut client = broker.kept_v5(id, true);
            client.expect(&publish_v5(2, id, Some(1), &[], b"waited"));
            client.echoes(id);
            drop(client);
            // What was not acknowledged is part of it, too.
            broker.kept_v5(id, true).expect(&publish_v5(0xa, id, Some(1), &[], b"waited"));
        }
    });
}

#[test]
fn mqtt_3_1_2_6_without_clean_start_and_session_a_new_one_is_created() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three"] {
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5(id, 1);
            client.echoes(id);
            drop(client);
            broker.kept_v5(id, true).echoes(id);
        }
    });
}

#[test]
fn mqtt_3_1_2_16_a_user_name_without_its_flag_is_malformed() {
    on_each_layout(|broker| {
        broker.turns_away(&connect_of(2, &[&text("c"), &text("user")]), 0x81);
        broker.v5("without").lives();
    });
}

#[test]
fn mqtt_3_1_2_17_a_flag_without_a_user_name_is_malformed() {
    on_each_layout(|broker| {
        broker.turns_away(&connect_of(0x82, &[&text("c")]), 0x81);
        broker.turns_away(&connect_of(0x82, &[&text("c"), &[0]]), 0x81);
        let connect = Connect { username: Some("user"), ..Connect::v5("with") };
        broker.greeted(&connect).0.lives();
        broker.greeted(&Connect { username: Some(""), ..connect }).0.lives();
    });
}

#[test]
fn mqtt_3_1_2_18_a_password_without_its_flag_is_malformed() {
    on_each_layout(|broker| {
        broker.turns_away(&connect_of(0x82, &[&text("c"), &text("user"), &text("password")]), 0x81);
        broker.turns_away(&connect_of(2, &[&text("c"), &text("password")]), 0x81);
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_2_19_a_flag_without_a_password_is_malformed() {
    on_each_layout(|broker| {
        broker.turns_away(&connect_of(0xc2, &[&text("c"), &text("user")]), 0x81);
        broker.turns_away(&connect_of(0x42, &[&text("c")]), 0x81);
        // 5.0 has passwords without user names, and they are bytes of any kind.
        let connect = Connect { password: Some(b"\xff\0\xfe"), ..Connect::v5("with") };
        broker.greeted(&connect).0.lives();
        broker.greeted(&Connect { username: Some("user"), ..connect }).0.lives();
    });
}

#[test]
fn mqtt_3_1_4_1_connect_is_checked_whole() {
    on_each_layout(|broker| {
        let good = Connect::v5("c").bytes();
        // Too short: the length of the packet leaves fields out.
        for len in 0..good.len() - 2 {
            broker.turns_away(&packet(0x10, &[&good[2..2 + len]]), 0x81);
        }
        broker.turns_away(&packet(0x10, &[&good[2..], &[0]]), 0x81);
        let user = property::pair("a", "b");
        let properties: [(Vec<u8>, u8); 14] = [
            (property::byte(property::PAYLOAD_FORMAT, 1), 0x81),
            (property::four(property::WILL_DELAY, 1), 0x81),
            (property::two(property::SERVER_KEEP_ALIVE, 1), 0x81),
            (property::data(property::REASON_STRING, "why"), 0x81),
            (property::data(property::ASSIGNED_ID, "me"), 0x81),
            (property::four(property::SESSION_EXPIRY, 1).repeat(2), 0x82),
            (property::two(property::RECEIVE_MAXIMUM, 0), 0x82),
            (property::two(property::ALIAS_MAXIMUM, 1).repeat(2), 0x82),
            (property::four(property::MAXIMUM_PACKET_SIZE, 0), 0x82),
            (property::byte(property::PROBLEM_INFORMATION, 2), 0x82),
            (property::byte(property::REQUEST_RESPONSE_INFORMATION, 2), 0x82),
            (property::data(property::AUTH_DATA, "without a method"), 0x82),
            (vec![0x7f, 0], 0x81),
            (user[..user.len() - 1].to_vec(), 0x81),
        ];
        for (properties, reason) in &properties {
            broker.turns_away(&Connect { properties, ..Connect::v5("c") }.bytes(), *reason);
        }
        // What may be there more than once may be.
        let properties = &user.repeat(3);
        broker.greeted(&Connect { properties, ..Connect::v5("c") }).0.lives();
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_4_2_what_fails_a_further_check_is_refused_and_closed() {
    with_settings("[limits]\nsessions_max = 2", |broker| {
        let method = property::data(property::AUTH_METHOD, "of our own");
        broker.refuses(&Connect { properties: &method, ..Connect::v5("method") }.bytes(), 0x8c);
        for topic in ["will/#", "+", ""] {
            let connect = Connect { will: Some((topic, "", 0, false)), ..Connect::v5("will") };
            broker.refuses(&connect.bytes(), 0x90);
        }
        // Sessions are counted per shard, so there is none left for the last of nine clients anywhere.
        let mut clients = Vec::new();
        for number in 0..64 {
            let mut raw = broker.raw();
            raw.send(&Connect::v5(&format!("crowd-{number}")).bytes());
            let packet = raw.packet();
            if packet[3] == 0x97 {
                raw.expect_closed();
            } else {
                assert_eq!(packet[2..4], [0, 0], "{packet:02x?}");
                clients.push(raw);
            }
        }
        assert!((2..=8).contains(&clients.len()), "{} clients", clients.len());
        clients.iter_mut().for_each(Raw::lives);
    });
}

#[test]
fn mqtt_3_1_4_3_a_client_that_connects_again_takes_over() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three", "four"] {
            let mut first = broker.v5(id);
            let mut second = broker.kept_v5(id, false);
            first.expect_goodbye(0x8e);
            second.subscribe_v5(id, 0);
            let mut third = broker.kept_v5(id, true);
            second.expect_goodbye(0x8e);
            third.echoes(id);
            let mut fourth = broker.v5(id);
            third.expect_goodbye(0x8e);
            fourth.lives();
        }
    });
}

#[test]
fn mqtt_3_1_4_4_clean_start_is_obeyed_whoever_is_connected() {
    on_each_layout(|broker| {
        let properties = &property::four(property::SESSION_EXPIRY, 1_000);
        let connect = |clean| broker.greeted(&Connect { clean, properties, ..Connect::v5("c") });
        let mut clients = Vec::new();
        for (clean, present) in [(false, 0), (false, 1), (true, 0), (false, 1), (true, 0), (true, 0)] {
            let (raw, answer) = connect(clean);
            assert_eq!(answer.flags, present, "Clean Start {clean}");
            clients.push(raw);
        }
        clients.pop().expect("the last one").lives();
        clients.iter_mut().for_each(|raw| drop(raw.expect_goodbye(0x8e)));
    });
}

#[test]
fn mqtt_3_1_4_5_connect_is_acknowledged_with_success() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three", "four"] {
            let mut raw = broker.raw();
            raw.send(&Connect::v5(id).bytes());
            let answer = raw.packet();
            assert_eq!((answer[0], &answer[2..4]), (0x20, &[0, 0][..]));
            raw.lives();
        }
        // However it is cut.
        let connect = Connect { will: Some(("t", "x", 1, false)), ..Connect::v5("in pieces") }.bytes();
        let mut raw = broker.raw();
        for byte in &connect {
            raw.send(&[*byte]);
        }
        assert_eq!(raw.packet()[3], 0);
    });
}

#[test]
fn mqtt_3_1_4_6_nothing_is_done_for_a_client_that_was_refused() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("#", 0);
        let method = property::data(property::AUTH_METHOD, "of our own");
        let refused = [
            Connect { properties: &method, ..Connect::v5("method") }.bytes(),
            Connect { will: Some(("#", "", 0, false)), ..Connect::v5("will") }.bytes(),
            connect_of(3, &[&text("c")]),
            connect_of(2, &[&binary(b"\xff")]),
        ];
        for connect in refused {
            let mut raw = broker.raw();
            raw.send(&[connect, publish_v5(1, "refused", None, &[], b"kept")].concat());
            let mut got = Vec::new();
            let _ = std::io::Read::read_to_end(&mut raw.0, &mut got);
            assert!(matches!(got[..], [] | [0x20, _, 0, 0x80..=0xff, ..]), "{got:02x?}");
        }
        for id in ["method", "will", "c", "other"] {
            broker.v5(id).nothing_before_mark(&mut watcher, "mark");
        }
        let mut later = broker.v5("later");
        later.subscribe_v5("refused", 0);
        later.lives();
    });
}
