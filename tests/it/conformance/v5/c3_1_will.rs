//! Chapter 3.1: the will in CONNECT.

use crate::conformance::on_each_layout;
use crate::support::{Broker, Connect, LIVE_ONLY, Publication, Raw, packet, property, publish_v5, text};

/// CONNECT with a will for `will/<id>`, with QoS 1.
fn dying(id: &str) -> Connect<'_> {
    Connect { will: Some(("will", id, 1, false)), ..Connect::v5(id) }
}

/// Properties of a session that outlives its connection.
fn lasting() -> Vec<u8> {
    property::four(property::SESSION_EXPIRY, 1_000)
}

/// Who waits for wills, and for the mark.
fn watcher(broker: &Broker) -> Raw {
    let mut watcher = broker.v5("watcher");
    watcher.subscribe_v5("will", 0);
    watcher.subscribe_v5("mark", 0);
    watcher
}

/// No will of this client came to the watcher. The client comes back to say so, from where its will would have come.
#[track_caller]
fn no_will_of(broker: &Broker, id: &str, watcher: &mut Raw) {
    broker.v5(id).nothing_before_mark(watcher, "mark");
}

#[track_caller]
fn will_of(id: &str, watcher: &mut Raw) {
    watcher.expect(&publish_v5(0, "will", None, &[], id.as_bytes()));
}

#[test]
fn mqtt_3_1_2_7_a_will_belongs_to_its_session() {
    on_each_layout(|broker| {
        let mut watcher = watcher(broker);
        let ids = ["one", "two", "three", "four"];
        let clients: Vec<Raw> = ids.map(|id| broker.greeted(&dying(id)).0).into();
        for (id, client) in ids.iter().zip(clients) {
            drop(client);
            will_of(id, &mut watcher);
        }
        // All of it is kept.
        let will_properties = [
            property::byte(property::PAYLOAD_FORMAT, 1),
            property::data(property::CONTENT_TYPE, "text/plain"),
            property::data(property::RESPONSE_TOPIC, "answers"),
            property::data(property::CORRELATION_DATA, [0, 255, 1]),
            property::pair("a", "b"),
        ]
        .concat();
        drop(broker.greeted(&Connect { will_properties: &will_properties, ..dying("five") }));
        watcher.expect(&publish_v5(0, "will", None, &will_properties, b"five"));
    });
}

#[test]
fn mqtt_3_1_2_8_the_will_is_published_after_a_connection_that_ended_without_goodbye() {
    on_each_layout(|broker| {
        let mut watcher = watcher(broker);
        // The network fails.
        drop(broker.greeted(&dying("vanished")));
        will_of("vanished", &mut watcher);
        // The client asks for it, or gives a reason other than that all is well.
        for reason in [0x04, 0x80, 0x98] {
            let (mut client, _) = broker.greeted(&dying("reason"));
            client.send(&[0xe0, 1, reason]);
            client.expect_closed();
            will_of("reason", &mut watcher);
        }
        // The client breaks the protocol.
        let (mut client, _) = broker.greeted(&dying("broke"));
        client.send(&[0xf1, 0]);
        client.expect_goodbye(0x81);
        will_of("broke", &mut watcher);
        // Another connection takes over.
        let (mut client, _) = broker.greeted(&dying("taken"));
        broker.v5("taken").lives();
        client.expect_goodbye(0x8e);
        will_of("taken", &mut watcher);
        // The client says goodbye.
        for goodbye in [&[0xe0, 0][..], &[0xe0, 1, 0], &[0xe0, 2, 0, 0]] {
            let (mut client, _) = broker.greeted(&dying("polite"));
            client.send(goodbye);
            client.expect_closed();
            no_will_of(broker, "polite", &mut watcher);
        }
    });
}

