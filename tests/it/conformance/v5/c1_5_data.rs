//! Chapter 1.5: how data are represented.

use crate::conformance::on_each_layout;
use crate::support::{Connect, binary, packet, property, publish_v5, subscribe_v5};

/// Bytes that are not UTF-8: a lone continuation, an overlong slash, surrogates, beyond the last code point, a character
/// that is cut off.
const ILL_FORMED: [&[u8]; 6] =
    [b"a\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"a\xe2\x82"];

/// Each packet after CONNECT that has a string of the client's, with `bytes` for it.
fn packets_with(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let field = binary(bytes);
    let properties = |encoded: Vec<u8>| publish_v5(0, "t", None, &encoded, b"");
    let in_block = |first: u8, head: &[u8], encoded: Vec<u8>, rest: &[u8]| {
        packet(first, &[head, &[u8::try_from(encoded.len()).expect("short")], &encoded, rest])
    };
    let reason = || property::data(property::REASON_STRING, bytes);
    vec![
        ("PUBLISH's topic", packet(0x30, &[&field, &[0]])),
        ("SUBSCRIBE's filter", packet(0x82, &[&[0, 1, 0], &field, &[0]])),
        ("UNSUBSCRIBE's filter", packet(0xa2, &[&[0, 1, 0], &field])),
        ("content type", properties(property::data(property::CONTENT_TYPE, bytes))),
        ("response topic", properties(property::data(property::RESPONSE_TOPIC, bytes))),
        ("reason string of PUBACK", in_block(0x40, &[0, 1, 0], reason(), &[])),
        ("reason string of PUBREC", in_block(0x50, &[0, 1, 0], reason(), &[])),
        ("reason string of PUBREL", in_block(0x62, &[0, 1, 0], reason(), &[])),
        ("reason string of PUBCOMP", in_block(0x70, &[0, 1, 0], reason(), &[])),
        ("reason string of DISCONNECT", in_block(0xe0, &[0], reason(), &[])),
        ("method of AUTH", in_block(0xf0, &[0x19], property::data(property::AUTH_METHOD, bytes), &[])),
    ]
}

/// CONNECTs with `bytes` for each of its strings.
fn connects_with(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let field = binary(bytes);
    let head = |flags: u8, properties: &[u8]| {
        let length = [u8::try_from(properties.len()).expect("short")];
        [b"\0\x04MQTT\x05", &[flags, 0, 0][..], &length, properties].concat()
    };
    let connect = |flags: u8, fields: &[&[u8]]| packet(0x10, &[&head(flags, &[]), &fields.concat()]);
    let method = property::data(property::AUTH_METHOD, bytes);
    vec![
        ("client id", connect(2, &[&field])),
        ("will topic", connect(6, &[b"\0\x01c", &[0], &field, b"\0\0"])),
        ("user name", connect(0x82, &[b"\0\x01c", &field])),
        ("authentication method", packet(0x10, &[&head(2, &method), b"\0\x01c"])),
    ]
}

#[test]
fn mqtt_1_5_4_1_strings_that_are_not_utf_8_end_the_connection() {
    on_each_layout(|broker| {
        for bytes in ILL_FORMED {
            for (what, packet) in packets_with(bytes) {
                broker.disconnects(&format!("ill-formed {what}"), &packet, 0x81);
            }
            for (_, connect) in connects_with(bytes) {
                broker.turns_away(&connect, 0x81);
            }
        }
        // The neighbours of the surrogates and the last plane are characters.
        let mut client = broker.v5("well-formed");
        for topic in ["\u{d7ff}", "\u{e000}", "\u{1f980}", "\u{10fffd}", "\u{7ff}\u{800}"] {
            client.subscribe_v5(topic, 0);
            client.send(&publish_v5(0, topic, None, &[], b""));
            client.expect(&publish_v5(0, topic, None, &[], b""));
        }
        broker.serves();
    });
}

#[test]
fn mqtt_1_5_4_2_strings_with_a_null_character_end_the_connection() {
    on_each_layout(|broker| {
        for bytes in [&b"\0"[..], b"a\0b", b"\xc0\x80"] {
            for (what, packet) in packets_with(bytes) {
                broker.disconnects(&format!("null in {what}"), &packet, 0x81);
            }
            for (_, connect) in connects_with(bytes) {
                broker.turns_away(&connect, 0x81);
            }
        }
        broker.serves();
    });
}

#[test]
fn mqtt_1_5_4_3_a_byte_order_mark_is_a_character_that_stays() {
    on_each_layout(|broker| {
        let (marked, plain) = ("\u{feff}t/\u{feff}", "t/");
        let mut with = broker.v5("with mark");
        with.subscribe_v5(marked, 0);
        let mut without = broker.v5("without mark");
        without.subscribe_v5(plain, 0);
        let mut publisher = broker.v5("publisher");
        let properties = [
            property::data(property::CONTENT_TYPE, "\u{feff}text"),
            property::pair("\u{feff}name", "value\u{feff}"),
        ]
        .concat();
        publisher.send(&publish_v5(0, marked, None, &properties, b"\xef\xbb\xbfx"));
        with.expect(&publish_v5(0, marked, None, &properties, b"\xef\xbb\xbfx"));
        publisher.nothing_before_mark(&mut without, plain);
        // Ids that differ in the mark alone are two clients.
        let mut other = broker.v5("\u{feff}with mark");
        other.lives();
        with.lives();
    });
}

#[test]
fn mqtt_1_5_5_1_variable_byte_integers_have_their_shortest_form() {
    on_each_layout(|broker| {
        let long_winded: [(&str, &[u8]); 6] = [
            ("0 in two bytes", &[0xc0, 0x80, 0x00]),
            ("0 in four bytes", &[0xc0, 0x80, 0x80, 0x80, 0x00]),
            ("4 in two bytes", &[0x30, 0x84, 0x00, 0, 1, b't', 0]),
            ("property length", &[0x30, 5, 0, 1, b't', 0x80, 0]),
            ("subscription identifier", &[0x82, 10, 0, 1, 3, 0x0b, 0x81, 0, 0, 1, b't', 0]),
            ("five bytes", &[0xc0, 0x80, 0x80, 0x80, 0x80, 0x01]),
        ];
        for (what, packet) in long_winded {
            broker.disconnects(what, packet, 0x81);
        }
        // Where the broker's integers get another byte: remaining length, property length, subscription identifier.
        let mut client = broker.v5("client");
        for size in [100, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152] {
            let payload = vec![b'x'; size - 4];
            client.subscribe_v5("t", 0);
            client.send(&publish_v5(0, "t", None, &[], &payload));
            client.expect(&publish_v5(0, "t", None, &[], &payload));
        }
        for size in [127, 128, 16_383, 16_384] {
            let properties = property::data(property::CORRELATION_DATA, vec![7; size - 3]);
            client.send(&publish_v5(0, "t", None, &properties, b""));
            client.expect(&publish_v5(0, "t", None, &properties, b""));
        }
        for id in [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455] {
            let id = property::subscription_id(id);
            client.send(&subscribe_v5(1, &id, &[("t", 0)]));
            client.expect(&[0x90, 4, 0, 1, 0, 0]);
            client.send(&publish_v5(0, "t", None, &[], b""));
            client.expect(&publish_v5(0, "t", None, &id, b""));
        }
        broker.serves();
    });
}

#[test]
fn mqtt_1_5_7_1_both_halves_of_a_user_property_are_checked() {
    on_each_layout(|broker| {
        for bad in [&b"\xed\xa0\x80"[..], b"a\0"] {
            for pair in [property::pair(bad, "value"), property::pair("name", bad)] {
                let length = [u8::try_from(pair.len()).expect("short")];
                broker.disconnects("in PUBLISH", &publish_v5(0, "t", None, &pair, b""), 0x81);
                broker.disconnects("in SUBSCRIBE", &subscribe_v5(1, &pair, &[("t", 0)]), 0x81);
                let unsubscribe = packet(0xa2, &[&[0, 1], &length, &pair, b"\0\x01t"]);
                broker.disconnects("in UNSUBSCRIBE", &unsubscribe, 0x81);
                broker.disconnects("in DISCONNECT", &packet(0xe0, &[&[0], &length, &pair]), 0x81);
                broker.turns_away(&Connect { properties: &pair, ..Connect::v5("in CONNECT") }.bytes(), 0x81);
                let will = Some(("t", "", 0, false));
                let connect = Connect { will, will_properties: &pair, ..Connect::v5("in the will") };
                broker.turns_away(&connect.bytes(), 0x81);
            }
        }
        broker.serves();
    });
}
