//! Chapter 3.2: CONNACK.

use crate::conformance::{on_each_layout, with_settings};
use crate::support::{Answer, Broker, Connect, PINGREQ, packet, property, publish_v5, subscribe_v5, text};
use std::io::Read;

/// Properties of a session that outlives its connection.
fn lasting() -> Vec<u8> {
    property::four(property::SESSION_EXPIRY, 1_000)
}

/// How a client is answered that asks for nothing.
fn answered(broker: &Broker) -> Answer {
    broker.greeted(&Connect::v5("asks for nothing")).1
}

/// CONNECTs that are refused with a CONNACK, and the reason.
fn refused<'a>(method: &'a [u8]) -> [(Connect<'a>, u8); 3] {
    let will = |topic| Some((topic, "", 0, false));
    [
        (Connect { properties: method, ..Connect::v5("refused") }, 0x8c),
        (Connect { will: will("a/#"), ..Connect::v5("refused") }, 0x90),
        (Connect { will: will(""), ..Connect::v5("refused") }, 0x90),
    ]
}

#[test]
fn mqtt_3_2_0_1_connack_comes_first() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three", "four"] {
            // Everything at once, and a session with messages that wait.
            let mut client = broker.kept_v5(id, false);
            client.subscribe_v5(id, 1);
            client.leave();
            broker.v5("publisher").publishes(1, id, &[], b"waits");
            let properties = &lasting();
            let connect = Connect { properties, clean: false, ..Connect::v5(id) }.bytes();
            let rest = [subscribe_v5(2, &[], &[(id, 1)]), publish_v5(2, id, Some(3), &[], b"new")].concat();
            let mut raw = broker.raw();
            raw.send(&[connect, PINGREQ.to_vec(), rest].concat());
            assert_eq!(raw.packet()[0], 0x20);
            let mut rest = [0x32, 0x32, 0x40, 0x90, 0xd0].to_vec();
            // The message that waited, the new one, PUBACK, SUBACK, PINGRESP, in whatever order.
            while !rest.is_empty() {
                let first = raw.packet()[0];
                // That it waited and that it is retained may be two copies or one.
                let at = rest.iter().position(|due| *due == first);
                assert!(at.is_some() || first == 0x33, "{first:#04x} and not one of {rest:02x?}");
                at.map(|at| rest.swap_remove(at));
            }
        }
    });
}

#[test]
fn mqtt_3_2_0_2_there_is_one_connack_per_connection() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three", "four"] {
            let connect = Connect::v5(id).bytes();
            let mut raw = broker.raw();
            raw.send(&[&connect[..], &PINGREQ, &connect, &connect].concat());
            let firsts = [(); 3].map(|()| raw.packet()[0]);
            assert_eq!(firsts, [0x20, 0xd0, 0xe0]);
            raw.expect_closed();
        }
        for (connect, _) in refused(&property::data(property::AUTH_METHOD, "none")) {
            let mut raw = broker.raw();
            raw.send(&connect.bytes().repeat(2));
            assert_eq!(raw.packet()[0], 0x20);
            raw.expect_closed();
        }
    });
}

#[test]
fn mqtt_3_2_2_1_reserved_acknowledge_flags_are_0() {
    on_each_layout(|broker| {
        let connect = Connect { properties: &lasting(), clean: false, ..Connect::v5("c") };
        let flags = [(); 3].map(|()| broker.greeted(&connect).1.flags);
        assert_eq!(flags, [0, 1, 1]);
        for (connect, reason) in refused(&property::data(property::AUTH_METHOD, "none")) {
            assert_eq!(broker.refuses(&connect.bytes(), reason).flags, 0);
        }
    });
}

#[test]
fn mqtt_3_2_2_2_with_clean_start_no_session_is_present() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three", "four"] {
            broker.kept_v5(id, false).leave();
            for _ in 0..2 {
                let (_, answer) = broker.greeted(&Connect { properties: &lasting(), ..Connect::v5(id) });
                assert_eq!((answer.flags, answer.reason), (0, 0));
            }
        }
    });
}

