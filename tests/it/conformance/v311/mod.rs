//! MQTT 3.1.1: a test for each statement of `v311.txt` that binds a server.

mod c1_5_data;
mod c2_format;
mod c3_10_unsubscribe;
mod c3_12_ping;
mod c3_14_disconnect;
mod c3_1_connect;
mod c3_1_payload;
mod c3_2_connack;
mod c3_3_publish;
mod c3_6_pubrel;
mod c3_8_subscribe;
mod c3_9_suback;
mod c4_1_state;
mod c4_3_qos;
mod c4_5_order;
mod c4_7_topics;
mod c4_8_errors;
mod c6_websocket;
mod c7_conformance;

use crate::support::{Broker, Connect, Raw, connack, packet, publish, suback, subscribe, text};

/// What [`marked`] publishes and [`nothing_but_the_mark`] waits for.
const MARK: &str = "mark";

/// A client with a clean session.
#[track_caller]
fn clean(broker: &Broker, id: &str) -> Raw {
    let mut raw = broker.raw();
    raw.connect(id);
    raw
}

/// A client with CleanSession 0; `present` is what CONNACK says of an earlier session.
#[track_caller]
fn kept(broker: &Broker, id: &str, present: bool) -> Raw {
    let mut raw = broker.raw();
    raw.send(&Connect { clean: false, ..Connect::new(id) }.bytes());
    raw.expect(&connack(present, 0));
    raw
}

/// Says goodbye; when this returns, the broker knows that the client is away.
#[track_caller]
fn leaves(mut raw: Raw) {
    raw.send(&[0xe0, 0]);
    raw.expect_closed();
}

/// A client with a clean session and these subscriptions; the mark is one of them.
#[track_caller]
fn subscriber(broker: &Broker, id: &str, filters: &[(&str, u8)]) -> Raw {
    let mut raw = clean(broker, id);
    for &(filter, qos) in filters.iter().chain(&[(MARK, 0)]) {
        raw.send(&subscribe(1, filter, qos));
        raw.expect(&suback(1, qos));
    }
    raw
}

/// A client that every shard has taken notice of: what was sent to be retained before it came is stored by then.
#[track_caller]
fn latecomer(broker: &Broker, id: &str) -> Raw {
    let mut raw = clean(broker, id);
    // SUBACK waits for all shards where nobody beside this client has the filter.
    raw.subscribe(&format!("only/{id}"), 0);
    raw
}

/// A client with a subscription that has brought what was retained, "earlier": what comes now is live. The packet id 1 is
/// taken if the QoS is not 0.
#[track_caller]
fn established(broker: &Broker, id: &str, topic: &str, qos: u8) -> Raw {
    retained(&mut clean(broker, "established"), topic, b"earlier");
    let mut raw = clean(broker, id);
    raw.subscribe(topic, qos);
    raw.expect(&publish(qos.min(1) << 1 | 1, topic, (qos > 0).then_some(1), b"earlier"));
    raw
}

/// Publishes with QoS 1 and waits for PUBACK.
#[track_caller]
fn acknowledged(publisher: &mut Raw, topic: &str, payload: &[u8]) {
    publisher.send(&publish(2, topic, Some(7), payload));
    publisher.expect(&[0x40, 2, 0, 7]);
}

/// The same with RETAIN; after PUBACK it is stored.
#[track_caller]
fn retained(publisher: &mut Raw, topic: &str, payload: &[u8]) {
    publisher.send(&publish(3, topic, Some(7), payload));
    publisher.expect(&[0x40, 2, 0, 7]);
}

/// The publisher sends the mark, and nothing comes to the subscriber before it: messages keep their order from shard to
/// shard, so what the publisher sent before it was not for this subscriber.
#[track_caller]
fn nothing_but_the_mark(publisher: &mut Raw, subscriber: &mut Raw) {
    publisher.send(&publish(0, MARK, None, b"!"));
    subscriber.expect(&publish(0, MARK, None, b"!"));
}

/// A client that is connected and sends this is disconnected without a byte.
#[track_caller]
fn closes(broker: &Broker, id: &str, bytes: &[u8]) {
    let mut raw = clean(broker, id);
    raw.send(bytes);
    raw.expect_closed();
}

/// A connection that begins like this is closed without a byte.
#[track_caller]
fn closes_at_once(broker: &Broker, bytes: &[u8]) {
    let mut raw = broker.raw();
    raw.send(bytes);
    raw.expect_closed();
}

/// A CONNECT with these flags, keep alive 0 and these fields of the payload.
fn connect_of(flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &[&text("MQTT"), &[4, flags, 0, 0], &fields.concat()])
}

/// UNSUBSCRIBE.
fn unsubscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(|filter| text(filter)).collect();
    packet(0xa2, &[&id.to_be_bytes(), &filters])
}
