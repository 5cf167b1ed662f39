//! The way of a message allocates nothing once its buffers have grown: 1 publisher, 100 subscribers, 1,000 messages.
//!
//! A counting allocator is the one thing here that needs `unsafe`: it passes every call on to the system's.
#![expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use bytes::{Bytes, BytesMut};
use pantala::auth::acl::{Acl, Action, Decisions, Who};
use pantala::codec::{
    Connect, Packet, Properties, PropertiesBuf, Property, Publish, Split, Subscribe, SubscribeFilters,
    SubscriptionOptions, Version, split,
};
use pantala::engine::{Batch, CloseReason, Effects, Engine, Fetch, Introduction, Note, PeerMessage, Setup};
use pantala::session::connect::ClientId;
use pantala::topic::TopicName;
use pantala::types::{ConnKey, Delivery, HashSeed, Limits, Message, Now, PacketId, QoS, ShardId};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

const SUBSCRIBERS: u32 = 100;
const PUBLISHER: ConnKey = ConnKey { slot: SUBSCRIBERS, generation: 0 };
/// Messages until all buffers have grown.
const WARM_UP: u64 = 100;
const MESSAGES: u64 = 1_000;

thread_local! {
    // The test harness has threads of its own, which are not counted.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes on to `System` as it came; the counter is a thread's own and needs no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the promises that `GlobalAlloc::alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above, and the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Outputs and links as a shard has them: memory that stays.
struct Outputs {
    of: Vec<Vec<u8>>,
    forwarded: Vec<PeerMessage>,
    offered: u64,
}

impl Effects for Outputs {
    fn persist(&mut self, _: Batch) {}

    fn fetch(&mut self, _: Fetch) {}

    fn cork(&mut self, _: ConnKey, _: bool) {}

    fn hold(&mut self, _: ConnKey, _: bool) {}

    fn send(&mut self, conn: ConnKey, bytes: &[u8]) {
        self.of[conn.slot as usize].extend_from_slice(bytes);
    }

    fn offer(&mut self, conn: ConnKey, frame: &[u8]) -> bool {
        self.offered += 1;
        self.send(conn, frame);
        true
    }

    fn offer_shared(&mut self, conn: ConnKey, head: &[u8], payload: &Bytes) -> bool {
        self.send(conn, head);
        self.offer(conn, payload)
    }

    fn close(&mut self, conn: ConnKey, why: CloseReason) {
        panic!("{conn:?} was closed: {why:?}");
    }

    fn peer(&mut self, _: ShardId, message: PeerMessage) {
        self.forwarded.push(message);
    }

    fn note(&mut self, _: ConnKey, _: Note<'_>) {}
}

struct Broker {
    engine: Engine,
    outputs: Outputs,
    /// What all clients speak.
    version: Version,
    /// What they publish and subscribe with.
    qos: QoS,
}

impl Broker {
    /// One core among several, with all clients connected, all but one of them subscribed to the topic.
    fn new(version: Version, qos: QoS, cores: u16) -> Self {
        let setup = Setup::new(ShardId(0), cores, Limits::default(), HashSeed(1));
        let of = (0..=SUBSCRIBERS).map(|_| Vec::with_capacity(4_096)).collect();
        let outputs = Outputs { of, forwarded: Vec::with_capacity(4_096), offered: 0 };
        let mut broker = Self { engine: Engine::new(setup), outputs, version, qos };
        for slot in 0..=SUBSCRIBERS {
            let conn = ConnKey { slot, generation: 0 };
            broker.connect(conn);
            if conn != PUBLISHER {
                broker.subscribe(conn, "site/+/state");
            }
        }
        for core in (1..cores).map(ShardId) {
            let interest = PeerMessage::InterestAdd { filter: "site/#".into(), number: 1, lasting: false };
            broker.engine.peer(Now(0), core, interest, &mut broker.outputs);
        }
        broker.turn_end();
        broker
    }

    fn connect(&mut self, conn: ConnKey) {
        let client = format!("client-{}", conn.slot);
        let connect = Connect {
            version: self.version,
            clean_start: true,
            keep_alive_s: 60,
            properties: Properties::EMPTY,
            client_id: &client,
            will: None,
            username: None,
            password: None,
        };
        let client = ClientId { text: &client, assigned: false };
        self.engine.connect(Now(0), conn, &connect, client, &mut self.outputs);
    }

    fn subscribe(&mut self, conn: ConnKey, filter: &str) {
        let mut block = BytesMut::new();
        SubscribeFilters::write(&mut block, filter, SubscriptionOptions::of(self.qos));
        let subscribe = Subscribe {
            packet_id: PacketId::MIN,
            properties: Properties::EMPTY,
            filters: SubscribeFilters::parse(&block, self.version).expect("a filter"),
        };
        let packet = encode(&Packet::Subscribe(subscribe), self.version);
        self.packet(conn, &packet);
    }

    fn packet(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Ok(Split::Whole { frame, .. }) = split(bytes, 1 << 20) else { panic!("{bytes:02x?}") };
        self.engine.packet(Now(0), conn, frame, None, &mut self.outputs);
    }

    /// As if a shard had written and sent everything.
    fn turn_end(&mut self) {
        self.engine.turn_end(Now(0), &mut self.outputs);
        self.outputs.of.iter_mut().for_each(Vec::clear);
        self.outputs.forwarded.clear();
    }

    /// One message to everybody, acknowledged by everybody for good.
    fn round(&mut self, publish: &[u8]) {
        self.packet(PUBLISHER, publish);
        for slot in 0..SUBSCRIBERS {
            let conn = ConnKey { slot, generation: 0 };
            let frame = &self.outputs.of[slot as usize];
            let topic = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
            let (high, low) = (frame[4 + topic], frame[5 + topic]);
            match self.qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => self.packet(conn, &[0x40, 2, high, low]),
                QoS::ExactlyOnce => {
                    self.packet(conn, &[0x50, 2, high, low]);
                    self.packet(conn, &[0x70, 2, high, low]);
                }
            }
        }
        if self.qos == QoS::ExactlyOnce {
            self.packet(PUBLISHER, &[0x62, 2, 0, 1]);
        }
        self.turn_end();
    }

    /// Allocations of so many messages, once everything has its size.
    fn allocations(&mut self, properties: Properties<'_>) -> u64 {
        let publish = Publish {
            dup: false,
            qos: self.qos,
            retain: false,
            topic: "site/7/state",
            packet_id: (self.qos != QoS::AtMostOnce).then_some(PacketId::MIN),
            properties,
            payload: &[b'x'; 64],
        };
        let bytes = encode(&Packet::Publish(publish), self.version);
        (0..WARM_UP).for_each(|_| self.round(&bytes));
        let (offered, before) = (self.outputs.offered, ALLOCATIONS.get());
        (0..MESSAGES).for_each(|_| self.round(&bytes));
        let count = ALLOCATIONS.get() - before;
        let delivered = self.outputs.offered - offered;
        assert_eq!(delivered, MESSAGES * u64::from(SUBSCRIBERS), "all of them were delivered");
        count
    }
}

fn encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    packet.encode(version, &mut bytes);
    bytes.to_vec()
}

