//! Retained messages: acknowledged, replayed, and in order with what comes live.

use super::*;

#[test]
fn retained_messages_follow_the_suback_with_retain_set() {
    let mut bench = Bench::single();
    bench.send(0, &connect("pub", true));
    bench.send(0, &publish(1, "a/1", None, "one"));
    bench.send(0, &publish(1, "a/2", None, "two"));
    bench.send(0, &publish(1, "a/1", None, ""));
    bench.send(1, &connect("sub", true));
    let got = bench.send(1, &subscribe("a/#", 1));
    assert_eq!(got, [suback(1), publish(1, "a/2", None, "two")].concat());
    bench.send(0, &publish(1, "a/2", None, "new"));
    assert_eq!(
        bench.taken(1),
        publish(0, "a/2", None, "new"),
        "RETAIN is cleared on what is live [MQTT-3.3.1-9]"
    );
}

#[test]
fn the_acknowledgement_of_a_retained_message_waits_for_its_keeper_and_later_ones_wait_for_it() {
    let mut bench = Bench::new(2, Limits::default());
    let elsewhere = |bench: &Bench, n: u32| bench.engine.retention.keeper(&format!("t{n}")) != ShardId(0);
    let topic = (0..).find(|&n| elsewhere(&bench, n)).map(|n| format!("t{n}")).unwrap();
    bench.send(0, &connect("pub", true));
    assert_eq!(bench.send(0, &publish(3, &topic, Some(1), "x")), b"");
    assert_eq!(bench.send(0, &publish(2, "unrelated", Some(2), "y")), b"");
    bench.hear(PeerMessage::RetainedAck { number: 1, durable: 1 });
    assert_eq!(bench.taken(0), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
}

#[test]
fn interest_is_acknowledged_only_once_earlier_retained_messages_are_stored() {
    let mut bench = Bench::new(2, Limits::default());
    bench.send(0, &connect("pub", true));
    (0..20).for_each(|n| drop(bench.send(0, &publish(1, &format!("t{n}"), None, "x"))));
    let sets = bench.fx.peers.drain(..).filter(|(_, m)| matches!(m, PeerMessage::RetainedSet(_))).count();
    assert!(sets > 0);
    bench.hear(PeerMessage::InterestAdd { filter: "#".into(), number: 1, lasting: false });
    assert!(bench.fx.peers.is_empty());
    bench.hear(PeerMessage::RetainedAck { number: sets as u64, durable: sets as u64 });
    assert!(matches!(&bench.fx.peers[..], [(1, PeerMessage::InterestAck { number: 1 })]));
}

#[test]
fn a_later_subscriber_waits_until_what_came_live_before_is_retained() {
    let mut bench = Bench::new(2, Limits::default());
    bench.send(0, &connect("first", true));
    bench.send(0, &subscribe("a", 0));
    bench.hear(PeerMessage::InterestAck { number: 1 });
    bench.send(1, &connect("second", true));
    assert_eq!(bench.send(1, &subscribe("a", 0)), suback(0), "all know the filter");
    let delivery = Delivery { qos: QoS::AtMostOnce, retain: true, received: bench.now, expiry: None };
    let message = Message::new("a", &[], b"x", delivery);
    bench.hear(PeerMessage::Publish { message, joint: None, publisher: None });
    bench.fx.peers.clear();
    // Its keeper may not have it yet.
    bench.send(2, &connect("third", true));
    assert_eq!(bench.send(2, &subscribe("a", 0)), b"");
    assert!(matches!(&bench.fx.peers[..], [(1, PeerMessage::InterestAdd { number: 2, .. })]));
    bench.hear(PeerMessage::InterestAck { number: 2 });
    assert!(bench.taken(2).starts_with(&suback(0)));
    bench.send(3, &connect("fourth", true));
    assert_eq!(
        bench.send(3, &subscribe("a", 0)),
        suback(0),
        "one announcement is enough for what came until then"
    );
}

#[test]
fn what_is_retained_and_comes_live_as_well_is_not_replayed_before_what_its_publisher_sent_earlier() {
    let mut bench = Bench::new(2, Limits::default());
    let elsewhere = |topic: &String| bench.engine.retention.keeper(topic) == ShardId(1);
    let topic = (0..).map(|n| format!("a/{n}")).find(elsewhere).unwrap();
    bench.send(0, &connect("sub", true));
    bench.send(0, &subscribe("a/#", 0));
    bench.hear(PeerMessage::InterestAck { number: 1 });
    bench.taken(0);
    let Some((1, PeerMessage::RetainedFetch(fetch))) = bench.fx.peers.pop() else { panic!() };
    let delivery = Delivery { qos: QoS::AtMostOnce, retain: true, received: bench.now, expiry: None };
    let [old, new] = [&b"old"[..], b"new"].map(|text| Message::new(&topic, &[], text, delivery));
    let live =
        |message: &Message| PeerMessage::Publish { message: message.clone(), joint: None, publisher: None };
    let (session, replay) = (fetch.session, fetch.replay);
    // The keeper was faster than the publisher's core.
    bench.hear(PeerMessage::RetainedChunk { session, replay, messages: vec![new.clone()], resume: None });
    assert_eq!(bench.taken(0), b"");
    bench.hear(live(&old));
    bench.hear(live(&new));
    bench.hear(PeerMessage::InterestAck { number: 2 });
    assert_eq!(bench.taken(0), [publish(0, &topic, None, "old"), publish(0, &topic, None, "new")].concat());
}

#[test]
fn no_local_does_not_keep_back_what_others_retained_since_mqtt_3_8_3_3() {
    let mut bench = Bench::new(2, Limits::default());
    let here = |topic: &String| bench.engine.retention.keeper(topic) == ShardId(0);
    let topic = (0..).map(|n| format!("a/{n}")).find(here).unwrap();
    bench.send(0, &packet(0x10, &[&text("MQTT"), &[5, 2, 0, 0, 0], &text("me")]));
    // Waits for the other core.
    assert_eq!(bench.send(0, &packet(0x82, &[&[0, 1, 0], &text("a/#"), &[4]])), b"");
    bench.send(0, &packet(0x31, &[&text(&topic), &[0], b"mine"]));
    let delivery = Delivery { qos: QoS::AtMostOnce, retain: true, received: bench.now, expiry: None };
    bench.hear(PeerMessage::RetainedSet(Message::new(&topic, &[], b"theirs", delivery)));
    bench.hear(PeerMessage::InterestAck { number: 1 });
    assert!(bench.taken(0).ends_with(&packet(0x31, &[&text(&topic), &[0], b"theirs"])));
}
