//! The engine alone: bytes in, bytes out. What several engines do together is for `tests/sim`.

mod auth;
mod handover;
mod joint;
mod retained;
mod share;
mod shelf;

use super::*;
use crate::codec::{Connect, Split, Version, decode, split};
use crate::session::connect::{ClientId, Identity};
use crate::types::limits::Overflow;
use crate::types::{Delivery, Features, Message, QoS, Rng, Span};

/// Effects that are looked at afterwards.
#[derive(Default)]
struct Recorder {
    out: std::collections::BTreeMap<u32, Vec<u8>>,
    closed: Vec<(u32, CloseReason)>,
    peers: Vec<(u16, PeerMessage)>,
    /// Connections whose output is full.
    full: Vec<u32>,
    batches: Vec<Batch>,
    fetches: Vec<Fetch>,
    /// Connections that are sent nothing.
    corked: Vec<u32>,
}

impl Effects for Recorder {
    fn persist(&mut self, batch: Batch) {
        self.batches.push(batch);
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.fetches.push(fetch);
    }

    fn cork(&mut self, conn: ConnKey, corked: bool) {
        self.corked.retain(|slot| *slot != conn.slot);
        self.corked.extend(corked.then_some(conn.slot));
    }

    fn hold(&mut self, _: ConnKey, _: bool) {}

    fn send(&mut self, conn: ConnKey, bytes: &[u8]) {
        self.out.entry(conn.slot).or_default().extend_from_slice(bytes);
    }
    fn offer(&mut self, conn: ConnKey, frame: &[u8]) -> bool {
        let room = !self.full.contains(&conn.slot);
        if room {
            self.send(conn, frame);
        }
        room
    }
    fn offer_shared(&mut self, conn: ConnKey, head: &[u8], payload: &Bytes) -> bool {
        self.offer(conn, &[head, payload].concat())
    }
    fn close(&mut self, conn: ConnKey, why: CloseReason) {
        self.closed.push((conn.slot, why));
    }
    fn peer(&mut self, to: ShardId, message: PeerMessage) {
        self.peers.push((to.0, message));
    }
    fn note(&mut self, _: ConnKey, _: Note<'_>) {}
}

struct Bench {
    engine: Engine,
    fx: Recorder,
    now: Now,
}

impl Bench {
    fn new(shards: u16, limits: Limits) -> Self {
        let setup = Setup::new(ShardId(0), shards, limits, HashSeed(Rng::new(7).next_u64()));
        Self { engine: Engine::new(setup), fx: Recorder::default(), now: Now(0) }
    }

    fn single() -> Self {
        Self::new(1, Limits::default())
    }

    /// Sends bytes on a connection, CONNECT included, and returns what came back on it.
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Vec<u8> {
        let conn = ConnKey { slot, generation: 0 };
        let mut rest = bytes;
        while !rest.is_empty() {
            let Ok(Split::Whole { frame, len }) = split(rest, 1 << 20) else { panic!("a whole packet") };
            match decode(frame, Version::V311) {
                Ok(Packet::Connect(connect)) => self.connect(conn, &connect),
                _ => self.engine.packet(self.now, conn, frame, None, &mut self.fx),
            }
            rest = &rest[len..];
        }
        self.engine.turn_end(self.now, &mut self.fx);
        self.taken(slot)
    }

    fn connect(&mut self, conn: ConnKey, connect: &Connect<'_>) {
        let client = match Identity::of(connect) {
            Identity::Given(text) => ClientId { text, assigned: false },
            Identity::Assign => ClientId { text: "assigned", assigned: true },
            Identity::Refused => ClientId { text: "", assigned: false },
        };
        self.engine.connect(self.now, conn, connect, client, &mut self.fx);
    }

    /// What was sent to a connection since the last look.
    fn taken(&mut self, slot: u32) -> Vec<u8> {
        self.fx.out.remove(&slot).unwrap_or_default()
    }

    fn lost(&mut self, slot: u32) {
        self.engine.lost(self.now, ConnKey { slot, generation: 0 }, &mut self.fx);
    }

    fn wait(&mut self, span: Span) {
        let until = self.now + span;
        while let Some(next) = self.engine.next_deadline().filter(|&next| next <= until) {
            self.now = self.now.max(next);
            self.engine.tick(self.now, &mut self.fx);
        }
        self.now = until;
    }