#[test]
fn the_allocator_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

#[test]
fn qos_0_fan_out_is_allocation_free() {
    for version in [Version::V311, Version::V5] {
        let mut broker = Broker::new(version, QoS::AtMostOnce, 1);
        assert_eq!(broker.allocations(Properties::EMPTY), 0, "{version:?}");
    }
}

#[test]
fn qos_1_and_2_among_clean_sessions_are_allocation_free() {
    for (version, qos) in [
        (Version::V311, QoS::AtLeastOnce),
        (Version::V5, QoS::AtLeastOnce),
        (Version::V311, QoS::ExactlyOnce),
        (Version::V5, QoS::ExactlyOnce),
    ] {
        let mut broker = Broker::new(version, qos, 1);
        assert_eq!(broker.allocations(Properties::EMPTY), 0, "{version:?} {qos:?}");
    }
}

#[test]
fn properties_that_are_passed_on_cost_no_allocation() {
    let mut properties = PropertiesBuf::default();
    properties.push(Property::ContentType("text/plain"));
    properties.push(Property::UserProperty(("name", "value")));
    let mut broker = Broker::new(Version::V5, QoS::AtMostOnce, 1);
    assert_eq!(broker.allocations(properties.as_properties()), 0);
}

/// The message gets memory of its own: its bytes. Where several cores share them, also what counts who has them, and itself.
#[test]
fn a_message_for_one_other_core_costs_one_allocation_and_for_more_of_them_three() {
    for (cores, each) in [(2, 1), (3, 3), (16, 3)] {
        let mut broker = Broker::new(Version::V311, QoS::AtMostOnce, cores);
        assert_eq!(broker.allocations(Properties::EMPTY), each * MESSAGES, "{cores} cores");
    }
}