#[test]
fn mqtt_3_2_2_3_session_present_tells_whether_there_is_a_session() {
    on_each_layout(|broker| {
        for id in ["one", "two", "three", "four"] {
            broker.kept_v5(id, false).leave();
            broker.kept_v5(id, true).leave();
            // It ends with the connection now.
            let (raw, answer) = broker.greeted(&Connect { clean: false, ..Connect::v5(id) });
            assert_eq!((answer.flags, answer.reason), (1, 0));
            raw.leave();
            broker.kept_v5(id, false).leave();
        }
    });
}

#[test]
fn mqtt_3_2_2_6_who_is_refused_has_no_session_present() {
    on_each_layout(|broker| {
        let mut client = broker.kept_v5("refused", false);
        for (connect, reason) in refused(&property::data(property::AUTH_METHOD, "none")) {
            let connect = Connect { clean: false, ..connect };
            assert_eq!(broker.refuses(&connect.bytes(), reason).flags, 0);
        }
        // The session is there for all that, and its connection.
        client.lives();
        client.leave();
        broker.kept_v5("refused", true).lives();
    });
}

#[test]
fn mqtt_3_2_2_7_a_refusal_closes_the_connection() {
    on_each_layout(|broker| {
        for (connect, reason) in refused(&property::data(property::AUTH_METHOD, "none")) {
            // Whatever the client goes on to send.
            let mut raw = broker.raw();
            raw.send(&connect.bytes());
            assert_eq!(raw.packet()[3], reason);
            raw.expect_closed();
            let mut raw = broker.raw();
            raw.send(&[connect.bytes(), PINGREQ.repeat(100)].concat());
            assert_eq!(raw.packet()[3], reason);
            raw.expect_closed();
        }
    });
}

#[test]
fn mqtt_3_2_2_8_reason_codes_are_of_connacks_table() {
    const TABLE: [u8; 22] = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99,
        0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
    ];
    with_settings(
        "[limits]\nsessions_max = 1\nconnect_bytes_max = 200\n[mqtt]\nqos_max = 0\nretain = false",
        |broker| {
            let method = property::data(property::AUTH_METHOD, "none");
            let mut connects: Vec<Vec<u8>> =
                refused(&method).into_iter().map(|(connect, _)| connect.bytes()).collect();
            for will in [("t", "", 1, false), ("t", "", 0, true)] {
                connects.push(Connect { will: Some(will), ..Connect::v5("c") }.bytes());
            }
            // Too large, of another version, malformed, with a property twice, and too many.
            connects.push(Connect::v5(&"x".repeat(300)).bytes());
            connects.push(packet(0x10, &[&text("MQTT"), &[6, 2, 0, 0, 0], &text("c")]));
            connects.push(packet(0x10, &[&text("MQTT"), &[5, 3, 0, 0, 0], &text("c")]));
            connects.push(Connect { properties: &lasting().repeat(2), ..Connect::v5("c") }.bytes());
            let ids: Vec<String> = (0..20).map(|number| format!("crowd-{number}")).collect();
            connects
                .extend(ids.iter().map(|id| Connect { properties: &lasting(), ..Connect::v5(id) }.bytes()));
            let mut seen = Vec::new();
            for connect in connects {
                let mut raw = broker.raw();
                raw.send(&connect);
                let mut head = [0; 4];
                if raw.0.read_exact(&mut head).is_ok() {
                    assert_eq!(head[0], 0x20);
                    seen.push(head[3]);
                }
            }
            seen.sort_unstable();
            seen.dedup();
            assert!(seen.iter().all(|reason| TABLE.contains(reason)), "{seen:02x?}");
            assert!(seen.len() >= 6, "{seen:02x?}");
        },
    );
}

#[test]
fn mqtt_3_2_2_9_a_lower_maximum_qos_is_announced() {
    on_each_layout(|broker| assert!(!answered(broker).properties.has(property::MAXIMUM_QOS)));
    for max in [0, 1] {
        with_settings(&format!("[mqtt]\nqos_max = {max}"), |broker| {
            assert_eq!(answered(broker).properties.number(property::MAXIMUM_QOS), Some(max));
        });
    }
}

