//! The hot path allocates nothing: counted, not timed.

#![expect(unsafe_code, reason = "a global allocator that counts has to be one")]

use bytes::{Bytes, BytesMut};
use pantala::codec::{Connect, Packet, Properties, Split, Subscribe, SubscribeFilters, SubscriptionOptions};
use pantala::codec::{Version, split};
use pantala::engine::{CloseReason, Effects, Engine, Note, PeerMessage, Setup};
use pantala::session::connect::ClientId;
use pantala::types::{ConnKey, HashSeed, Limits, Now, PacketId, QoS, ShardId};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator as it is; counting allocates nothing, because the cell is
// const-initialised and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Outputs with room for everything that a test sends to them.
struct Outputs(Vec<Vec<u8>>);

impl Effects for Outputs {
    fn send(&mut self, conn: ConnKey, bytes: &[u8]) {
        self.0[conn.slot as usize].extend_from_slice(bytes);
    }
    fn offer(&mut self, conn: ConnKey, frame: &[u8]) -> bool {
        self.send(conn, frame);
        true
    }
    fn offer_shared(&mut self, conn: ConnKey, head: &[u8], _: &Bytes) -> bool {
        self.offer(conn, head)
    }
    fn close(&mut self, _: ConnKey, _: CloseReason) {}
    fn peer(&mut self, _: ShardId, _: PeerMessage) {}
    fn note(&mut self, _: ConnKey, _: Note<'_>) {}
}

const SUBSCRIBERS: u32 = 100;
const TOPIC: &str = "plant/7/line/3/temperature";

struct World {
    engine: Engine,
    outputs: Outputs,
    version: Version,
}

impl World {
    fn new(version: Version, qos: QoS) -> Self {
        let setup = Setup { shard: ShardId(0), shards: 1, limits: Limits::default(), seed: HashSeed(1) };
        let room = || Vec::with_capacity(1 << 20);
        let outputs = Outputs(std::iter::repeat_with(room).take(SUBSCRIBERS as usize + 1).collect());
        let mut world = Self { engine: Engine::new(setup), outputs, version };
        (0..=SUBSCRIBERS).for_each(|slot| world.connect(slot));
        let mut block = BytesMut::new();
        SubscribeFilters::write(&mut block, TOPIC, SubscriptionOptions::of(qos));
        let filters = SubscribeFilters::parse(&block, version).unwrap();
        let subscribe = Subscribe { packet_id: PacketId::MIN, properties: Properties::EMPTY, filters };
        let mut bytes = BytesMut::new();
        Packet::Subscribe(subscribe).encode(version, &mut bytes);
        (1..=SUBSCRIBERS).for_each(|slot| world.send(slot, &bytes));
        world.outputs.0.iter_mut().for_each(Vec::clear);
        world
    }

    fn connect(&mut self, slot: u32) {
        let id = format!("client-{slot}");
        let connect = Connect {
            version: self.version,
            clean_start: true,
            keep_alive_s: 0,
            properties: Properties::EMPTY,
            client_id: &id,
            will: None,
            username: None,
            password: None,
        };
        let conn = ConnKey { slot, generation: 0 };
        self.engine.connect(
            Now(0),
            conn,
            &connect,
            ClientId { text: &id, assigned: false },
            &mut self.outputs,
        );
    }

    fn send(&mut self, slot: u32, bytes: &[u8]) {
        let Ok(Split::Whole { frame, .. }) = split(bytes, 1 << 20) else { panic!("a whole packet") };
        self.engine.packet(Now(0), ConnKey { slot, generation: 0 }, frame, None, &mut self.outputs);
    }

    fn publish(&mut self, qos: QoS) {
        let mut bytes = vec![0x30 | (qos as u8) << 1, 0];
        bytes.extend([0, u8::try_from(TOPIC.len()).unwrap()]);
        bytes.extend(TOPIC.as_bytes());
        if qos != QoS::AtMostOnce {
            bytes.extend([0, 1]);
        }
        if self.version == Version::V5 {
            bytes.push(0);
        }
        bytes.extend([b'x'; 64]);
        bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
        // Caches, buffers and windows get their memory as they are used for the first time.
        self.rounds(qos, &bytes, WARM_UP);
        let before = ALLOCATIONS.get();
        self.rounds(qos, &bytes, 1_000);
        assert_eq!(ALLOCATIONS.get() - before, 0, "{:?} {qos:?}", self.version);
        let report = self.engine.report();
        let sent = u64::from(SUBSCRIBERS) * u64::from(WARM_UP + 1_000);
        assert_eq!(report.counters.publish_out[qos as usize], sent, "every message went out at once");
    }

    fn rounds(&mut self, qos: QoS, bytes: &[u8], rounds: u16) {
        for _ in 0..rounds {
            self.send(0, bytes);
            if qos == QoS::AtLeastOnce {
                for slot in 1..=SUBSCRIBERS {
                    // The packet id stands behind the topic of what the subscriber just got.
                    let at = 4 + TOPIC.len();
                    let got = &self.outputs.0[slot as usize];
                    let ack = [0x40, 2, got[at], got[at + 1]];
                    self.send(slot, &ack);
                }
            }
            self.outputs.0.iter_mut().for_each(Vec::clear);
        }
    }
}

const WARM_UP: u16 = 100;

#[test]
fn qos_0_fan_out_is_allocation_free() {
    for version in [Version::V311, Version::V5] {
        World::new(version, QoS::AtMostOnce).publish(QoS::AtMostOnce);
    }
}

#[test]
fn qos_1_among_clean_sessions_is_allocation_free() {
    for version in [Version::V311, Version::V5] {
        World::new(version, QoS::AtLeastOnce).publish(QoS::AtLeastOnce);
    }
}
