//! Chapter 3.1: what a client asks for in the properties of CONNECT, and its keep alive.

use crate::conformance::{on_each_layout, with_settings};
use crate::support::{
    Broker, Connect, PINGREQ, PINGRESP, Publication, Raw, property, publish_v5, subscribe_v5, unsubscribe_v5,
    until,
};
use std::collections::BTreeSet;

/// A client with these properties in its CONNECT.
fn with(broker: &Broker, id: &str, properties: &[u8]) -> Raw {
    broker.greeted(&Connect { properties, ..Connect::v5(id) }).0
}

#[test]
fn mqtt_3_1_2_22_a_client_that_falls_silent_is_disconnected_and_leaves_its_will() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("will", 0);
        let will = Some(("will", "silent", 0, false));
        let (mut silent, _) = broker.greeted(&Connect { keep_alive: 1, will, ..Connect::v5("silent") });
        // The watcher has no keep alive, and may be as silent. Neither has one that is far off.
        let mut patient = broker.greeted(&Connect { keep_alive: 65_535, ..Connect::v5("patient") }).0;
        silent.expect_goodbye(0x8d);
        watcher.expect(&publish_v5(0, "will", None, &[], b"silent"));
        patient.lives();
        watcher.lives();
    });
}

/// The rest of [MQTT-3.1.2-22]: any packet counts, and only whole ones.
#[test]
fn mqtt_3_1_2_22_a_client_that_sends_any_packet_in_time_stays() {
    on_each_layout(|broker| {
        let alive = |id: &str| broker.greeted(&Connect { keep_alive: 1, ..Connect::v5(id) }).0;
        let (mut lively, mut trickling) = (alive("lively"), alive("trickling"));
        // While a packet trickles in, byte by byte, for longer than the keep alive, the other one goes on.
        trickling.send(&[0x30, 0xff, 0x7f]);
        let mut read = Vec::new();
        trickling.0.set_nonblocking(true).expect("a live socket");
        let packets = [PINGREQ.to_vec(), publish_v5(0, "t", None, &[], b"")];
        until("half a packet does not keep a client alive", || {
            packets.iter().for_each(|packet| lively.send(packet));
            lively.expect(&PINGRESP);
            let _ = std::io::Write::write(&mut trickling.0, b"x");
            let mut bytes = [0; 64];
            match std::io::Read::read(&mut trickling.0, &mut bytes) {
                Ok(count) => read.extend_from_slice(&bytes[..count]),
                Err(_) => return false,
            }
            !read.is_empty()
        });
        assert_eq!((read[0], read[2]), (0xe0, 0x8d), "{read:02x?}");
        lively.lives();
    });
}

#[test]
fn mqtt_3_1_2_23_a_session_outlives_its_connection_when_it_is_to_expire_later() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for (id, expiry_s, kept) in [
            ("absent", None, false),
            ("0", Some(0), false),
            ("1000", Some(1_000), true),
            ("never", Some(u32::MAX), true),
        ] {
            let properties = &expiry_s.map_or(vec![], |secs| property::four(property::SESSION_EXPIRY, secs));
            let connect = Connect { properties, clean: false, ..Connect::v5(id) };
            let (mut client, _) = broker.greeted(&connect);
            client.send(&subscribe_v5(1, &property::subscription_id(7), &[(id, 2)]));
            client.expect(&[0x90, 4, 0, 1, 0, 2]);
            // A message from the client that is not released yet, and one to it that is not acknowledged.
            client.send(&publish_v5(4, "elsewhere", Some(9), &[], b""));
            assert_eq!(client.packet()[0], 0x50);
            publisher.publishes(0, id, &[], b"sent");
            client.publication();
            client.leave();
            publisher.publishes(0, id, &[], b"waits");
            let (mut client, answer) = broker.greeted(&connect);
            assert_eq!(answer.flags, u8::from(kept), "{id}");
            if kept {
                let ids = property::subscription_id(7);
                client.expect(&publish_v5(0xa, id, Some(1), &ids, b"sent"));
                client.expect(&publish_v5(2, id, Some(2), &ids, b"waits"));
                client.send(&[0x62, 2, 0, 9]);
                client.expect(&[0x70, 2, 0, 9]);
            }
            client.lives();
        }
    });
}