    fn hear(&mut self, message: PeerMessage) {
        self.engine.peer(self.now, ShardId(1), message, &mut self.fx);
        self.engine.turn_end(self.now, &mut self.fx);
    }
}

fn text(s: &str) -> Vec<u8> {
    [&u16::try_from(s.len()).unwrap().to_be_bytes()[..], s.as_bytes()].concat()
}

fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    assert!(body.len() < 128);
    [&[first, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

/// 3.1.1, keep alive 10 s.
fn connect(id: &str, clean: bool) -> Vec<u8> {
    packet(0x10, &[&text("MQTT"), &[4, if clean { 2 } else { 0 }, 0, 10], &text(id)])
}

fn connect_with_will(id: &str, topic: &str, payload: &str) -> Vec<u8> {
    packet(0x10, &[&text("MQTT"), &[4, 0x06, 0, 10], &text(id), &text(topic), &text(payload)])
}

fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1], &text(filter), &[qos]])
}

fn publish(flags: u8, topic: &str, id: Option<u16>, payload: &str) -> Vec<u8> {
    let id = id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default();
    packet(0x30 | flags, &[&text(topic), &id, payload.as_bytes()])
}

const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];
const RESUMED: [u8; 4] = [0x20, 2, 1, 0];
const DISCONNECT: [u8; 2] = [0xe0, 0];

fn suback(qos: u8) -> Vec<u8> {
    vec![0x90, 3, 0, 1, qos]
}

#[test]
fn a_message_reaches_its_subscribers_and_nobody_else() {
    let mut bench = Bench::single();
    assert_eq!(bench.send(0, &connect("sub", true)), ACCEPTED);
    assert_eq!(bench.send(0, &subscribe("a/+", 0)), suback(0));
    bench.send(1, &connect("other", true));
    bench.send(1, &subscribe("b/#", 0));
    bench.send(2, &connect("pub", true));
    assert_eq!(bench.send(2, &publish(0, "a/1", None, "x")), b"");
    assert_eq!(bench.taken(0), publish(0, "a/1", None, "x"));
    assert_eq!(bench.taken(1), b"");
}

#[test]
fn qos_1_is_acknowledged_and_delivered_with_an_id_of_its_own() {
    let mut bench = Bench::single();
    bench.send(0, &connect("sub", true));
    bench.send(0, &subscribe("a", 1));
    bench.send(1, &connect("pub", true));
    assert_eq!(bench.send(1, &publish(2, "a", Some(77), "x")), [0x40, 2, 0, 77]);
    assert_eq!(bench.taken(0), publish(2, "a", Some(1), "x"));
}

#[test]
fn qos_2_is_delivered_once_though_sent_twice_mqtt_4_3_3_10() {
    let mut bench = Bench::single();
    bench.send(0, &connect("sub", true));
    bench.send(0, &subscribe("a", 2));
    bench.send(1, &connect("pub", false));
    assert_eq!(bench.send(1, &publish(4, "a", Some(5), "x")), [0x50, 2, 0, 5]);
    bench.lost(1);
    assert_eq!(bench.send(1, &connect("pub", false)), RESUMED);
    assert_eq!(bench.send(1, &publish(0xc, "a", Some(5), "x")), [0x50, 2, 0, 5]);
    assert_eq!(bench.send(1, &[0x62, 2, 0, 5]), [0x70, 2, 0, 5]);
    assert_eq!(bench.taken(0), publish(4, "a", Some(1), "x"));
    assert_eq!(bench.send(0, &[0x50, 2, 0, 1]), [0x62, 2, 0, 1]);
    assert_eq!(bench.send(0, &[0x70, 2, 0, 1]), b"");
}

#[test]
fn a_persistent_session_gets_what_came_meanwhile_and_what_it_did_not_acknowledge() {
    let mut bench = Bench::single();
    bench.send(0, &connect("sub", false));
    bench.send(0, &subscribe("a", 1));
    bench.send(1, &connect("pub", true));
    bench.send(1, &publish(2, "a", Some(1), "first"));
    assert_eq!(bench.taken(0), publish(2, "a", Some(1), "first"));
    bench.lost(0);
    bench.send(1, &publish(2, "a", Some(2), "second"));
    bench.send(1, &publish(0, "a", None, "qos 0 is not kept"));
    let back = [&RESUMED[..], &publish(0xa, "a", Some(1), "first"), &publish(2, "a", Some(2), "second")];
    assert_eq!(bench.send(0, &connect("sub", false)), back.concat());
    assert_eq!(bench.engine.report().counters.dropped.offline, 1);
    assert_eq!(bench.send(0, &connect("sub", true)), ACCEPTED, "clean start forgets it all");
}

