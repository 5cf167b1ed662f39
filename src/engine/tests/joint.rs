//! Messages that another core asks the store for, with a part of this one.

use super::*;
use crate::engine::persist::StoreState;

/// The second of two cores, with a store, and a client of it whose session is kept.
fn with_subscriber(limits: Limits, qos: u8) -> Bench {
    let setup = Setup { store: StoreState::Ready, ..Setup::new(ShardId(0), 2, limits, HashSeed(3)) };
    let mut bench = Bench { engine: Engine::new(setup), fx: Recorder::default(), now: Now(0) };
    bench.send(0, &connect("sub", false));
    bench.send(0, &subscribe("a", qos));
    bench.hear(PeerMessage::InterestAck { number: 1 });
    bench.engine.durable(bench.now, 2, &mut bench.fx);
    bench.taken(0);
    bench.fx.peers.clear();
    bench
}

/// The other core publishes something. Whether it is to tell when that is durable.
fn arrives(bench: &mut Bench, number: u64, qos: QoS) -> bool {
    let delivery = Delivery { qos, retain: false, received: bench.now, expiry: None };
    let message = Message::new("a", &[], b"x", delivery);
    bench.hear(PeerMessage::Publish { message, joint: Some(number), publisher: None });
    let told = std::mem::take(&mut bench.fx.peers);
    let [(1, PeerMessage::Part { number: part, to, tell })] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*part, to.len()), (number, 1));
    *tell
}

#[test]
fn qos_2_of_another_core_is_sent_once_that_has_it_on_disk() {
    let mut bench = with_subscriber(Limits::default(), 2);
    assert!(arrives(&mut bench, 5, QoS::ExactlyOnce));
    assert_eq!(bench.taken(0), b"", "it might be forgotten in a crash, and come again");
    bench.hear(PeerMessage::Kept { number: 5 });
    assert_eq!(bench.taken(0), publish(4, "a", Some(1), "x"));
}

#[test]
fn what_waits_of_another_core_is_not_left_to_the_store_before_that_has_it() {
    let limits = Limits { inflight_max: 1, queue_memory_bytes: 1, ..Limits::default() };
    let mut bench = with_subscriber(limits, 1);
    assert!(!arrives(&mut bench, 1, QoS::AtLeastOnce), "it was sent, and nobody waits for it");
    assert_eq!(bench.taken(0), publish(2, "a", Some(1), "x"));
    assert!(arrives(&mut bench, 2, QoS::AtLeastOnce));
    assert!(arrives(&mut bench, 3, QoS::AtLeastOnce));
    bench.engine.turn_end(bench.now, &mut bench.fx);
    // Nothing is fetched here: what is sent was in memory.
    for id in 1..3 {
        bench.send(0, &packet(0x40, &[&[0, id]]));
    }
    assert_eq!(bench.engine.report().queued_messages, 0);
}