/// The rest of [MQTT-3.1.2-8]: what ends the wait.
#[test]
fn mqtt_3_1_2_8_a_delayed_will_is_published_when_the_delay_or_the_session_is_over() {
    on_each_layout(|broker| {
        let mut watcher = watcher(broker);
        let delay = |seconds| property::four(property::WILL_DELAY, seconds);
        let (short, long) = (delay(1), delay(1_000));
        // The delay is over.
        drop(broker.greeted(&Connect {
            will_properties: &short,
            properties: &lasting(),
            ..dying("delayed")
        }));
        will_of("delayed", &mut watcher);
        // The session ends with its connection.
        drop(broker.greeted(&Connect { will_properties: &long, ..dying("ends") }));
        will_of("ends", &mut watcher);
        // The session expires.
        let properties = property::four(property::SESSION_EXPIRY, 1);
        drop(broker.greeted(&Connect {
            will_properties: &long,
            properties: &properties,
            ..dying("expires")
        }));
        will_of("expires", &mut watcher);
        // A clean start ends the session.
        let connect = Connect { will_properties: &long, properties: &lasting(), ..dying("starts again") };
        drop(broker.greeted(&connect));
        let mut clean = broker.v5("starts again");
        will_of("starts again", &mut watcher);
        clean.lives();
    });
}