#[test]
fn mqtt_3_2_2_10_a_subscription_may_ask_for_any_qos() {
    for max in [0, 1] {
        with_settings(&format!("[mqtt]\nqos_max = {max}"), |broker| {
            let mut client = broker.v5("client");
            client.send(&subscribe_v5(7, &[], &[("t/0", 0), ("t/1", 1), ("t/2", 2)]));
            client.expect(&[0x90, 6, 0, 7, 0, 0, max, max]);
            for topic in ["t/0", "t/1", "t/2"] {
                client.send(&publish_v5(0, topic, None, &[], b""));
                client.expect(&publish_v5(0, topic, None, &[], b""));
            }
        });
    }
}

#[test]
fn mqtt_3_2_2_11_a_publish_above_the_maximum_qos_ends_the_connection() {
    for max in [0, 1] {
        with_settings(&format!("[mqtt]\nqos_max = {max}"), |broker| {
            let mut watcher = broker.v5("watcher");
            watcher.subscribe_v5("#", 0);
            for qos in max + 1..3 {
                broker.disconnects("client", &publish_v5(qos << 1, "t", Some(1), &[], b""), 0x9b);
            }
            let mut client = broker.v5("client");
            if max == 1 {
                client.publishes(0, "t", &[], b"of QoS 1");
                watcher.expect(&publish_v5(0, "t", None, &[], b"of QoS 1"));
            }
            client.nothing_before_mark(&mut watcher, "t");
        });
    }
}

#[test]
fn mqtt_3_2_2_12_a_will_above_the_maximum_qos_is_refused() {
    for max in [0, 1] {
        with_settings(&format!("[mqtt]\nqos_max = {max}"), |broker| {
            for qos in 0..3 {
                let connect = Connect { will: Some(("t", "x", qos, false)), ..Connect::v5("client") };
                if qos > max {
                    broker.refuses(&connect.bytes(), 0x9b);
                } else {
                    broker.greeted(&connect).0.lives();
                }
            }
        });
    }
}

#[test]
fn mqtt_3_2_2_13_a_retained_will_is_refused_where_nothing_is_retained() {
    with_settings("[mqtt]\nretain = false", |broker| {
        let connect = |retain| Connect { will: Some(("t", "x", 0, retain)), ..Connect::v5("client") };
        broker.refuses(&connect(true).bytes(), 0x9a);
        broker.greeted(&connect(false)).0.lives();
    });
}

#[test]
fn mqtt_3_2_2_14_a_publish_to_retain_ends_the_connection_where_nothing_is_retained() {
    on_each_layout(|broker| {
        let announced = answered(broker).properties.number(property::RETAIN_AVAILABLE);
        assert!(matches!(announced, None | Some(1)));
    });
    with_settings("[mqtt]\nretain = false", |broker| {
        assert_eq!(answered(broker).properties.number(property::RETAIN_AVAILABLE), Some(0));
        for (flags, id) in [(1, None), (3, Some(1)), (5, Some(1))] {
            broker.disconnects("client", &publish_v5(flags, "t", id, &[], b"x"), 0x9a);
        }
        let mut later = broker.v5("later");
        later.subscribe_v5("t", 0);
        later.lives();
        later.echoes("t");
    });
}

#[test]
fn mqtt_3_2_2_15_a_packet_above_the_maximum_packet_size_ends_the_connection() {
    with_settings("[limits]\npacket_bytes_max = 1_000", |broker| {
        assert_eq!(answered(broker).properties.number(property::MAXIMUM_PACKET_SIZE), Some(1_000));
        let mut client = broker.v5("client");
        client.subscribe_v5("t", 0);
        // A fixed header of three bytes, a topic of three, the length of the properties.
        let largest = publish_v5(0, "t", None, &[], &[b'x'; 993]);
        assert_eq!(largest.len(), 1_000);
        client.send(&largest);
        client.expect(&largest);
        let larger = publish_v5(0, "t", None, &[], &[b'x'; 994]);
        broker.disconnects("whole", &larger, 0x95);
        broker.disconnects("begun", &larger[..10], 0x95);
        let filter = "x".repeat(1_000);
        broker.disconnects("filter", &subscribe_v5(1, &[], &[(&filter, 0)]), 0x95);
        client.lives();
    });
}

