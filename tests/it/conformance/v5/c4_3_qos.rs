//! Chapter 4.3: levels of delivery, with the broker as sender and as receiver.

use crate::conformance::on_each_layout;
use crate::support::{Broker, Raw, property, publish_v5};

/// A client whose session is kept and subscribed to what it is called, with this QoS.
fn subscribed(broker: &Broker, id: &str, qos: u8) -> Raw {
    let mut client = broker.kept_v5(id, false);
    client.subscribe_v5(id, qos);
    client
}

/// Ends the connection and resumes the session on another.
fn again(client: Raw, broker: &Broker, id: &str) -> Raw {
    client.leave();
    broker.kept_v5(id, true)
}

impl Raw {
    /// Publishes with QoS 2 to the end. Each message to another subscriber has a time of its own to come.
    #[track_caller]
    fn publishes_twice_sure(&mut self, topic: &str, properties: &[u8], payload: &[u8]) {
        self.send(&publish_v5(4, topic, Some(0x7777), properties, payload));
        self.expect(&[0x50, 2, 0x77, 0x77]);
        self.send(&[0x62, 2, 0x77, 0x77]);
        self.expect(&[0x70, 2, 0x77, 0x77]);
    }
}

const IDS: [&str; 4] = ["one", "two", "three", "four"];

#[test]
fn mqtt_4_3_1_1_qos_0_goes_out_with_qos_0_and_without_dup() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in IDS {
            let mut client = subscribed(broker, id, 2);
            publisher.send(&publish_v5(0, id, None, &[], b"x"));
            client.expect(&publish_v5(0, id, None, &[], b"x"));
            // Once.
            let mut client = again(client, broker, id);
            client.lives();
        }
    });
}

/// New messages get identifiers that are free, while some of the earlier ones are not.
fn free_identifiers(broker: &Broker, qos: u8, answer: &dyn Fn(&mut Raw, [u8; 2])) {
    let mut publisher = broker.v5("publisher");
    for id in IDS {
        let mut client = subscribed(broker, id, qos);
        let mut in_use = Vec::new();
        for number in 0..40_u8 {
            publisher.publishes_twice_sure(id, &[], &[number]);
            let got = client.publication();
            assert_eq!((got.flags, got.payload), (qos << 1, vec![number]));
            let packet_id = got.id.expect("QoS 1 or 2");
            assert!(packet_id != 0 && !in_use.contains(&packet_id), "{packet_id} is in use: {in_use:?}");
            in_use.push(packet_id);
            if number % 3 == 2 {
                let released = in_use.remove(usize::from(number) * 7 % in_use.len());
                answer(&mut client, released.to_be_bytes());
            }
        }
    }
}

fn puback(client: &mut Raw, [high, low]: [u8; 2]) {
    client.send(&[0x40, 2, high, low]);
}

fn pubrec_to_pubcomp(client: &mut Raw, [high, low]: [u8; 2]) {
    client.send(&[0x50, 2, high, low]);
    client.expect(&[0x62, 2, high, low]);
    client.send(&[0x70, 2, high, low]);
}

#[test]
fn mqtt_4_3_2_1_each_new_message_of_qos_1_gets_a_free_identifier() {
    on_each_layout(|broker| free_identifiers(broker, 1, &puback));
}

#[test]
fn mqtt_4_3_2_2_qos_1_goes_out_without_dup() {
    on_each_layout(|broker| goes_out_without_dup(broker, 1));
}

/// Also when the message waited for the client, or for the window.
fn goes_out_without_dup(broker: &Broker, qos: u8) {
    let mut publisher = broker.v5("publisher");
    for id in IDS {
        let mut client = subscribed(broker, id, qos);
        publisher.publishes_twice_sure(id, &[], b"1");
        client.expect(&publish_v5(qos << 1, id, Some(1), &[], b"1"));
        client.leave();
        publisher.publishes_twice_sure(id, &[], b"2");
        let mut client = broker.kept_v5(id, true);
        client.expect(&publish_v5(qos << 1 | 8, id, Some(1), &[], b"1"));
        client.expect(&publish_v5(qos << 1, id, Some(2), &[], b"2"));
    }
}