#[test]
fn a_message_of_another_core_is_delivered_without_an_allocation() {
    let mut broker = Broker::new(Version::V311, QoS::AtMostOnce, 2);
    let delivery = Delivery { qos: QoS::AtMostOnce, retain: false, received: Now(0), expiry: None };
    let message = |_| {
        let message = Message::new("site/7/state", &[], &[b'x'; 64], delivery);
        PeerMessage::Publish { message, joint: None, publisher: None }
    };
    let arrive = |broker: &mut Broker, messages: Vec<PeerMessage>| {
        for message in messages {
            broker.engine.peer(Now(0), ShardId(1), message, &mut broker.outputs);
            broker.turn_end();
        }
    };
    arrive(&mut broker, (0..WARM_UP).map(message).collect());
    let messages: Vec<_> = (0..MESSAGES).map(message).collect();
    let (offered, before) = (broker.outputs.offered, ALLOCATIONS.get());
    arrive(&mut broker, messages);
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!(broker.outputs.offered - offered, MESSAGES * u64::from(SUBSCRIBERS), "all were delivered");
}

#[test]
fn fan_out_under_ten_thousand_rules_is_allocation_free() {
    let mut broker = Broker::new(Version::V311, QoS::AtMostOnce, 1);
    let lines: String = (0..10_000).map(|i| format!("topic readwrite site/{i}/+/#\n")).collect();
    let acl = Acl::parse(format!("user ann\n{lines}").as_bytes(), 1, HashSeed(7)).expect("an ACL file");
    broker.engine.go_by(Some(Arc::new(acl)));
    for slot in 0..=SUBSCRIBERS {
        let introduction = Introduction { user: Some("ann".into()), ..Introduction::default() };
        broker.engine.introduce(ConnKey { slot, generation: 0 }, "c", introduction);
    }
    assert_eq!(broker.allocations(Properties::EMPTY), 0);
}

#[test]
fn a_decision_that_was_made_before_is_allocation_free() {
    let lines: String = (0..10_000).map(|i| format!("topic readwrite plant/{i}/+/#\n")).collect();
    let file = format!("user ann\n{lines}pattern read cmd/%c/#\n");
    let acl = Acl::parse(file.as_bytes(), 1, HashSeed(7)).expect("an ACL file");
    let who = Who { user: Some("ann"), client: "c", listener: "", subject: None, granted: None };
    let (standing, mut decisions) = (acl.standing(&who), Decisions::default());
    let mut decide = || {
        let before = ALLOCATIONS.get();
        for topic in ["plant/1/state", "plant/9999/a/b", "cmd/c/x"] {
            let name = TopicName::trusted(topic);
            assert!(decisions.decide(&acl, &standing, Action::Receive, name).allowed);
        }
        ALLOCATIONS.get() - before
    };
    assert!(decide() > 0, "it has to remember them first");
    assert_eq!(decide(), 0);
}
