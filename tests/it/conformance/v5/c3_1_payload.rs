//! Chapter 3.1: the payload of CONNECT.

use crate::conformance::on_each_layout;
use crate::support::{Connect, binary, packet, property, publish_v5, text};

/// CONNECT with these flags and this payload.
fn connect_of(flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &[&text("MQTT"), &[5, flags, 0, 0, 0], &payload.concat()])
}

#[test]
fn mqtt_3_1_3_1_the_fields_of_the_payload_have_one_order() {
    on_each_layout(|broker| {
        let mut watcher = broker.v5("watcher");
        watcher.subscribe_v5("#", 0);
        let properties = property::pair("will", "property");
        let block = [&[u8::try_from(properties.len()).expect("short")][..], &properties].concat();
        let fields =
            [&text("id"), &block, &text("topic"), &text("payload"), &text("user"), &text("password")];
        let fields = fields.map(|field| &field[..]);
        let mut raw = broker.raw();
        raw.send(&connect_of(0xc6, &fields));
        assert_eq!(raw.packet()[2..4], [0, 0]);
        // The first field is the id, the next three are the will.
        let mut again = broker.v5("id");
        raw.expect_goodbye(0x8e);
        watcher.expect(&publish_v5(0, "topic", None, &properties, b"payload"));
        again.lives();
        // In another order they are other fields, if any.
        let [id, block, topic, payload, user, password] = fields;
        broker.turns_away(&connect_of(0xc6, &[id, user, password, block, topic, payload]), 0x81);
        broker.turns_away(&connect_of(0xc6, &[id, topic, payload, block, user, password]), 0x81);
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_3_2_the_client_id_identifies_the_session() {
    on_each_layout(|broker| {
        // Alike to people, and different.
        let ids = ["c", "C", "c ", "c/", "c\u{301}", "\u{107}", "ć "];
        for id in ids {
            broker.kept_v5(id, false).subscribe_v5(&format!("for/{id}"), 0);
        }
        let mut clients = ids.map(|id| broker.kept_v5(id, true));
        let mut publisher = broker.v5("publisher");
        for id in ids {
            publisher.send(&publish_v5(0, &format!("for/{id}"), None, &[], b"x"));
        }
        for (id, client) in ids.iter().zip(&mut clients) {
            client.expect(&publish_v5(0, &format!("for/{id}"), None, &[], b"x"));
            client.lives();
        }
    });
}

#[test]
fn mqtt_3_1_3_3_a_connect_without_a_client_id_is_malformed() {
    on_each_layout(|broker| {
        broker.turns_away(&connect_of(2, &[]), 0x81);
        broker.turns_away(&connect_of(2, &[&[0]]), 0x81);
        broker.turns_away(&connect_of(2, &[&[0, 2], b"c"]), 0x81);
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_3_4_the_client_id_is_a_string() {
    on_each_layout(|broker| {
        for id in ["küche", "台所", "\u{1f980}/+/#", "$SYS", " "] {
            broker.kept_v5(id, false).lives();
            broker.kept_v5(id, true).lives();
        }
        for id in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"a\0"] {
            broker.turns_away(&connect_of(2, &[&binary(id)]), 0x81);
        }
        broker.serves();
    });
}

#[test]
fn mqtt_3_1_3_5_ids_of_1_to_23_letters_and_digits_are_accepted() {
    on_each_layout(|broker| {
        let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for len in 1..=23 {
            for start in [0, 20, 39] {
                broker.v5(&alphabet[start..start + len]).lives();
            }
        }
        for at in 0..alphabet.len() {
            broker.v5(&alphabet[at..=at]).lives();
        }
    });
}

#[test]
fn mqtt_3_1_3_6_a_client_without_an_id_is_given_a_unique_one() {
    on_each_layout(|broker| {
        let mut clients = Vec::new();
        for clean in [true, false].repeat(5) {
            let (mut raw, answer) = broker.greeted(&Connect { clean, ..Connect::v5("") });
            assert_eq!(answer.flags, 0, "nobody had this session before");
            let id = answer.properties.string(property::ASSIGNED_ID).expect("an id");
            raw.subscribe_v5(&id, 0);
            clients.push((id, raw));
        }
        let mut publisher = broker.v5("publisher");
        for (id, client) in &mut clients {
            publisher.nothing_before_mark(client, id);
        }
        let mut ids: Vec<&String> = clients.iter().map(|(id, _)| id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 10);
    });
}

#[test]
fn mqtt_3_1_3_7_the_id_that_was_given_is_as_good_as_the_clients_own() {
    on_each_layout(|broker| {
        for _ in 0..4 {
            let properties = &property::four(property::SESSION_EXPIRY, 1_000);
            let (mut raw, answer) = broker.greeted(&Connect { properties, ..Connect::v5("") });
            let id = answer.properties.string(property::ASSIGNED_ID).expect("an id");
            raw.subscribe_v5("kept", 1);
            raw.leave();
            broker.v5("publisher").publishes(0, "kept", &[], b"x");
            let (mut raw, answer) = broker.greeted(&Connect { clean: false, properties, ..Connect::v5(&id) });
            assert_eq!(answer.flags, 1);
            assert!(!answer.properties.has(property::ASSIGNED_ID), "the client named itself");
            raw.expect(&publish_v5(2, "kept", Some(1), &[], b"x"));
            broker.v5(&id).lives();
            raw.expect_goodbye(0x8e);
        }
    });
}

#[test]
fn mqtt_3_1_3_8_a_refused_client_id_ends_the_connection() {
    on_each_layout(|broker| {
        // The only ids that are refused are no strings.
        for id in [&b"ab\xff"[..], b"\0"] {
            broker.turns_away(&connect_of(2, &[&binary(id)]), 0x81);
        }
        let longest = "x".repeat(65_535);
        broker.kept_v5(&longest, false).lives();
        broker.kept_v5(&longest, true).lives();
    });
}

#[test]
fn mqtt_3_1_3_12_the_user_name_is_a_string() {
    on_each_layout(|broker| {
        for name in ["", "useR", "用户", "\u{feff}\u{10fffd}"] {
            broker.greeted(&Connect { username: Some(name), ..Connect::v5("c") }).0.lives();
        }
        for name in [&b"\xff"[..], b"\xed\xa0\x80", b"user\0", b"\xe2\x82"] {
            broker.turns_away(&connect_of(0x82, &[&text("c"), &binary(name)]), 0x81);
        }
        broker.serves();
    });
}