/// A client that takes packets of at most `bytes`.
fn small(broker: &Broker, id: &str, bytes: u32) -> Raw {
    with(broker, id, &property::four(property::MAXIMUM_PACKET_SIZE, bytes))
}

#[test]
fn mqtt_3_1_2_24_nothing_larger_than_the_client_takes_is_sent() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for qos in 0..3_u8 {
            let id = (qos > 0).then_some(1);
            for max in [100_u32, 127, 133, 400] {
                let mut client = small(broker, &format!("client-{qos}-{max}"), max);
                client.subscribe_v5("t", qos);
                let sizes = [max - 60, max - 1, max, max + 1, max + 2, 2 * max, max - 60];
                for size in sizes {
                    // As the client would get it; two bytes of the length for the larger ones.
                    let mut payload = vec![b'x'; usize::try_from(size).expect("a small number")];
                    while publish_v5(qos << 1, "t", id, &[], &payload).len() > size as usize {
                        payload.pop();
                    }
                    publisher.publishes_with(qos, "t", &payload);
                }
                let got = [(); 4].map(|()| client.packet());
                got.iter().for_each(|packet| client.acknowledge(packet));
                let got = got.map(|packet| packet.len());
                let max = max as usize;
                // No packet is 128 or 130 bytes long: the length takes another byte from 128 on.
                assert_eq!(got, [max - 60, max - 1, max, max - 60], "{qos} {max}");
                client.lives();
            }
        }
        // Nor packets of other kinds.
        let mut client = small(broker, "client", 30);
        let filters: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (&filter[..], 0)).collect();
        client.send(&subscribe_v5(1, &[], &filters));
        client.lives();
        // Not even CONNACK, and a refusal takes five bytes.
        for max in 1..12 {
            let properties = &property::four(property::MAXIMUM_PACKET_SIZE, max);
            let mut raw = broker.raw();
            raw.send(&Connect { properties, ..Connect::v5("tiny") }.bytes());
            let mut got = Vec::new();
            let _ = std::io::Read::read_to_end(&mut raw.0, &mut got);
            assert!(got.len() <= max as usize, "{max}: {got:02x?}");
        }
    });
}

/// The rest of [MQTT-3.1.2-24]: what waited, what is retained, what is named by an alias.
#[test]
fn mqtt_3_1_2_24_what_just_fits_is_sent_and_a_byte_more_is_not() {
    on_each_layout(|broker| {
        let payload = |qos: u8, topic: &str, more: usize| {
            let overhead = publish_v5(qos << 1, topic, (qos > 0).then_some(1), &[], b"").len();
            vec![b'x'; 100 - overhead + more]
        };
        let fits = |topic: &str, more: usize| payload(1, topic, more);
        let properties = [
            property::four(property::MAXIMUM_PACKET_SIZE, 100),
            property::four(property::SESSION_EXPIRY, 1_000),
        ];
        let connect = Connect { properties: &properties.concat(), clean: false, ..Connect::v5("sleeper") };
        let (mut client, _) = broker.greeted(&connect);
        client.subscribe_v5("t", 1);
        client.leave();
        let mut publisher = broker.v5("publisher");
        for (more, kept) in [(1, "kept/1"), (0, "kept/0"), (2, "kept/2")] {
            publisher.publishes(0, "t", &[], &fits("t", more));
            publisher.publishes(1, kept, &[], &fits(kept, more));
        }
        let (mut client, _) = broker.greeted(&connect);
        // What was left out may have used up packet identifiers.
        let published = |client: &mut Raw, head: u8, topic: &str| {
            let got = client.packet();
            let at = 4 + topic.len();
            let id = u16::from_be_bytes([got[at], got[at + 1]]);
            assert_eq!(got, publish_v5(head, topic, Some(id), &[], &fits(topic, 0)));
            id
        };
        let live = published(&mut client, 2, "t");
        client.subscribe_v5("kept/+", 1);
        let kept = published(&mut client, 3, "kept/0");
        client.lives();
        // What is sent again is as large.
        client.leave();
        let (mut client, _) = broker.greeted(&connect);
        client.expect(&publish_v5(0xa, "t", Some(live), &[], &fits("t", 0)));
        client.expect(&publish_v5(0xb, "kept/0", Some(kept), &[], &fits("kept/0", 0)));
        client.lives();
        // An alias takes room when it is introduced, and makes room when it stands alone.
        let properties = [properties.concat(), property::two(property::ALIAS_MAXIMUM, 1)].concat();
        for qos in 0..2 {
            let id = format!("named-{qos}");
            let (mut client, _) = broker.greeted(&Connect { properties: &properties, ..Connect::v5(&id) });
            let topic = format!("a/rather/long/topic/{qos}");
            let fits = |more: usize| payload(qos, &topic, more);
            client.subscribe_v5(&topic, qos);
            for more in [1, 0, 2] {
                publisher.publishes(0, &topic, &[], &fits(more));
            }
            publisher.publishes(0, &topic, &[], b"short");
            publisher.publishes(0, &topic, &[], &fits(topic.len() - 3));
            for payload in [fits(0), b"short".to_vec(), fits(topic.len() - 3)] {
                let packet = client.packet();
                assert!(packet.len() <= 100, "{packet:02x?}");
                assert_eq!(Publication::of(&packet).payload.len(), payload.len());
            }
            client.lives();
        }
    });
}

