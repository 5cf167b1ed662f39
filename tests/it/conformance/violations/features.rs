//! Violations of what a broker said that it does not have, and of its bounds.

use super::Reaction::{Closed, Disconnected, Refused, Suback};
use super::{Case, first, then};
use crate::support::property::{self, subscription_id, two};
use crate::support::{Connect, publish, publish_v5, subscribe, subscribe_v5};

/// A broker that has as little as the standard lets it have.
pub(super) const LEAN: &str = "[mqtt]
qos_max = 1
retain = false
wildcard_subscriptions = false
subscription_ids = false
shared_subscriptions = false
topic_alias_max = 0
[limits]
packet_bytes_max = 500
connect_bytes_max = 300";

/// A CONNECT with a will of this QoS and RETAIN.
fn with_will(level: u8, qos: u8, retain: bool) -> Vec<u8> {
    Connect { level, will: Some(("will", "x", qos, retain)), ..Connect::new("with-will") }.bytes()
}

/// A CONNECT of so many bytes that it is more than this broker takes.
fn large(level: u8) -> Vec<u8> {
    Connect { level, will: Some(("will", &"x".repeat(400), 0, false)), ..Connect::new("large") }.bytes()
}

pub(super) fn v311() -> Vec<Case> {
    vec![
        first("MQTT-3.2.2-6 a will above the QoS that there is", with_will(4, 2, false), Closed),
        first("MQTT-3.2.2-6 a will to be retained where nothing is", with_will(4, 0, true), Closed),
        first("MQTT 2.2.3 a CONNECT above the bound of CONNECT", large(4), Closed),
        then("MQTT 3.3.1.2 QoS 2 where there is none", publish(4, "a", Some(1), b"x"), Closed),
        then("MQTT 3.3.1.3 RETAIN where nothing is retained", publish(1, "a", None, b"x"), Closed),
        then("MQTT 2.2.3 a packet above the bound", publish(0, "a", None, &[0; 500]), Closed),
        then("MQTT-3.8.3-2 a wildcard where there are none", subscribe(1, "a/+", 1), Suback(vec![0x80])),
        then(
            "MQTT 4.7.2 a shared subscription where there are none",
            subscribe(1, "$share/g/a", 1),
            Suback(vec![0x80]),
        ),
        then("MQTT-3.8.4-5 QoS 2 is granted as what there is", subscribe(1, "a", 2), Suback(vec![1])),
    ]
}

pub(super) fn v5() -> Vec<Case> {
    let aliased = |alias| publish_v5(0, "a", None, &two(property::ALIAS, alias), b"x");
    vec![
        first("MQTT-3.2.2-12 a will above Maximum QoS", with_will(5, 2, false), Refused(0x9b)),
        first("MQTT-3.2.2-13 a will to be retained where nothing is", with_will(5, 0, true), Refused(0x9a)),
        first("MQTT 2.1.4 a CONNECT above the bound of CONNECT", large(5), Closed),
        then(
            "MQTT-3.2.2-11 QoS above Maximum QoS",
            publish_v5(4, "a", Some(1), &[], b"x"),
            Disconnected(0x9b),
        ),
        then(
            "MQTT-3.2.2-14 RETAIN where nothing is retained",
            publish_v5(1, "a", None, &[], b"x"),
            Disconnected(0x9a),
        ),
        then(
            "MQTT-3.2.2-15 a packet just above Maximum Packet Size",
            publish_v5(0, "a", None, &[], &[0; 500]),
            Disconnected(0x95),
        ),
        then("MQTT-3.2.2-18 a Topic Alias where there are none", aliased(1), Disconnected(0x94)),
        then(
            "MQTT 3.2.2.3.11 a wildcard where there are none",
            subscribe_v5(1, &[], &[("a/#", 0), ("a", 0)]),
            Suback(vec![0xa2, 0]),
        ),
        then(
            "MQTT 3.2.2.3.12 a Subscription Identifier where there are none",
            subscribe_v5(1, &subscription_id(1), &[("a", 0), ("b", 0)]),
            Suback(vec![0xa1, 0xa1]),
        ),
        then(
            "MQTT 3.2.2.3.13 a shared subscription where there are none",
            subscribe_v5(1, &[], &[("$share/g/a", 0), ("a", 1)]),
            Suback(vec![0x9e, 1]),
        ),
        then(
            "MQTT-3.2.2-9 QoS 2 is granted as what there is",
            subscribe_v5(1, &[], &[("a", 2)]),
            Suback(vec![1]),
        ),
    ]
}