#[test]
fn a_second_connection_takes_the_client_id_over_mqtt_3_1_4_2() {
    let mut bench = Bench::single();
    bench.send(0, &connect("c", false));
    bench.send(0, &subscribe("a", 1));
    assert_eq!(bench.send(1, &connect("c", false)), RESUMED);
    assert_eq!(bench.fx.closed, [(0, CloseReason::TakenOver)]);
    bench.send(2, &connect("pub", true));
    bench.send(2, &publish(2, "a", Some(1), "x"));
    assert_eq!((bench.taken(0), bench.taken(1)), (vec![], publish(2, "a", Some(1), "x")));
    assert_eq!(bench.send(0, &[0xc0, 0]), b"", "the old connection is deaf");
}

#[test]
fn suback_waits_until_all_cores_know_the_filter() {
    let mut bench = Bench::new(2, Limits::default());
    bench.send(0, &connect("sub", true));
    assert_eq!(bench.send(0, &subscribe("a", 0)), b"");
    assert!(matches!(&bench.fx.peers[..], [(1, PeerMessage::InterestAdd { number: 1, .. })]));
    bench.hear(PeerMessage::InterestAck { number: 1 });
    assert_eq!(bench.taken(0), suback(0));
}

#[test]
fn a_message_goes_once_to_each_core_that_wants_it_and_never_back() {
    let mut bench = Bench::new(3, Limits::default());
    bench.hear(PeerMessage::InterestAdd { filter: "a/#".into(), number: 1, lasting: false });
    bench.hear(PeerMessage::InterestAdd { filter: "a/b".into(), number: 2, lasting: false });
    bench.fx.peers.clear();
    bench.send(0, &connect("pub", true));
    bench.send(0, &publish(0, "a/b", None, "x"));
    let [(1, PeerMessage::Publish { message, .. })] = &bench.fx.peers[..] else {
        panic!("{:?}", bench.fx.peers)
    };
    let message = message.clone();
    bench.fx.peers.clear();
    bench.hear(PeerMessage::Publish { message, joint: None, publisher: None });
    assert!(bench.fx.peers.is_empty());
}

#[test]
fn a_will_is_published_when_the_client_vanishes_and_not_when_it_says_goodbye() {
    let mut bench = Bench::single();
    bench.send(0, &connect("watcher", true));
    bench.send(0, &subscribe("will", 0));
    bench.send(1, &connect_with_will("a", "will", "gone"));
    bench.send(1, &DISCONNECT);
    assert_eq!(bench.taken(0), b"");
    bench.send(1, &connect_with_will("a", "will", "gone"));
    bench.lost(1);
    assert_eq!(bench.taken(0), publish(0, "will", None, "gone"));
}

#[test]
fn silence_of_one_and_a_half_keep_alives_ends_the_connection_mqtt_3_1_2_24() {
    let mut bench = Bench::single();
    bench.send(0, &connect_with_will("c", "w", "gone"));
    bench.wait(Span::from_secs(14));
    bench.send(0, &[0xc0, 0]);
    bench.wait(Span::from_secs(14));
    assert!(bench.fx.closed.is_empty());
    bench.wait(Span::from_secs(2));
    assert_eq!(bench.fx.closed, [(0, CloseReason::KeepAlive)]);
    assert_eq!(bench.engine.report().counters.wills, 1);
}

#[test]
fn a_session_expires_with_its_subscriptions() {
    let limits = Limits { session_expiry_max: Some(Span::from_secs(100)), ..Limits::default() };
    let mut bench = Bench::new(1, limits);
    bench.send(0, &connect("c", false));
    bench.send(0, &subscribe("a/#", 1));
    bench.lost(0);
    bench.wait(Span::from_secs(99));
    assert_eq!((bench.engine.report().sessions, bench.engine.report().subscriptions), (1, 1));
    bench.wait(Span::from_secs(2));
    assert_eq!((bench.engine.report().sessions, bench.engine.report().subscriptions), (0, 0));
    assert!(bench.engine.trie.is_empty());
}