impl Raw {
    /// Publishes with any QoS, and does what it demands.
    #[track_caller]
    fn publishes_with(&mut self, qos: u8, topic: &str, payload: &[u8]) {
        self.send(&publish_v5(qos << 1, topic, (qos > 0).then_some(3), &[], payload));
        match qos {
            0 => {}
            1 => self.expect(&[0x40, 2, 0, 3]),
            _ => {
                self.expect(&[0x50, 2, 0, 3]);
                self.send(&[0x62, 2, 0, 3]);
                self.expect(&[0x70, 2, 0, 3]);
            }
        }
    }

    /// Answers a PUBLISH as its QoS demands.
    #[track_caller]
    fn acknowledge(&mut self, publish: &[u8]) {
        let id = Publication::of(publish).id.unwrap_or(0).to_be_bytes();
        match publish[0] & 6 {
            2 => self.send(&[&[0x40, 2][..], &id].concat()),
            4 => {
                self.send(&[&[0x50, 2][..], &id].concat());
                self.expect(&[&[0x62, 2][..], &id].concat());
                self.send(&[&[0x70, 2][..], &id].concat());
            }
            _ => {}
        }
    }
}

#[test]
fn mqtt_3_1_2_25_a_message_too_large_for_a_client_counts_as_delivered() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        let large = [b'x'; 200];
        for qos in 0..3_u8 {
            // One message at a time: one that waited for an acknowledgement would hold up the rest.
            let properties = [
                property::four(property::MAXIMUM_PACKET_SIZE, 100),
                property::two(property::RECEIVE_MAXIMUM, 1),
                property::four(property::SESSION_EXPIRY, 1_000),
            ]
            .concat();
            let id = format!("client-{qos}");
            let connect = Connect { properties: &properties, clean: false, ..Connect::v5(&id) };
            let (mut client, _) = broker.greeted(&connect);
            client.subscribe_v5("t", qos);
            for payload in [&large[..], b"small", &large, &large, b"smaller"] {
                publisher.publishes_with(qos, "t", payload);
            }
            for payload in [&b"small"[..], b"smaller"] {
                let packet = client.packet();
                assert!(packet.ends_with(payload), "{packet:02x?}");
                client.acknowledge(&packet);
            }
            // Nor does it come when the session goes on, with a client that would take it.
            client.leave();
            publisher.publishes_with(qos, "t", &large);
            // Without an acknowledgement it could still be on its way when the client is back.
            publisher.lives();
            broker.greeted(&connect).0.lives();
            broker.kept_v5(&id, true).lives();
        }
    });
}

