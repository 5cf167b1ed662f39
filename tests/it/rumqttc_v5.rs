//! rumqttc, the Rust client, 5.0.

use crate::support::{Broker, PATIENCE};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, DisconnectReasonCode, Filter, LastWill, LastWillProperties, Packet,
    PubAckReason, Publish, PublishProperties, RetainForwardRule, SubscribeProperties, SubscribeReasonCode,
    UnsubAckReason,
};
use rumqttc::v5::{Client, ConnectionError, Event, MqttOptions, StateError};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// What a client sees: packets, and last why the connection ended if the broker said it.
type Seen = Result<Packet, Option<DisconnectReasonCode>>;

/// A client whose events arrive on a channel.
pub(crate) struct Talker {
    client: Client,
    events: Receiver<Seen>,
    connack: ConnAck,
}

impl Talker {
    fn new(broker: &Broker, id: &str) -> Self {
        Self::with(broker, id, |_| {})
    }

    pub(crate) fn with(broker: &Broker, id: &str, adjust: impl FnOnce(&mut MqttOptions)) -> Self {
        let mut options = MqttOptions::new(id, "127.0.0.1", broker.port());
        options.set_keep_alive(Duration::from_secs(60)).set_connect_properties(ConnectProperties::new());
        adjust(&mut options);
        let (client, mut connection) = Client::new(options, 100);
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for event in connection.iter() {
                let seen = match event {
                    Ok(Event::Incoming(packet)) => Ok(packet),
                    Ok(Event::Outgoing(_)) => continue,
                    Err(error) => Err(goodbye(error)),
                };
                let last = seen.is_err();
                if sender.send(seen).is_err() || last {
                    return;
                }
            }
        });
        let connack = match events.recv_timeout(PATIENCE) {
            Ok(Ok(Packet::ConnAck(connack))) => connack,
            other => panic!("CONNACK and not {other:?}"),
        };
        Self { client, events, connack }
    }

    /// The next packet for which `pick` has a value; others are passed over.
    fn next<T>(&self, mut pick: impl FnMut(Packet) -> Option<T>) -> T {
        loop {
            let seen = self.events.recv_timeout(PATIENCE).expect("the broker answers");
            if let Some(value) = pick(seen.expect("the connection lives")) {
                return value;
            }
        }
    }

    /// Why the broker ended the connection.
    fn goodbye(&self) -> Option<DisconnectReasonCode> {
        loop {
            if let Err(reason) = self.events.recv_timeout(PATIENCE).expect("the broker answers") {
                return reason;
            }
        }
    }

    pub(crate) fn subscribe(&self, filter: &str, qos: QoS) {
        self.subscribe_with(Filter::new(filter, qos), None);
    }

    fn subscribe_with(&self, filter: Filter, id: Option<usize>) {
        let qos = filter.qos;
        let properties = SubscribeProperties { id, user_properties: Vec::new() };
        self.client.subscribe_many_with_properties([filter], properties).expect("room for a request");
        assert_eq!(self.granted(), [SubscribeReasonCode::Success(qos)]);
    }

    fn granted(&self) -> Vec<SubscribeReasonCode> {
        self.next(|packet| match packet {
            Packet::SubAck(suback) => Some(suback.return_codes),
            _ => None,
        })
    }

    fn message(&self) -> Publish {
        self.next(|packet| match packet {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        })
    }

    #[track_caller]
    pub(crate) fn expect(&self, topic: &str, payload: &[u8], qos: QoS, retain: bool) -> PublishProperties {
        let got = self.message();
        assert_eq!((&got.topic[..], &got.payload[..]), (topic.as_bytes(), payload));
        assert_eq!((got.qos, got.retain), (qos, retain));
        got.properties.unwrap_or_default()
    }

    fn publish(&self, topic: &str, payload: &[u8]) -> PubAckReason {
        self.publish_with(topic, payload, false, PublishProperties::default())
    }

    /// Publishes with QoS 1.
    fn publish_with(
        &self,
        topic: &str,
        payload: &[u8],
        retain: bool,
        properties: PublishProperties,
    ) -> PubAckReason {
        let payload = payload.to_vec();
        self.client
            .publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties)
            .expect("room for a request");
        self.next(|packet| match packet {
            Packet::PubAck(puback) => Some(puback.reason),
            _ => None,
        })
    }

    /// The messages that are there: what was sent before the answer to a SUBSCRIBE has arrived before it.
    fn waiting(&self) -> Vec<Publish> {
        self.client.subscribe("fence", QoS::AtMostOnce).expect("room for a request");
        let mut messages = Vec::new();
        self.next(|packet| match packet {
            Packet::Publish(publish) => {
                messages.push(publish);
                None
            }
            Packet::SubAck(_) => Some(()),
            _ => None,
        });
        messages
    }

    #[track_caller]
    fn expect_nothing(&self) {
        assert_eq!(self.waiting(), []);
    }
}

