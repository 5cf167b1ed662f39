//! Sessions over several connections: what is kept, what is sent again, who takes whose place.

use crate::support::{Broker, Connect, PINGREQ, Raw, connack, publish, publish_v5, suback, subscribe, until};

fn persistent(broker: &Broker, id: &str, present: bool) -> Raw {
    let mut raw = broker.raw();
    raw.send(&Connect { clean: false, ..Connect::new(id) }.bytes());
    raw.expect(&connack(present, 0));
    raw
}

fn publisher(broker: &Broker) -> Raw {
    let mut raw = broker.raw();
    raw.connect("publisher");
    raw
}

#[test]
fn what_was_not_acknowledged_is_sent_again_first_and_with_dup_mqtt_4_4_0_1() {
    let broker = Broker::start();
    let mut subscriber = persistent(&broker, "subscriber", false);
    subscriber.subscribe("q/#", 2);
    let mut publisher = publisher(&broker);
    publisher.send(&publish(2, "q/1", Some(1), b"one"));
    publisher.send(&publish(4, "q/2", Some(2), b"two"));
    publisher.send(&publish(4, "q/2", Some(3), b"three"));
    subscriber.expect(&publish(2, "q/1", Some(1), b"one"));
    subscriber.expect(&publish(4, "q/2", Some(2), b"two"));
    subscriber.expect(&publish(4, "q/2", Some(3), b"three"));
    subscriber.send(&[0x50, 2, 0, 2]);
    subscriber.expect(&[0x62, 2, 0, 2]);
    drop(subscriber);
    let mut subscriber = persistent(&broker, "subscriber", true);
    subscriber.expect(&publish(0xa, "q/1", Some(1), b"one"));
    subscriber.expect(&[0x62, 2, 0, 2]);
    subscriber.expect(&publish(0xc, "q/2", Some(3), b"three"));
    subscriber.send(&[0x40, 2, 0, 1, 0x70, 2, 0, 2, 0x50, 2, 0, 3]);
    subscriber.expect(&[0x62, 2, 0, 3]);
    subscriber.send(&[0x70, 2, 0, 3]);
    subscriber.expect_silence();
    drop(subscriber);
    persistent(&broker, "subscriber", true).expect_silence();
}

#[test]
fn messages_wait_for_a_client_that_is_away_and_a_clean_session_forgets_them() {
    let broker = Broker::sharded(3, "");
    let ids: Vec<String> = (0..12).map(|n| format!("sleeper-{n}")).collect();
    for id in &ids {
        let mut subscriber = persistent(&broker, id, false);
        subscriber.subscribe("wait", 1);
        subscriber.send(&[0xe0, 0]);
        subscriber.expect_closed();
    }
    let mut publisher = publisher(&broker);
    for id in 1..=50u16 {
        publisher.send(&publish(2, "wait", Some(id), &id.to_be_bytes()));
        let [high, low] = id.to_be_bytes();
        publisher.expect(&[0x40, 2, high, low]);
    }
    publisher.send(&publish(0, "wait", None, b"QoS 0 does not wait"));
    publisher.expect_silence();
    for id in &ids[1..] {
        let mut subscriber = persistent(&broker, id, true);
        for number in 1..=50u16 {
            subscriber.expect(&publish(2, "wait", Some(number), &number.to_be_bytes()));
        }
        subscriber.expect_silence();
    }
    let mut clean = broker.raw();
    clean.connect(&ids[0]);
    clean.expect_silence();
    drop(clean);
    persistent(&broker, &ids[0], false).expect_silence();
}

#[test]
fn a_qos_2_message_sent_again_by_its_publisher_is_delivered_once_mqtt_4_3_3_10() {
    let broker = Broker::start();
    let mut subscriber = broker.raw();
    subscriber.connect("subscriber");
    subscriber.subscribe("once", 2);
    let mut publisher = persistent(&broker, "publisher", false);
    publisher.send(&publish(4, "once", Some(11), b"x"));
    publisher.expect(&[0x50, 2, 0, 11]);
    drop(publisher);
    let mut publisher = persistent(&broker, "publisher", true);
    publisher.send(&publish(0xc, "once", Some(11), b"x"));
    publisher.expect(&[0x50, 2, 0, 11]);
    publisher.send(&[0x62, 2, 0, 11]);
    publisher.expect(&[0x70, 2, 0, 11]);
    publisher.send(&[0x62, 2, 0, 11]);
    publisher.expect(&[0x70, 2, 0, 11]);
    publisher.send(&publish(4, "once", Some(11), b"the id is free again"));
    publisher.expect(&[0x50, 2, 0, 11]);
    subscriber.expect(&publish(4, "once", Some(1), b"x"));
    subscriber.expect(&publish(4, "once", Some(2), b"the id is free again"));
    subscriber.expect_silence();
}

