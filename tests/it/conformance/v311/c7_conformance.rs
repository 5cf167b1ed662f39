//! 7: conformance.

use super::{acknowledged, clean};
use crate::conformance::on_each_layout;
use crate::support::{Connect, PINGREQ, PINGRESP, connack, publish, suback, subscribe};

#[test]
fn mqtt_7_0_0_2_the_least_that_a_client_can_say_is_enough() {
    on_each_layout(|broker| {
        let mut raw = broker.raw();
        raw.send(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0]);
        raw.expect(&[0x20, 2, 0, 0]);
        raw.send(&[0x82, 6, 0, 1, 0, 1, b'a', 0]);
        raw.expect(&[0x90, 3, 0, 1, 0]);
        raw.send(&[0x30, 3, 0, 1, b'a']);
        raw.expect(&[0x30, 3, 0, 1, b'a']);
        raw.send(&[0xe0, 0]);
        raw.expect_closed();
    });
}

#[test]
fn mqtt_7_1_1_1_packets_may_be_cut_anywhere_and_come_together() {
    on_each_layout(|broker| {
        let mut raw = broker.raw();
        // A byte at a time: each is a write of its own, which the kernel may send on its own.
        let mut bytewise = |bytes: &[u8], answer: &[u8]| {
            bytes.iter().for_each(|&byte| raw.send(&[byte]));
            raw.expect(answer);
        };
        let hello = [Connect::new("stream").bytes(), subscribe(1, "stream", 1)].concat();
        bytewise(&hello, &[&connack(false, 0)[..], &suback(1, 1)].concat());
        let message = publish(0, "stream", None, b"x");
        bytewise(&[&message[..], &PINGREQ].concat(), &[&message[..], &PINGRESP].concat());
        let large = vec![7; 1 << 20];
        acknowledged(&mut clean(broker, "publisher"), "stream", &large);
        raw.expect(&publish(2, "stream", Some(1), &large));
    });
}