fn goodbye(error: ConnectionError) -> Option<DisconnectReasonCode> {
    match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => Some(reason_code),
        _ => None,
    }
}

pub(crate) const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn pairs(values: &[(&str, &str)]) -> Vec<(String, String)> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn properties_of_messages_arrive_with_every_qos() {
    let broker = Broker::start();
    let (subscriber, publisher) = (Talker::new(&broker, "subscriber"), Talker::new(&broker, "publisher"));
    subscriber.subscribe_with(Filter::new("p/+", QoS::ExactlyOnce), Some(268_435_455));
    let sent = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(1_000),
        response_topic: Some("answers/x".to_owned()),
        correlation_data: Some(vec![0, 255].into()),
        user_properties: pairs(&[("b", "2"), ("a", "1"), ("b", "2")]),
        content_type: Some("text/plain".to_owned()),
        ..PublishProperties::default()
    };
    for qos in LEVELS {
        publisher
            .client
            .publish_with_properties("p/x", qos, false, "text", sent.clone())
            .expect("room for a request");
        let mut got = subscriber.expect("p/x", b"text", qos, false);
        assert!(got.message_expiry_interval.take().is_some_and(|left| (1..=1_000).contains(&left)));
        got.message_expiry_interval = Some(1_000);
        assert_eq!(got, PublishProperties { subscription_identifiers: vec![268_435_455], ..sent.clone() });
    }
}

#[test]
fn subscription_options_are_kept() {
    let broker = Broker::start();
    let (client, other) = (Talker::new(&broker, "client"), Talker::new(&broker, "other"));
    other.publish_with("o/kept", b"kept", true, PublishProperties::default());
    let mut filter = Filter::new("o/kept", QoS::AtLeastOnce);
    for rule in [RetainForwardRule::Never, RetainForwardRule::OnNewSubscribe] {
        client.subscribe_with(Filter { retain_forward_rule: rule, ..filter.clone() }, None);
        client.expect_nothing();
    }
    filter.preserve_retain = true;
    client.subscribe_with(filter, None);
    client.expect("o/kept", b"kept", QoS::AtLeastOnce, true);
    other.publish_with("o/kept", b"live", true, PublishProperties::default());
    client.expect("o/kept", b"live", QoS::AtLeastOnce, true);
    client.subscribe_with(Filter { nolocal: true, ..Filter::new("o/own", QoS::AtLeastOnce) }, None);
    client.publish("o/own", b"mine");
    other.publish("o/own", b"another's");
    client.expect("o/own", b"another's", QoS::AtLeastOnce, false);
}

#[test]
fn members_of_a_group_share_its_messages() {
    let broker = Broker::sharded(3, "");
    let members = [0, 1, 2].map(|n| Talker::new(&broker, &format!("member-{n}")));
    let publisher = Talker::new(&broker, "publisher");
    members.iter().for_each(|member| member.subscribe("$share/workers/jobs/+", QoS::AtLeastOnce));
    let sent: Vec<u8> = (0..30).collect();
    for number in &sent {
        assert_eq!(publisher.publish("jobs/x", &[*number]), PubAckReason::Success);
    }
    let mut got = Vec::new();
    for member in &members {
        let before = got.len();
        got.extend(member.waiting().iter().map(|message| message.payload[0]));
        assert!(got.len() > before, "one got nothing");
    }
    got.sort_unstable();
    assert_eq!(got, sent);
}

#[test]
fn aliases_stand_for_topics_both_ways() {
    let broker = Broker::start();
    let subscriber = Talker::with(&broker, "subscriber", |options| {
        options.set_topic_alias_max(Some(2));
    });
    let publisher = Talker::new(&broker, "publisher");
    let announced = publisher.connack.properties.as_ref().and_then(|properties| properties.topic_alias_max);
    let most = announced.expect("aliases are allowed");
    subscriber.subscribe("alias/+", QoS::AtLeastOnce);
    let alias = |alias| PublishProperties { topic_alias: Some(alias), ..PublishProperties::default() };
    for turn in 0..12 {
        let topic = format!("alias/{}", turn / 2 % 3);
        let name = if turn % 2 == 0 { &topic } else { "" };
        assert_eq!(publisher.publish_with(name, b"x", false, alias(most)), PubAckReason::Success);
        // rumqttc's users see the packet as it came: of each pair the first with its topic, the second without.
        let got = subscriber.expect(name, b"x", QoS::AtLeastOnce, false);
        assert!(matches!(got.topic_alias, Some(1 | 2)), "{got:?}");
    }
}