#[test]
fn overlapping_subscriptions_get_one_copy_at_the_highest_qos_mqtt_3_3_5_1() {
    let mut bench = Bench::single();
    bench.send(0, &connect("sub", true));
    for (filter, qos) in [("a/#", 0), ("a/b", 1), ("+/b", 0)] {
        bench.send(0, &subscribe(filter, qos));
    }
    bench.send(1, &connect("pub", true));
    bench.send(1, &publish(4, "a/b", Some(9), "x"));
    assert_eq!(bench.taken(0), publish(2, "a/b", Some(1), "x"));
}

#[test]
fn a_full_output_drops_qos_0_and_holds_back_qos_1_until_it_drains() {
    let mut bench = Bench::single();
    bench.send(0, &connect("sub", true));
    bench.send(0, &subscribe("a", 1));
    bench.send(1, &connect("pub", true));
    bench.fx.full.push(0);
    bench.send(1, &publish(0, "a", None, "lost"));
    bench.send(1, &publish(2, "a", Some(1), "kept"));
    bench.send(1, &publish(2, "a", Some(2), "too"));
    let report = bench.engine.report();
    assert_eq!((report.counters.dropped.output_full, report.queued_messages), (1, 2));
    bench.fx.full.clear();
    bench.engine.writable(bench.now, ConnKey { slot: 0, generation: 0 }, &mut bench.fx);
    let got = [publish(2, "a", Some(1), "kept"), publish(2, "a", Some(2), "too")].concat();
    assert_eq!(bench.taken(0), got);
    assert_eq!(bench.engine.report().queued_bytes, 0);
}

#[test]
fn a_full_queue_disconnects_where_the_operator_wants_it_and_nobody_else_suffers() {
    let limits = Limits {
        queue_messages_max: 1,
        inflight_max: 1,
        overflow: Overflow::Disconnect,
        ..Limits::default()
    };
    let mut bench = Bench::new(1, limits);
    for (slot, id) in [(0, "slow"), (1, "fast")] {
        bench.send(slot, &connect(id, true));
        bench.send(slot, &subscribe("a", 1));
    }
    bench.send(2, &connect("pub", true));
    for id in 1..=3 {
        bench.send(2, &publish(2, "a", Some(id), "x"));
        bench.taken(1);
        bench.send(1, &[0x40, 2, 0, u8::try_from(id).unwrap()]);
    }
    assert_eq!(bench.fx.closed, [(0, CloseReason::QueueFull)]);
    assert_eq!(bench.engine.report().counters.dropped.queue_full, 1);
}

#[test]
fn an_empty_client_id_needs_a_clean_session_in_3_1_1_mqtt_3_1_3_8() {
    let mut bench = Bench::single();
    assert_eq!(bench.send(0, &connect("", true)), ACCEPTED);
    assert_eq!(bench.send(1, &connect("", false)), [0x20, 2, 0, 2]);
    assert_eq!(bench.fx.closed, [(1, CloseReason::Refused)]);
}

#[test]
fn clients_cannot_publish_what_the_broker_says_of_itself() {
    let mut bench = Bench::single();
    bench.send(0, &connect("c", true));
    bench.send(0, &subscribe("$SYS/#", 0));
    bench.send(0, &publish(0, "$SYS/broker/uptime", None, "0"));
    assert_eq!(bench.taken(0), b"");
    assert_eq!(bench.engine.report().counters.dropped.reserved_topic, 1);
}

#[test]
fn a_violation_ends_the_connection_and_publishes_its_will() {
    let mut bench = Bench::single();
    bench.send(0, &connect_with_will("bad", "w", "gone"));
    bench.engine.packet(
        bench.now,
        ConnKey { slot: 0, generation: 0 },
        Frame { first: 0x30, body: &[0, 3, b'a', b'/', b'#'] },
        None,
        &mut bench.fx,
    );
    assert_eq!(bench.fx.closed, [(0, CloseReason::Violation)]);
    assert_eq!(bench.engine.report().counters.violations, 1);
}
