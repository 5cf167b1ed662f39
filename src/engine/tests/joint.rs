//! Messages that another core asks the store for, with a part of this one.

use super::*;
use crate::engine::persist::StoreState;
use crate::session::Backlog;
use crate::types::{PacketId, SessionId};

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
fn qos_2_of_a_core_that_knows_of_no_lasting_session_is_sent_once_it_is_on_disk_too() {
    let mut bench = with_subscriber(Limits::default(), 2);
    let delivery = Delivery { qos: QoS::ExactlyOnce, retain: false, received: bench.now, expiry: None };
    let message = Message::new("a", &[], b"x", delivery);
    bench.hear(PeerMessage::Publish { message, joint: None, publisher: None });
    assert_eq!(bench.taken(0), b"", "after a crash nobody would know that the client has its packet id");
    bench.engine.durable(bench.now, 10, &mut bench.fx);
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

/// A core of two with a store, and a publisher with a kept session.
fn with_publisher() -> Bench {
    let setup =
        Setup { store: StoreState::Ready, ..Setup::new(ShardId(0), 2, Limits::default(), HashSeed(3)) };
    let mut bench = Bench { engine: Engine::new(setup), fx: Recorder::default(), now: Now(0) };
    bench.send(1, &connect("pub", false));
    bench.engine.durable(bench.now, 1, &mut bench.fx);
    bench
}

#[test]
fn qos_2_that_comes_again_on_a_new_connection_is_acknowledged_once_it_is_on_disk() {
    let mut bench = with_publisher();
    assert_eq!(bench.send(1, &publish(4, "a", Some(9), "x")), b"");
    bench.lost(1);
    assert_eq!(bench.send(2, &connect("pub", false)), RESUMED);
    assert_eq!(bench.send(2, &publish(0xc, "a", Some(9), "x")), b"", "it is on its way to the disk");
    bench.engine.durable(bench.now, 10, &mut bench.fx);
    assert_eq!(bench.taken(2), [0x50, 2, 0, 9]);
}

#[test]
fn pubrel_that_comes_again_on_a_new_connection_is_answered_once_the_release_is_on_disk() {
    let mut bench = with_publisher();
    bench.send(1, &publish(4, "a", Some(9), "x"));
    bench.engine.durable(bench.now, 2, &mut bench.fx);
    assert_eq!(bench.taken(1), [0x50, 2, 0, 9]);
    assert_eq!(bench.send(1, &packet(0x62, &[&[0, 9]])), b"");
    bench.lost(1);
    assert_eq!(bench.send(2, &connect("pub", false)), RESUMED);
    assert_eq!(bench.send(2, &packet(0x62, &[&[0, 9]])), b"", "the next message with this id might be lost");
    bench.engine.durable(bench.now, 10, &mut bench.fx);
    assert_eq!(bench.taken(2), [0x70, 2, 0, 9]);
}

#[test]
fn qos_2_that_comes_again_waits_for_the_core_that_retains_it() {
    let mut bench = with_publisher();
    let topic = kept_elsewhere(&bench);
    bench.send(1, &publish(5, &topic, Some(9), "x"));
    bench.lost(1);
    bench.send(2, &connect("pub", false));
    bench.send(2, &publish(0xd, &topic, Some(9), "x"));
    bench.engine.durable(bench.now, 10, &mut bench.fx);
    assert_eq!(bench.taken(2), b"", "its keeper has yet to say so");
    bench.hear(PeerMessage::RetainedAck { number: 1, durable: 1 });
    assert_eq!(bench.taken(2), [0x50, 2, 0, 9]);
}

#[test]
fn a_client_that_comes_back_hears_nothing_before_the_store_knows_unless_that_takes_nothing() {
    let mut bench = with_publisher();
    bench.lost(1);
    bench.engine.durable(bench.now, 2, &mut bench.fx);
    bench.send(2, &connect("pub", false));
    assert_eq!(bench.fx.corked, [2], "after a crash it would have been away since its former connection");
    bench.engine.durable(bench.now, 3, &mut bench.fx);
    assert!(bench.fx.corked.is_empty());
    bench.lost(2);
    bench.engine.store_is(StoreState::Refusing);
    assert_eq!(bench.send(3, &connect("pub", false)), RESUMED);
    assert!(bench.fx.corked.is_empty(), "it may be long before the store takes anything again");
}

#[test]
fn who_waits_to_hear_that_the_session_is_known_is_disconnected_when_the_store_is_stuck() {
    let mut bench = with_publisher();
    bench.send(2, &connect("sub", false));
    assert_eq!(bench.fx.corked, [2]);
    bench.engine.store_is(StoreState::Refusing);
    bench.engine.store_is_stuck(bench.now, &mut bench.fx);
    assert!(bench.fx.closed.contains(&(2, CloseReason::StoreRefuses)), "{:?}", bench.fx.closed);
}

/// A topic that the other core of two keeps.
fn kept_elsewhere(bench: &Bench) -> String {
    let elsewhere = |n: u32| bench.engine.retention.keeper(&format!("t{n}")) != ShardId(0);
    (0..).find(|&n| elsewhere(n)).map(|n| format!("t{n}")).unwrap()
}

#[test]
fn qos_2_that_could_not_be_retained_is_answered_once_the_store_has_forgotten_its_id() {
    let mut bench = with_publisher();
    let topic = kept_elsewhere(&bench);
    bench.send(1, &publish(5, &topic, Some(9), "x"));
    bench.engine.durable(bench.now, 2, &mut bench.fx);
    bench.hear(PeerMessage::RetainedRefused { number: 1 });
    bench.hear(PeerMessage::RetainedAck { number: 1, durable: 1 });
    assert_eq!(bench.taken(1), b"", "the next message with this id might be lost");
    bench.engine.durable(bench.now, 10, &mut bench.fx);
    assert_eq!(bench.taken(1), [0x50, 2, 0, 9]);
}

#[test]
fn nobody_is_told_of_a_session_before_it_is_on_disk_though_he_comes_twice() {
    let mut bench = with_publisher();
    bench.send(2, &connect("sub", false));
    assert_eq!(bench.fx.corked, [2]);
    bench.lost(2);
    assert_eq!(bench.send(3, &connect("sub", false)), RESUMED);
    assert_eq!(bench.fx.corked, [2, 3]);
    bench.engine.durable(bench.now, 10, &mut bench.fx);
    assert!(bench.fx.corked.is_empty());
    bench.lost(3);
    bench.send(4, &connect("sub", false));
    assert!(bench.fx.corked.is_empty(), "it is there for good");
}

/// A broker that gives a session back.
fn with_restored(client_id: &str, next_seq: u64, inbound: Vec<PacketId>, backlog: Backlog) -> Bench {
    let setup =
        Setup { store: StoreState::Ready, ..Setup::new(ShardId(0), 1, Limits::default(), HashSeed(3)) };
    let mut bench = Bench { engine: Engine::new(setup), fx: Recorder::default(), now: Now(0) };
    let session = RestoredSession { inbound, backlog, ..restored(1, client_id, next_seq) };
    bench.engine.restore(bench.now, Restored::Session(Box::new(session)), &mut bench.fx);
    bench
}

fn restored(id: u64, client_id: &str, next_seq: u64) -> RestoredSession {
    let stored = StoredSession {
        id: SessionId(id),
        client_id: client_id.into(),
        expiry: Some(Span::from_secs(100)),
        away: None,
        will: None,
        next_seq,
        unsent_from: None,
    };
    let (subscriptions, inbound, received) = Default::default();
    RestoredSession { stored, alive: Now(0), subscriptions, inbound, received, backlog: Backlog::default() }
}

#[test]
fn a_session_that_lost_its_connection_with_the_broker_is_away_since_then_however_often_that_starts() {
    let mut bench = with_restored("sub", 7, Vec::new(), Backlog::default());
    bench.now = Now(5_000);
    bench.engine.turn_end(bench.now, &mut bench.fx);
    let [Batch { ops, .. }] = &bench.fx.batches[..] else { panic!("{:?}", bench.fx.batches) };
    let [PersistOp::Session(stored)] = &ops[..] else { panic!("{ops:?}") };
    assert_eq!((stored.away, stored.unsent_from), (Some(Now(0)), None), "what was sent is not known");
}

#[test]
fn qos_2_of_an_earlier_run_is_retained_again_and_delivered_to_nobody_again() {
    let mut bench = with_restored("pub", 0, vec![PacketId::new(9).unwrap()], Backlog::default());
    bench.send(0, &connect("sub", true));
    bench.send(0, &subscribe("a", 0));
    bench.send(1, &connect("pub", false));
    bench.send(1, &publish(0xd, "a", Some(9), "x"));
    bench.engine.durable(bench.now, 10, &mut bench.fx);
    assert_eq!(bench.taken(1), [0x50, 2, 0, 9]);
    assert!(!bench.taken(0).ends_with(b"x"), "it was delivered in the earlier run");
    assert_eq!(bench.engine.report().retained_messages, 1);
}