#[test]
fn receive_maximum_and_packet_size_are_respected() {
    let broker = Broker::start();
    let subscriber = Talker::with(&broker, "subscriber", |options| {
        options.set_receive_maximum(Some(2)).set_max_packet_size(Some(100)).set_manual_acks(true);
    });
    let publisher = Talker::new(&broker, "publisher");
    subscriber.subscribe("r", QoS::AtLeastOnce);
    for number in 0..6 {
        publisher.publish("r", &[number]);
        publisher.publish("r", &[0; 200]);
    }
    for number in [0, 2, 4] {
        let two = [subscriber.message(), subscriber.message()];
        assert_eq!([&two[0].payload[..], &two[1].payload[..]], [[number], [number + 1]]);
        subscriber.expect_nothing();
        two.iter().for_each(|message| subscriber.client.ack(message).expect("room for a request"));
    }
}

#[test]
fn reasons_are_told() {
    let broker = Broker::start();
    let client = Talker::new(&broker, "same");
    assert_eq!(client.publish("nobody/wants/this", b""), PubAckReason::NoMatchingSubscribers);
    assert_eq!(client.publish("$SYS/broker/uptime", b""), PubAckReason::NotAuthorized);
    let unsubscribe = || {
        client.client.unsubscribe("wanted").expect("room for a request");
        client.next(|packet| match packet {
            Packet::UnsubAck(unsuback) => Some(unsuback.reasons),
            _ => None,
        })
    };
    client.subscribe("wanted", QoS::AtLeastOnce);
    assert_eq!(client.publish("wanted", b""), PubAckReason::Success);
    assert_eq!(unsubscribe(), [UnsubAckReason::Success]);
    assert_eq!(unsubscribe(), [UnsubAckReason::NoSubscriptionExisted]);
    let second = Talker::new(&broker, "same");
    assert_eq!(client.goodbye(), Some(DisconnectReasonCode::SessionTakenOver));
    let wrong = Filter { nolocal: true, ..Filter::new("$share/workers/x", QoS::AtLeastOnce) };
    second.client.subscribe_many([wrong]).expect("room for a request");
    assert_eq!(second.goodbye(), Some(DisconnectReasonCode::ProtocolError));
}

#[test]
fn sessions_resume_and_wills_wait_for_their_owners() {
    let broker = Broker::start();
    let watcher = Talker::new(&broker, "watcher");
    watcher.subscribe("will/+", QoS::AtLeastOnce);
    let kept = |id: &str, delay: u32| {
        let properties = LastWillProperties {
            delay_interval: Some(delay),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: Some("text/plain".to_owned()),
            response_topic: None,
            correlation_data: None,
            user_properties: pairs(&[("a", "b")]),
        };
        let will = LastWill::new(format!("will/{id}"), "gone", QoS::AtLeastOnce, false, Some(properties));
        Talker::with(&broker, id, |options| {
            options.set_clean_start(false).set_session_expiry_interval(Some(100)).set_last_will(will);
        })
    };
    let first = kept("sleeper", 3_600);
    assert!(!first.connack.session_present);
    first.subscribe("away", QoS::ExactlyOnce);
    first.client.disconnect().expect("room for a request");
    first.goodbye();
    assert_eq!(watcher.publish("away", b"x"), PubAckReason::Success);
    let second = kept("sleeper", 3_600);
    assert!(second.connack.session_present);
    second.expect("away", b"x", QoS::AtLeastOnce, false);
    // A connection with the same id takes its place: its will waits for an hour, and is not sent as that one is back.
    let third = kept("sleeper", 0);
    assert_eq!(second.goodbye(), Some(DisconnectReasonCode::SessionTakenOver));
    watcher.expect_nothing();
    let _fourth = kept("sleeper", 0);
    assert_eq!(third.goodbye(), Some(DisconnectReasonCode::SessionTakenOver));
    let got = watcher.expect("will/sleeper", b"gone", QoS::AtLeastOnce, false);
    assert_eq!(got.content_type.as_deref(), Some("text/plain"));
    assert_eq!(got.user_properties, pairs(&[("a", "b")]));
}