#[test]
fn mqtt_3_2_2_16_a_client_without_an_id_is_told_one_that_no_session_has() {
    on_each_layout(|broker| {
        let mut clients = Vec::new();
        for _ in 0..12 {
            let (raw, answer) = broker.greeted(&Connect { clean: false, ..Connect::v5("") });
            assert_eq!(answer.flags, 0);
            clients.push((answer.properties.string(property::ASSIGNED_ID).expect("an id"), raw));
        }
        // All are connected at once, none under another's id.
        clients.iter_mut().for_each(|(_, raw)| raw.lives());
        for (id, mut raw) in clients {
            assert!((1..=65_535).contains(&id.len()));
            broker.v5(&id).lives();
            raw.expect_goodbye(0x8e);
        }
        // Who has an id is told none.
        assert!(!answered(broker).properties.has(property::ASSIGNED_ID));
    });
}

#[test]
fn mqtt_3_2_2_17_a_topic_alias_above_the_maximum_ends_the_connection() {
    with_settings("[mqtt]\ntopic_alias_max = 5", |broker| {
        assert_eq!(answered(broker).properties.number(property::ALIAS_MAXIMUM), Some(5));
        for alias in [6, 7, 256, 65_535] {
            let alias = property::two(property::ALIAS, alias);
            broker.disconnects("client", &publish_v5(0, "t", None, &alias, b""), 0x94);
        }
        let mut client = broker.v5("client");
        client.send(&publish_v5(0, "t", None, &property::two(property::ALIAS, 5), b""));
        client.lives();
    });
}

#[test]
fn mqtt_3_2_2_18_where_no_topic_alias_is_announced_any_ends_the_connection() {
    with_settings("[mqtt]\ntopic_alias_max = 0", |broker| {
        let announced = answered(broker).properties.number(property::ALIAS_MAXIMUM);
        assert!(matches!(announced, None | Some(0)));
        for alias in [1, 2, 65_535] {
            let alias = property::two(property::ALIAS, alias);
            broker.disconnects("client", &publish_v5(0, "t", None, &alias, b""), 0x94);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_2_2_19_a_reason_string_does_not_make_connack_larger_than_the_client_takes() {
    on_each_layout(|broker| {
        let method = property::data(property::AUTH_METHOD, "none");
        let refusal = |max: u32| {
            let properties = &[&method[..], &property::four(property::MAXIMUM_PACKET_SIZE, max)].concat();
            let mut raw = broker.raw();
            raw.send(&Connect { properties, ..Connect::v5("c") }.bytes());
            let answer = raw.packet();
            raw.expect_closed();
            answer
        };
        let told = refusal(1_000);
        assert!(Answer::of(&told).properties.has(property::REASON_STRING));
        // It fits exactly, and then no more.
        let len = u32::try_from(told.len()).expect("short");
        assert_eq!(refusal(len), told);
        for max in [len - 1, len / 2, 5] {
            assert_eq!(refusal(max), [0x20, 3, 0, 0x8c, 0]);
        }
    });
}

#[test]
fn mqtt_3_2_2_22_without_a_server_keep_alive_the_clients_own_counts() {
    on_each_layout(|broker| {
        let (mut client, answer) = broker.greeted(&Connect { keep_alive: 1, ..Connect::v5("c") });
        assert!(!answer.properties.has(property::SERVER_KEEP_ALIVE));
        client.expect_goodbye(0x8d);
    });
    // With one, that one counts.
    with_settings("[session]\nkeep_alive_max_s = 1", |broker| {
        let clients = [("any", 0), ("longer", 2), ("longest", 65_535)].map(|(id, keep_alive)| {
            let (client, answer) = broker.greeted(&Connect { keep_alive, ..Connect::v5(id) });
            assert_eq!(answer.properties.number(property::SERVER_KEEP_ALIVE), Some(1));
            client
        });
        for mut client in clients {
            client.expect_goodbye(0x8d);
        }
        let (_, answer) = broker.greeted(&Connect { keep_alive: 1, ..Connect::v5("c") });
        assert!(!answer.properties.has(property::SERVER_KEEP_ALIVE));
    });
}
