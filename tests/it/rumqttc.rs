//! rumqttc, the Rust client, 3.1.1.

use crate::support::{Broker, PATIENCE};
use rumqttc::{Client, Event, LastWill, MqttOptions, Packet, QoS};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A client whose events arrive on a channel.
pub(crate) struct Talker {
    client: Client,
    events: Receiver<Packet>,
}

impl Talker {
    pub(crate) fn new(broker: &Broker, id: &str, adjust: impl FnOnce(&mut MqttOptions)) -> Self {
        let mut options = MqttOptions::new(id, "127.0.0.1", broker.port());
        options.set_keep_alive(Duration::from_secs(60)).set_max_packet_size(1 << 20, 1 << 20);
        adjust(&mut options);
        let (client, mut connection) = Client::new(options, 100);
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for event in connection.iter() {
                let Ok(event) = event else { return };
                if let Event::Incoming(packet) = event
                    && sender.send(packet).is_err()
                {
                    return;
                }
            }
        });
        Self { client, events }
    }

    /// The next packet for which `pick` has a value; others are passed over.
    fn next<T>(&self, mut pick: impl FnMut(Packet) -> Option<T>) -> T {
        loop {
            let packet = self.events.recv_timeout(PATIENCE).expect("the broker answers");
            if let Some(value) = pick(packet) {
                return value;
            }
        }
    }

    pub(crate) fn connected(self) -> (Self, bool) {
        let present = self.next(|packet| match packet {
            Packet::ConnAck(connack) => Some(connack.session_present),
            _ => None,
        });
        (self, present)
    }

    fn subscribe(&self, filter: &str, qos: QoS) {
        self.client.subscribe(filter, qos).expect("room for a request");
        self.next(|packet| matches!(packet, Packet::SubAck(_)).then_some(()));
    }

    fn message(&self) -> (String, Vec<u8>, QoS, bool) {
        self.next(|packet| match packet {
            Packet::Publish(p) => Some((p.topic, p.payload.to_vec(), p.qos, p.retain)),
            _ => None,
        })
    }

    pub(crate) fn publish(&self, topic: &str, qos: QoS, retain: bool, payload: &[u8]) {
        self.client.publish(topic, qos, retain, payload).expect("room for a request");
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.next(|packet| matches!(packet, Packet::PubAck(_)).then_some(())),
            QoS::ExactlyOnce => self.next(|packet| matches!(packet, Packet::PubComp(_)).then_some(())),
        }
    }
}

pub(crate) const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
fn every_qos_both_ways_with_small_and_large_payloads() {
    let broker = Broker::start();
    let (subscriber, _) = Talker::new(&broker, "subscriber", |_| {}).connected();
    let (publisher, _) = Talker::new(&broker, "publisher", |_| {}).connected();
    subscriber.subscribe("q/+", QoS::ExactlyOnce);
    for qos in LEVELS {
        for size in [0, 1, 1_000, 256 << 10] {
            let payload: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[0]).collect();
            publisher.publish("q/x", qos, false, &payload);
            assert_eq!(subscriber.message(), ("q/x".to_owned(), payload, qos, false));
        }
    }
}

#[test]
fn retained_messages_and_wills() {
    let broker = Broker::start();
    let (publisher, _) = Talker::new(&broker, "publisher", |_| {}).connected();
    publisher.publish("r/1", QoS::AtLeastOnce, true, b"kept");
    let (subscriber, _) = Talker::new(&broker, "subscriber", |_| {}).connected();
    subscriber.subscribe("r/#", QoS::AtLeastOnce);
    assert_eq!(subscriber.message(), ("r/1".to_owned(), b"kept".to_vec(), QoS::AtLeastOnce, true));
    let will = LastWill::new("r/will", "gone", QoS::AtLeastOnce, false);
    let mut mortal = broker.raw();
    // rumqttc has no way to vanish in a process that goes on: another connection takes its id, which is its end.
    let (_held, _) = Talker::new(&broker, "mortal", |options| {
        options.set_last_will(will);
    })
    .connected();
    mortal.connect("mortal");
    assert_eq!(subscriber.message(), ("r/will".to_owned(), b"gone".to_vec(), QoS::AtLeastOnce, false));
}

#[test]
fn a_persistent_session_resumes() {
    let broker = Broker::start();
    let kept = |options: &mut MqttOptions| {
        options.set_clean_session(false);
    };
    let (first, present) = Talker::new(&broker, "sleeper", kept).connected();
    assert!(!present);
    first.subscribe("away", QoS::ExactlyOnce);
    first.client.disconnect().expect("room for a request");
    while first.events.recv_timeout(PATIENCE).is_ok() {}
    let (publisher, _) = Talker::new(&broker, "publisher", |_| {}).connected();
    for (number, qos) in
        (0u8..).zip(LEVELS.iter().cycle()).take(30).filter(|(_, qos)| **qos != QoS::AtMostOnce)
    {
        publisher.publish("away", *qos, false, &[number]);
    }
    let (second, present) = Talker::new(&broker, "sleeper", kept).connected();
    assert!(present);
    for (number, qos) in
        (0u8..).zip(LEVELS.iter().cycle()).take(30).filter(|(_, qos)| **qos != QoS::AtMostOnce)
    {
        assert_eq!(second.message(), ("away".to_owned(), vec![number], *qos, false));
    }
}