#[test]
fn mqtt_4_3_2_3_qos_1_is_unacknowledged_until_puback() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in IDS {
            let mut client = subscribed(broker, id, 1);
            publisher.publishes(0, id, &[], b"x");
            client.expect(&publish_v5(2, id, Some(1), &[], b"x"));
            for _ in 0..3 {
                // Another identifier's acknowledgement changes nothing.
                client.send(&[0x40, 2, 0, 2]);
                client = again(client, broker, id);
                client.expect(&publish_v5(0xa, id, Some(1), &[], b"x"));
            }
            client.send(&[0x40, 2, 0, 1]);
            again(client, broker, id).lives();
        }
    });
}

#[test]
fn mqtt_4_3_2_4_after_puback_the_message_is_the_brokers() {
    on_each_layout(|broker| {
        for id in IDS {
            subscribed(broker, id, 1).leave();
            let mut publisher = broker.v5("publisher");
            publisher.send(&publish_v5(2, id, Some(0x0102), &[], b"x"));
            publisher.expect(&[0x40, 2, 1, 2]);
            publisher.leave();
            broker.kept_v5(id, true).expect(&publish_v5(2, id, Some(1), &[], b"x"));
        }
    });
}

#[test]
fn mqtt_4_3_2_5_after_puback_the_identifier_means_a_new_message() {
    on_each_layout(|broker| {
        let mut publisher = broker.kept_v5("publisher", false);
        for id in IDS {
            let mut client = subscribed(broker, id, 1);
            for (packet_id, flags) in [(1, 2), (2, 0xa), (3, 2), (4, 0xa)] {
                publisher.send(&publish_v5(flags, id, Some(9), &[], b"x"));
                publisher.expect(&[0x40, 2, 0, 9]);
                client.expect(&publish_v5(2, id, Some(packet_id), &[], b"x"));
            }
            // On another connection as well.
            publisher = again(publisher, broker, "publisher");
            publisher.send(&publish_v5(0xa, id, Some(9), &[], b"x"));
            publisher.expect(&[0x40, 2, 0, 9]);
            client.expect(&publish_v5(2, id, Some(5), &[], b"x"));
            client.leave();
        }
    });
}

#[test]
fn mqtt_4_3_3_1_each_new_message_of_qos_2_gets_a_free_identifier() {
    on_each_layout(|broker| free_identifiers(broker, 2, &pubrec_to_pubcomp));
}

/// Between PUBREC and PUBCOMP an identifier is in use as well.
#[test]
fn mqtt_4_3_3_1_an_identifier_is_free_only_after_pubcomp() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        let mut client = subscribed(broker, "client", 2);
        for number in 1..=5 {
            publisher.publishes_twice_sure("client", &[], b"x");
            client.expect(&publish_v5(4, "client", Some(number), &[], b"x"));
            let [high, low] = number.to_be_bytes();
            client.send(&[0x50, 2, high, low]);
            client.expect(&[0x62, 2, high, low]);
        }
    });
}

#[test]
fn mqtt_4_3_3_2_qos_2_goes_out_without_dup() {
    on_each_layout(|broker| goes_out_without_dup(broker, 2));
}

#[test]
fn mqtt_4_3_3_3_qos_2_is_unacknowledged_until_pubrec() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in IDS {
            let mut client = subscribed(broker, id, 2);
            publisher.publishes_twice_sure(id, &[], b"x");
            client.expect(&publish_v5(4, id, Some(1), &[], b"x"));
            for _ in 0..3 {
                client = again(client, broker, id);
                client.expect(&publish_v5(0xc, id, Some(1), &[], b"x"));
            }
            client.send(&[0x50, 2, 0, 1]);
            client.expect(&[0x62, 2, 0, 1]);
            again(client, broker, id).expect(&[0x62, 2, 0, 1]);
        }
    });
}

