//! 1.5: strings.

use super::{clean, closes, closes_at_once, connect_of, subscriber};
use crate::conformance::on_each_layout;
use crate::support::{binary, packet, publish, text};

/// A lone continuation, an overlong slash, the surrogates D800 and DFFF, something beyond U+10FFFF, a cut sequence.
const NO_UTF_8: [&[u8]; 6] =
    [b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"a\xe2\x82"];

/// All packets of a client with this string in each place where there is one, after CONNECT.
fn packets_with(string: &[u8]) -> Vec<Vec<u8>> {
    let string = binary(string);
    vec![
        packet(0x30, &[&string, b"x"]),
        packet(0x32, &[&string, &[0, 1], b"x"]),
        packet(0x82, &[&[0, 1], &string, &[0]]),
        packet(0x82, &[&[0, 1], &text("well"), &[0], &string, &[0]]),
        packet(0xa2, &[&[0, 1], &string]),
        packet(0xa2, &[&[0, 1], &text("well"), &string]),
    ]
}

/// The same for CONNECT: client id, will topic, user name.
fn connects_with(string: &[u8]) -> Vec<Vec<u8>> {
    let string = binary(string);
    vec![
        connect_of(2, &[&string]),
        connect_of(6, &[&text("id"), &string, &text("message")]),
        connect_of(0x82, &[&text("id"), &string]),
    ]
}

#[test]
fn mqtt_1_5_3_1_strings_that_are_not_utf_8_close_the_connection() {
    on_each_layout(|broker| {
        for bad in NO_UTF_8 {
            connects_with(bad).iter().for_each(|bytes| closes_at_once(broker, bytes));
            packets_with(bad).iter().for_each(|bytes| closes(broker, "no-utf-8", bytes));
        }
        broker.serves();
    });
}

#[test]
fn mqtt_1_5_3_2_strings_with_u_0000_close_the_connection() {
    on_each_layout(|broker| {
        for bad in [&b"\0"[..], b"\0a", b"a\0b", b"a\0"] {
            connects_with(bad).iter().for_each(|bytes| closes_at_once(broker, bytes));
            packets_with(bad).iter().for_each(|bytes| closes(broker, "nul", bytes));
        }
        broker.serves();
    });
}

#[test]
fn mqtt_1_5_3_3_a_byte_order_mark_is_part_of_the_name() {
    on_each_layout(|broker| {
        let (with, without) = ("\u{feff}bom", "bom");
        let mut marked = subscriber(broker, "marked", &[(with, 0)]);
        let mut plain = subscriber(broker, "plain", &[(without, 0)]);
        let mut publisher = clean(broker, "publisher");
        publisher.send(&publish(0, with, None, b"with"));
        publisher.send(&publish(0, without, None, b"without"));
        marked.expect(&publish(0, with, None, b"with"));
        plain.expect(&publish(0, without, None, b"without"));
        super::nothing_but_the_mark(&mut publisher, &mut marked);
        super::nothing_but_the_mark(&mut publisher, &mut plain);
    });
}
