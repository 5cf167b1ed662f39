//! 3.6: PUBREL.

use super::{clean, closes};
use crate::conformance::on_each_layout;
use crate::support::publish;

#[test]
fn mqtt_3_6_1_1_flags_of_pubrel_are_2_or_the_connection_is_closed() {
    on_each_layout(|broker| {
        for flags in (0..16).filter(|&flags| flags != 2) {
            closes(broker, "flags", &[0x60 | flags, 2, 0, 1]);
        }
        let mut raw = clean(broker, "released");
        raw.send(&publish(4, "released", Some(1), b"x"));
        raw.expect(&[0x50, 2, 0, 1]);
        raw.send(&[0x62, 2, 0, 1]);
        raw.expect(&[0x70, 2, 0, 1]);
    });
}
