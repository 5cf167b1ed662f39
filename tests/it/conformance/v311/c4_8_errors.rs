//! 4.8: errors.

use super::{acknowledged, clean, closes_at_once, nothing_but_the_mark, subscriber};
use crate::conformance::on_each_layout;
use crate::support::{packet, publish, text};

#[test]
fn mqtt_4_8_0_1_a_violation_ends_its_connection_and_no_other() {
    on_each_layout(|broker| {
        let mut subscriber = subscriber(broker, "subscriber", &[("others", 1)]);
        let mut publisher = clean(broker, "publisher");
        for (id, bytes) in (1..).zip([
            vec![0x00, 0],
            vec![0xf0, 0],
            vec![0x20, 2, 0, 0],
            vec![0xd0, 0],
            vec![0xc0, 1, 0],
            vec![0x30, 0xff, 0xff, 0xff, 0xff, 1],
            publish(2, "others", Some(0), b"x"),
            packet(0x82, &[&[0, 1], &text("others"), &[3]]),
        ]) {
            let mut violator = clean(broker, "violator");
            // What came before it counts, and what follows it does not.
            violator.send(
                &[publish(0, "others", None, b"before"), bytes, publish(0, "others", None, b"after")]
                    .concat(),
            );
            violator.expect_closed();
            subscriber.expect(&publish(0, "others", None, b"before"));
            acknowledged(&mut publisher, "others", b"x");
            subscriber.expect(&publish(2, "others", Some(id), b"x"));
            subscriber.send(&[0x40, 2, 0, id.to_be_bytes()[1]]);
            nothing_but_the_mark(&mut publisher, &mut subscriber);
        }
        closes_at_once(broker, &[0x00, 0]);
        broker.serves();
    });
}