/// The topic aliases that a client with these properties is sent, for messages to 6 topics, each three times. Shows
/// that each alias is introduced with its topic and stands for it.
pub(super) fn aliases(broker: &Broker, id: &str, properties: &[u8]) -> BTreeSet<u32> {
    let mut client = with(broker, id, properties);
    client.subscribe_v5("topic/#", 0);
    let mut publisher = broker.v5("publisher");
    let (mut known, mut used) = ([const { String::new() }; 100], BTreeSet::new());
    for round in 0..3_u8 {
        for topic in ["topic/1", "topic/2", "topic/3", "topic/4", "topic/5", "topic/6"] {
            publisher.publishes(0, topic, &[], &[round]);
            let mut got = client.publication();
            if let Some(alias) = got.properties.number(property::ALIAS) {
                used.insert(alias);
                let stands_for = &mut known[alias as usize];
                match got.topic.is_empty() {
                    true => got.topic.clone_from(stands_for),
                    false => stands_for.clone_from(&got.topic),
                }
            }
            assert_eq!((&got.topic[..], &got.payload[..]), (topic, &[round][..]));
        }
    }
    used
}

#[test]
fn mqtt_3_1_2_26_no_topic_alias_is_above_the_clients_maximum() {
    on_each_layout(|broker| {
        for max in [1, 2, 5, 99] {
            let asked = property::two(property::ALIAS_MAXIMUM, max);
            let used = aliases(broker, &format!("client-{max}"), &asked);
            assert!(used.iter().all(|&alias| (1..=u32::from(max)).contains(&alias)), "{max}: {used:?}");
            assert!(!used.is_empty(), "aliases save bytes, so they are used");
        }
    });
}

#[test]
fn mqtt_3_1_2_27_clients_that_do_not_ask_for_topic_aliases_get_none() {
    on_each_layout(|broker| {
        assert_eq!(aliases(broker, "absent", &[]), BTreeSet::new());
        assert_eq!(aliases(broker, "zero", &property::two(property::ALIAS_MAXIMUM, 0)), BTreeSet::new());
    });
}

#[test]
fn mqtt_3_1_2_28_response_information_is_for_those_who_request_it() {
    with_settings("[mqtt]\nresponse_information = \"answers/\"", |broker| {
        let told = |asks: Option<u8>| {
            let asks = asks.map(|flag| property::byte(property::REQUEST_RESPONSE_INFORMATION, flag));
            let properties = &asks.unwrap_or_default();
            let (_, answer) = broker.greeted(&Connect { properties, ..Connect::v5("client") });
            answer.properties.string(property::RESPONSE_INFORMATION)
        };
        assert_eq!(told(None), None);
        assert_eq!(told(Some(0)), None);
        assert_eq!(told(Some(1)).as_deref(), Some("answers/"));
    });
    // There may be none to return.
    on_each_layout(|broker| {
        let properties = &property::byte(property::REQUEST_RESPONSE_INFORMATION, 1);
        let (_, answer) = broker.greeted(&Connect { properties, ..Connect::v5("client") });
        assert!(!answer.properties.has(property::RESPONSE_INFORMATION));
    });
}

#[test]
fn mqtt_3_1_2_29_without_problem_information_failures_are_only_numbers() {
    on_each_layout(|broker| {
        let mut client = with(broker, "client", &property::byte(property::PROBLEM_INFORMATION, 0));
        // Each is refused, or finds nothing: what answers it, and where the answer's properties begin.
        let failures = [
            (publish_v5(2, "nobody", Some(1), &[], b""), 0x40, 5),
            (publish_v5(2, "$SYS/broker", Some(2), &[], b""), 0x40, 5),
            (publish_v5(4, "$SYS/broker", Some(3), &[], b""), 0x50, 5),
            (vec![0x62, 2, 0, 99], 0x70, 5),
            (subscribe_v5(4, &[], &[("a/#/b", 0)]), 0x90, 4),
            (unsubscribe_v5(5, &["never/subscribed"]), 0xb0, 4),
        ];
        for (packet, first, at) in failures {
            client.send(&packet);
            let answer = client.packet();
            assert_eq!(answer[0], first, "{answer:02x?}");
            assert!(matches!(answer.get(at), None | Some(0)), "{answer:02x?}");
        }
        client.subscribe_v5("t", 0);
        let user = property::pair("a", "b");
        client.send(&publish_v5(0, "t", None, &user, b""));
        client.expect(&publish_v5(0, "t", None, &user, b""));
    });
}