#[test]
fn a_second_connection_takes_over_on_whatever_shard_it_arrives_mqtt_3_1_4_2() {
    let broker = Broker::sharded(4, "");
    let mut publisher = publisher(&broker);
    for number in 0..20u16 {
        let id = format!("taken-{number}");
        let topic = format!("take/{number}");
        let mut first = persistent(&broker, &id, false);
        first.subscribe(&topic, 1);
        let mut second = persistent(&broker, &id, true);
        first.expect_closed();
        publisher.send(&publish(2, &topic, Some(1), b"to the second"));
        publisher.expect(&[0x40, 2, 0, 1]);
        second.expect(&publish(2, &topic, Some(1), b"to the second"));
    }
    let mut first = broker.raw();
    first.send(&Connect::v5("new").bytes());
    first.packet();
    let mut second = broker.raw();
    second.send(&Connect::v5("new").bytes());
    second.packet();
    first.expect_goodbye(0x8e);
    until("the log tells of it", || broker.log().contains("TakenOver"));
}

#[test]
fn wills_are_for_clients_that_vanish_and_not_for_those_that_say_goodbye_mqtt_3_1_2_8() {
    let broker = Broker::start();
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("will/#", 1);
    for (id, level) in [("old", 4), ("new", 5)] {
        let will = Some(("will/of", id, 1, true));
        let mut polite = broker.raw();
        polite.send(&Connect { will, level, ..Connect::new(id) }.bytes());
        polite.packet();
        polite.send(&[0xe0, 0]);
        polite.expect_closed();
        let mut rude = broker.raw();
        rude.send(&Connect { will, level, ..Connect::new(id) }.bytes());
        rude.packet();
        drop(rude);
        let got = watcher.packet();
        assert!(got.starts_with(&[0x32]) && got.ends_with(id.as_bytes()), "{got:02x?}");
        let [.., high, low] = got[..got.len() - id.len()] else { panic!("no packet id") };
        watcher.send(&[0x40, 2, high, low]);
        watcher.expect_silence();
    }
    let mut later = broker.raw();
    later.connect("later");
    later.subscribe("will/of", 0);
    later.expect(&publish(1, "will/of", None, b"new"));
    // 5.0: "disconnect with will message".
    let mut asks = broker.raw();
    asks.send(&Connect { will: Some(("will/asked", "for", 0, false)), ..Connect::v5("asks") }.bytes());
    asks.packet();
    asks.send(&[0xe0, 1, 4]);
    watcher.expect(&publish(0, "will/asked", None, b"for"));
}

#[test]
fn a_client_that_falls_silent_is_disconnected_and_its_will_published_mqtt_3_1_2_24() {
    let broker = Broker::start();
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("silence", 0);
    let mut silent = broker.raw();
    let connect =
        Connect { keep_alive: 1, will: Some(("silence", "fell", 0, false)), ..Connect::new("silent") };
    silent.send(&connect.bytes());
    silent.expect(&connack(false, 0));
    let mut lively = broker.raw();
    lively.send(&Connect { id: "lively", ..connect }.bytes());
    lively.expect(&connack(false, 0));
    lively.0.set_nonblocking(true).expect("a live socket");
    // The lively one pings all the while, and is not disconnected.
    let mut fell = false;
    watcher.0.set_nonblocking(true).expect("a live socket");
    let mut buffer = Vec::new();
    until("the silent one's will comes", || {
        lively.send(&PINGREQ);
        let mut answers = [0; 4_096];
        while std::io::Read::read(&mut lively.0, &mut answers).is_ok_and(|count| count > 0) {}
        let mut bytes = [0; 64];
        if let Ok(count) = std::io::Read::read(&mut watcher.0, &mut bytes) {
            buffer.extend_from_slice(&bytes[..count]);
        }
        fell |= buffer == publish(0, "silence", None, b"fell");
        fell
    });
    silent.expect_closed();
    lively.0.set_nonblocking(false).expect("a live socket");
    lively.send(&publish(0, "lively", None, b"still here"));
    lively.send(&subscribe(5, "x", 0));
    loop {
        let packet = lively.packet();
        if packet != [0xd0, 0] {
            assert_eq!(packet, suback(5, 0));
            break;
        }
    }
}

#[test]
fn a_session_of_5_0_lives_as_long_as_it_asked_to_mqtt_3_1_2_23() {
    let broker = Broker::start();
    let asks = |seconds: u8| [0x11, 0, 0, 0, seconds];
    let connect = |properties: &[u8], clean| {
        let mut raw = broker.raw();
        raw.send(&Connect { properties, clean, ..Connect::v5("five") }.bytes());
        let connack = raw.packet();
        (raw, connack[2] == 1)
    };
    let (mut first, present) = connect(&asks(100), true);
    assert!(!present);
    first.send(&crate::support::packet(0x82, &[&[0, 1, 0], &crate::support::text("kept"), &[1]]));
    first.packet();
    drop(first);
    let mut publisher = publisher(&broker);
    publisher.send(&publish(2, "kept", Some(1), b"x"));
    publisher.expect(&[0x40, 2, 0, 1]);
    let (mut second, present) = connect(&asks(1), false);
    assert!(present);
    second.expect(&publish_v5(2, "kept", Some(1), &[], b"x"));
    second.send(&[0x40, 2, 0, 1]);
    // It ends with the connection after all: the client asks for 0 when it leaves.
    second.send(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]);
    second.expect_closed();
    let (_, present) = connect(&asks(1), false);
    assert!(!present);
}