#[test]
fn mqtt_3_1_2_9_a_will_without_its_fields_is_malformed() {
    on_each_layout(|broker| {
        let connect =
            |fields: &[&[u8]]| packet(0x10, &[&text("MQTT"), &[5, 6, 0, 0, 0], &text("c"), &fields.concat()]);
        // Nothing; properties; properties and topic; all without properties.
        for fields in [&[][..], &[&[0][..]], &[&[0], &text("will")], &[&text("will"), &text("payload")]] {
            broker.turns_away(&connect(fields), 0x81);
        }
        let mut raw = broker.raw();
        raw.send(&connect(&[&[0], &text("will"), &text("")]));
        assert_eq!(raw.packet()[2..4], [0, 0]);
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_2_10_the_will_is_gone_once_published_or_once_the_client_said_goodbye() {
    on_each_layout(|broker| {
        let mut watcher = watcher(broker);
        let properties = lasting();
        let resumed = Connect { clean: false, properties: &properties, ..Connect::v5("c") };
        for goodbye in [None, Some([0xe0, 0])] {
            let will = Some(("will", "c", 1, false));
            let (mut client, _) = broker.greeted(&Connect { will, ..resumed.clone() });
            match goodbye {
                None => {
                    drop(client);
                    will_of("c", &mut watcher);
                }
                Some(goodbye) => {
                    client.send(&goodbye);
                    client.expect_closed();
                }
            }
            // The session goes on without it, whatever ends the connection, and ends without it.
            let (client, answer) = broker.greeted(&resumed);
            assert_eq!(answer.flags, 1);
            drop(client);
            no_will_of(broker, "c", &mut watcher);
        }
    });
}

#[test]
fn mqtt_3_1_2_11_will_qos_without_a_will_is_malformed() {
    on_each_layout(|broker| {
        for qos in 1..4 {
            let flags = 2 | qos << 3;
            broker.turns_away(&packet(0x10, &[&text("MQTT"), &[5, flags, 0, 0, 0], &text("c")]), 0x81);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_2_12_a_will_has_qos_0_1_or_2() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("will", 2);
        for qos in 0..3 {
            drop(broker.greeted(&Connect { will: Some(("will", "x", qos, false)), ..Connect::v5("c") }));
            assert_eq!(watcher.packet()[0], 0x30 | qos << 1);
        }
        let connect = Connect { will: Some(("will", "x", 3, false)), ..Connect::v5("c") };
        broker.turns_away(&connect.bytes(), 0x81);
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_2_13_will_retain_without_a_will_is_malformed() {
    on_each_layout(|broker| {
        broker.turns_away(&packet(0x10, &[&text("MQTT"), &[5, 0x22, 0, 0, 0], &text("c")]), 0x81);
        broker.serves();
    });
}

/// What is retained of the wills of "one" and "two", after both were published.
fn retained_wills(broker: &Broker, retain: bool) -> Vec<Publication> {
    let mut watcher = broker.v5("watcher");
    // Retain As Published
    watcher.subscribe_v5("will/#", 8 | LIVE_ONLY);
    for id in ["one", "two"] {
        let topic = format!("will/{id}");
        drop(broker.greeted(&Connect { will: Some((&topic, id, 1, retain)), ..Connect::v5(id) }));
        watcher.expect(&publish_v5(u8::from(retain), &topic, None, &[], id.as_bytes()));
    }
    let mut later = broker.v5("later");
    later.subscribe_v5("will/#", 0);
    let mut found: Vec<Publication> =
        if retain { vec![later.publication(), later.publication()] } else { vec![] };
    later.lives();
    found.sort_by(|a, b| a.topic.cmp(&b.topic));
    found
}

#[test]
fn mqtt_3_1_2_14_a_will_without_retain_is_not_retained() {
    on_each_layout(|broker| assert_eq!(retained_wills(broker, false), []));
}

#[test]
fn mqtt_3_1_2_15_a_will_with_retain_is_retained() {
    on_each_layout(|broker| {
        let kept: Vec<_> = retained_wills(broker, true)
            .into_iter()
            .map(|kept| (kept.flags, kept.topic, kept.payload))
            .collect();
        let of = |id: &str| (1, format!("will/{id}"), id.as_bytes().to_vec());
        assert_eq!(kept, [of("one"), of("two")]);
    });
}

#[test]
fn mqtt_3_1_3_9_a_client_that_is_back_in_time_has_no_will_published() {
    on_each_layout(|broker| {
        let mut watcher = watcher(broker);
        let (delay, properties) = (property::four(property::WILL_DELAY, 1), lasting());
        for id in ["one", "two", "three"] {
            let delayed =
                Connect { will_properties: &delay, properties: &properties, clean: false, ..dying(id) };
            drop(broker.greeted(&delayed));
            let (mut back, answer) = broker.greeted(&Connect { will: None, ..delayed });
            assert_eq!(answer.flags, 1);
            // Another will, of the same shard and set to the same time, comes when this one would have come.
            let other = Connect { will: Some(("will", "other", 0, false)), ..delayed };
            drop(broker.greeted(&other));
            back.expect_goodbye(0x8e);
            will_of("other", &mut watcher);
        }
        // Nor while the first connection is still there.
        let long = property::four(property::WILL_DELAY, 1_000);
        let delayed =
            Connect { will_properties: &long, properties: &properties, clean: false, ..dying("four") };
        let (mut first, _) = broker.greeted(&delayed);
        let mut second = broker.kept_v5("four", true);
        first.expect_goodbye(0x8e);
        second.nothing_before_mark(&mut watcher, "mark");
    });
}

#[test]
fn mqtt_3_1_3_10_user_properties_of_the_will_keep_their_order() {
    on_each_layout(|broker| {
        let mut watcher = watcher(broker);
        let names = ["z", "a", "m", "a", "", "z"];
        let will_properties: Vec<u8> =
            names.iter().enumerate().flat_map(|(at, name)| property::pair(name, at.to_string())).collect();
        drop(broker.greeted(&Connect { will_properties: &will_properties, ..dying("c") }));
        watcher.expect(&publish_v5(0, "will", None, &will_properties, b"c"));
    });
}

#[test]
fn mqtt_3_1_3_11_the_will_topic_is_a_string() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("wìll/\u{1f480}", 0);
        drop(broker.greeted(&Connect { will: Some(("wìll/\u{1f480}", "x", 0, false)), ..Connect::v5("c") }));
        watcher.expect(&publish_v5(0, "wìll/\u{1f480}", None, &[], b"x"));
        let head = packet(0, &[&text("MQTT"), &[5, 6, 0, 0, 0], &text("c"), &[0]]);
        for topic in [&b"\0\x01\xff"[..], b"\0\x03\xed\xa0\x80", b"\0\x03a\0b"] {
            broker.turns_away(&packet(0x10, &[&head[2..], topic, &text("x")]), 0x81);
        }
        broker.serves();
    });
}
