//! 3.9: SUBACK.

use super::clean;
use crate::conformance::on_each_layout;
use crate::support::{packet, subscribe_many};

#[test]
fn mqtt_3_9_3_1_codes_stand_in_the_order_of_the_filters() {
    on_each_layout(|broker| {
        let mut raw = clean(broker, "order");
        for codes in [[0, 1, 2, 0], [2, 1, 0, 2], [1, 1, 0, 2]] {
            let filters: Vec<_> = ["z", "a", "m/+", "b"].into_iter().zip(codes).collect();
            raw.send(&subscribe_many(1, &filters));
            raw.expect(&packet(0x90, &[&[0, 1], &codes]));
        }
    });
}

#[test]
fn mqtt_3_9_3_2_a_refusal_is_0x80_whatever_its_reason() {
    on_each_layout(|broker| {
        let mut raw = clean(broker, "refused");
        let deep = "/".repeat(1_000);
        for filter in ["", "a#", "#/a", "+a", "$share/", "$share/g", "$share/+/a", "$share/g/", &deep] {
            raw.send(&subscribe_many(1, &[(filter, 2), ("good", 2)]));
            raw.expect(&packet(0x90, &[&[0, 1, 0x80, 2]]));
        }
    });
}