#[test]
fn mqtt_4_3_3_4_pubrec_is_answered_by_pubrel_unless_it_is_a_failure() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in IDS {
            let mut client = subscribed(broker, id, 2);
            let well: [&[u8]; 4] = [&[], &[0], &[0, 0], &[0x10]];
            for (packet_id, rest) in (1..).zip(well) {
                publisher.publishes_twice_sure(id, &[], b"x");
                client.expect(&publish_v5(4, id, Some(packet_id), &[], b"x"));
                let [high, low] = packet_id.to_be_bytes();
                client
                    .send(&[&[0x50, 2 + u8::try_from(rest.len()).expect("short"), high, low], rest].concat());
                client.expect(&[0x62, 2, high, low]);
            }
            publisher.publishes_twice_sure(id, &[], b"x");
            client.expect(&publish_v5(4, id, Some(5), &[], b"x"));
            client.send(&[0x50, 3, 0, 5, 0x97]);
            client.lives();
        }
    });
}

#[test]
fn mqtt_4_3_3_5_pubrel_is_unacknowledged_until_pubcomp() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in IDS {
            let mut client = subscribed(broker, id, 2);
            publisher.publishes_twice_sure(id, &[], b"x");
            client.expect(&publish_v5(4, id, Some(1), &[], b"x"));
            client.send(&[0x50, 2, 0, 1]);
            client.expect(&[0x62, 2, 0, 1]);
            for _ in 0..3 {
                client = again(client, broker, id);
                client.expect(&[0x62, 2, 0, 1]);
            }
            client.send(&[0x70, 2, 0, 1]);
            again(client, broker, id).lives();
        }
    });
}

#[test]
fn mqtt_4_3_3_6_after_pubrel_the_publish_is_not_sent_again() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in IDS {
            let mut client = subscribed(broker, id, 2);
            for payload in [b"1", b"2", b"3"] {
                publisher.publishes_twice_sure(id, &[], payload);
            }
            for (packet_id, payload) in [(1, b"1"), (2, b"2"), (3, b"3")] {
                client.expect(&publish_v5(4, id, Some(packet_id), &[], payload));
            }
            client.send(&[0x50, 2, 0, 2]);
            client.expect(&[0x62, 2, 0, 2]);
            for _ in 0..2 {
                client = again(client, broker, id);
                client.expect(&publish_v5(0xc, id, Some(1), &[], b"1"));
                client.expect(&[0x62, 2, 0, 2]);
                client.expect(&publish_v5(0xc, id, Some(3), &[], b"3"));
                // PUBREC again is no reason either.
                client.send(&[0x50, 2, 0, 2]);
                client.expect(&[0x62, 2, 0, 2]);
                client.lives();
            }
        }
    });
}

#[test]
fn mqtt_4_3_3_7_a_message_of_qos_2_that_was_sent_does_not_expire() {
    on_each_layout(|broker| {
        let expiry = property::four(property::MESSAGE_EXPIRY, 1);
        let mut publisher = broker.v5("publisher");
        for id in IDS {
            let mut client = subscribed(broker, id, 2);
            publisher.publishes_twice_sure(id, &expiry, b"sent");
            assert_eq!(client.publication().payload, b"sent");
            client.leave();
            publisher.publishes_twice_sure(id, &expiry, b"not sent");
        }
        broker.let_pass(2);
        for id in IDS {
            let mut client = broker.kept_v5(id, true);
            let got = client.publication();
            assert_eq!((got.flags, got.id, &got.payload[..]), (0xc, Some(1), &b"sent"[..]));
            pubrec_to_pubcomp(&mut client, [0, 1]);
            client.lives();
        }
    });
}

#[test]
fn mqtt_4_3_3_8_after_pubrec_the_message_is_the_brokers() {
    on_each_layout(|broker| {
        for id in IDS {
            subscribed(broker, id, 2).leave();
            let name = format!("publisher-{id}");
            let mut publisher = broker.kept_v5(&name, false);
            publisher.send(&publish_v5(4, id, Some(0x0102), &[], b"x"));
            publisher.expect(&[0x50, 2, 1, 2]);
            // The rest of the exchange needs no message any more.
            let mut publisher = again(publisher, broker, &name);
            publisher.send(&[0x62, 2, 1, 2]);
            publisher.expect(&[0x70, 2, 1, 2]);
            let mut client = broker.kept_v5(id, true);
            client.expect(&publish_v5(4, id, Some(1), &[], b"x"));
            client.lives();
        }
    });
}

