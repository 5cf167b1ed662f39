//! 3.12: PINGREQ.

use super::clean;
use crate::conformance::on_each_layout;
use crate::support::{PINGREQ, PINGRESP};

#[test]
fn mqtt_3_12_4_1_each_ping_is_answered() {
    on_each_layout(|broker| {
        let mut raw = clean(broker, "ping");
        for pings in [1, 2, 50] {
            raw.send(&PINGREQ.repeat(pings));
            raw.expect(&PINGRESP.repeat(pings));
        }
    });
}