#[test]
fn mqtt_4_3_3_9_after_a_failed_pubrec_the_identifier_means_a_new_message() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in IDS {
            let mut client = subscribed(broker, id, 2);
            for packet_id in 1..=2 {
                publisher.send(&publish_v5(4, "$SYS/not/for/clients", Some(7), &[], b"x"));
                let refused = publisher.packet();
                assert_eq!((refused[0], &refused[2..5]), (0x50, &[0, 7, 0x87][..]));
                publisher.send(&publish_v5(4, id, Some(7), &[], b"x"));
                publisher.expect(&[0x50, 2, 0, 7]);
                client.expect(&publish_v5(4, id, Some(packet_id), &[], b"x"));
                publisher.send(&[0x62, 2, 0, 7]);
                publisher.expect(&[0x70, 2, 0, 7]);
            }
        }
    });
}

#[test]
fn mqtt_4_3_3_10_until_pubrel_the_identifier_means_the_same_message() {
    on_each_layout(|broker| {
        for id in IDS {
            let mut client = subscribed(broker, id, 2);
            let name = format!("publisher-{id}");
            let mut publisher = broker.kept_v5(&name, false);
            publisher.send(&publish_v5(4, id, Some(7), &[], b"x"));
            publisher.expect(&[0x50, 2, 0, 7]);
            for _ in 0..2 {
                for flags in [0xc, 4] {
                    publisher.send(&publish_v5(flags, id, Some(7), &[], b"x"));
                    publisher.expect(&[0x50, 2, 0, 7]);
                }
                publisher = again(publisher, broker, &name);
            }
            publisher.send(&[0x62, 2, 0, 7]);
            publisher.expect(&[0x70, 2, 0, 7]);
            client.expect(&publish_v5(4, id, Some(1), &[], b"x"));
            publisher.nothing_before_mark(&mut client, id);
        }
    });
}

#[test]
fn mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp_with_its_identifier() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in [1_u16, 256, 65_535] {
            let [high, low] = id.to_be_bytes();
            publisher.send(&publish_v5(4, "t", Some(id), &[], b"x"));
            publisher.expect(&[0x50, 3, high, low, 0x10]);
            publisher.send(&[0x62, 2, high, low]);
            publisher.expect(&[0x70, 2, high, low]);
            // Again, or never heard of: the identifier is not found.
            publisher.send(&[0x62, 2, high, low]);
            let answer = publisher.packet();
            assert_eq!((answer[0], &answer[2..5]), (0x70, &[high, low, 0x92][..]));
        }
    });
}

#[test]
fn mqtt_4_3_3_12_after_pubcomp_the_identifier_means_a_new_message() {
    on_each_layout(|broker| {
        let mut publisher = broker.v5("publisher");
        for id in IDS {
            let mut client = subscribed(broker, id, 2);
            for (packet_id, flags) in [(1, 4), (2, 0xc), (3, 4)] {
                publisher.send(&publish_v5(flags, id, Some(7), &[], b"x"));
                publisher.expect(&[0x50, 2, 0, 7]);
                publisher.send(&[0x62, 2, 0, 7]);
                publisher.expect(&[0x70, 2, 0, 7]);
                client.expect(&publish_v5(4, id, Some(packet_id), &[], b"x"));
            }
        }
    });
}

#[test]
fn mqtt_4_3_3_13_the_exchange_goes_on_though_the_message_has_expired() {
    on_each_layout(|broker| {
        let expiry = property::four(property::MESSAGE_EXPIRY, 1);
        let mut client = broker.kept_v5("client", false);
        client.subscribe_v5("t", 2);
        client.leave();
        let mut publisher = broker.v5("publisher");
        publisher.send(&publish_v5(4, "t", Some(7), &expiry, b"x"));
        publisher.expect(&[0x50, 2, 0, 7]);
        broker.let_pass(2);
        publisher.send(&publish_v5(0xc, "t", Some(7), &expiry, b"x"));
        publisher.expect(&[0x50, 2, 0, 7]);
        publisher.send(&[0x62, 2, 0, 7]);
        publisher.expect(&[0x70, 2, 0, 7]);
        broker.kept_v5("client", true).lives();
    });
}
