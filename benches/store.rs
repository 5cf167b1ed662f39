//! What the store costs per message, without a broker around it: requests are submitted and committed in groups, with
//! checkpoints when they are due, for sessions that sleep, and for sessions that acknowledge at once.
//!
//! The folder is a temporary one: `TMPDIR` says on which disk. Commits do not wait for that disk
//! ([`SyncMode::Os`]), so that what is seen is the work and not the waiting: for that see `benches/journal.rs`.

#[path = "support/suite.rs"]
mod suite;

use criterion::{BenchmarkId, Criterion, Throughput};
use pantala::engine::{Batch, PersistOp, Place, Recipient, StoredSession};
use pantala::session::ENTRY_BYTES;
use pantala::store::{MemorySettled, Options, RealDisk, Settled, SledOptions, SledSettled, Store, SyncMode};
use pantala::types::{Delivery, HashSeed, Message, Now, QoS, SessionId, ShardId};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Messages of a group.
const GROUP: u64 = 128;
const PAYLOAD: [u8; 64] = [b'x'; 64];
const TOPIC: &str = "sensors/kitchen/temperature";

/// `cargo bench` says `--bench`; anything else is criterion's test mode.
fn quick() -> bool {
    std::env::args().all(|arg| arg != "--bench")
}

/// A store and its sessions.
struct Bench<S> {
    store: Store<RealDisk>,
    settled: S,
    sessions: u64,
    seq: u64,
}

impl<S: Settled> Bench<S> {
    fn new(folder: &Path, mut settled: S, sessions: u64) -> Self {
        let options = Options { sync: SyncMode::Os, ..Options::default() };
        let disk = RealDisk::open(folder).expect("a folder");
        let mut store = Store::open(disk, &mut settled, options, HashSeed(7), 7).expect("a new store");
        let ops = (1..=sessions).map(|id| PersistOp::Session(Box::new(session(id)))).collect();
        store.submit(ShardId(0), Batch { ops, ..Batch::default() });
        store.commit(&mut |_, _| {}).expect("room");
        Self { store, settled, sessions, seq: 1 }
    }

    /// A group of messages, each for all sessions.
    fn messages(&mut self) {
        let mut batch = Batch::default();
        for seq in self.seq..self.seq + GROUP {
            let begin = u32::try_from(batch.to.len()).expect("few");
            batch.to.extend((1..=self.sessions).map(|session| recipient(session, seq)));
            let end = u32::try_from(batch.to.len()).expect("few");
            let (to, left) = (begin..end, end - begin);
            let message = Arc::new(message());
            batch.ops.push(PersistOp::Message { message, to, left, inbound: None, instead_of: None });
        }
        self.seq += GROUP;
        self.commit(batch);
    }

    /// All sessions acknowledge the last group.
    fn acknowledge(&mut self) {
        let size = u32::try_from(message().size() as u64 + ENTRY_BYTES).expect("small");
        let all = (self.seq - GROUP..self.seq).flat_map(|seq| (1..=self.sessions).map(move |id| (id, seq)));
        let places = all.map(|(id, seq)| Place { session: SessionId(id), seq, size });
        self.commit(Batch { ops: places.map(PersistOp::Done).collect(), ..Batch::default() });
    }

    fn commit(&mut self, batch: Batch) {
        self.store.submit(ShardId(0), batch);
        self.store.commit(&mut |_, _| {}).expect("room");
        if self.store.checkpoint_due()
            && let Some(checkpoint) = self.store.begin_checkpoint()
        {
            checkpoint.run(&mut self.settled).expect("room");
            drop(checkpoint);
            self.store.finish_checkpoint(Some(0)).expect("a disk");
        }
    }
}

fn session(id: u64) -> StoredSession {
    let client_id = format!("client-{id}").into();
    let id = SessionId(id);
    StoredSession { id, client_id, expiry: None, away: None, will: None, next_seq: 1, unsent_from: None }
}

fn recipient(session: u64, seq: u64) -> Recipient {
    let session = Some(SessionId(session));
    Recipient { session, seq, qos: QoS::AtLeastOnce, retain: false, ids: None, share: None }
}

fn message() -> Message {
    let (qos, received) = (QoS::AtLeastOnce, Now(1_000));
    Message::new(TOPIC, &[], &PAYLOAD, Delivery { qos, retain: false, received, expiry: None })
}

fn sled(folder: &Path) -> SledSettled {
    let options = SledOptions { reserve_bytes: 0, ..SledOptions::default() };
    SledSettled::open(&folder.join("settled"), options).expect("a new one")
}

fn with<S: Settled>(c: &mut Criterion, name: &str, settled: impl Fn(&Path) -> S) {
    let mut group = c.benchmark_group(format!("store/{name}"));
    group.sample_size(10);
    for sessions in [1, 10] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bench = Bench::new(&folder.path().join("journal"), settled(folder.path()), sessions);
        group.throughput(Throughput::Elements(GROUP));
        // Long enough for some checkpoints.
        group.measurement_time(Duration::from_secs(if quick() { 1 } else { 3 }));
        group.bench_function(BenchmarkId::new("come-and-go", sessions), |b| {
            b.iter(|| {
                bench.messages();
                bench.acknowledge();
            });
        });
        group.bench_function(BenchmarkId::new("stay", sessions), |b| b.iter(|| bench.messages()));
    }
    group.finish();
}

fn main() {
    let mut c = suite::criterion();
    with(&mut c, "memory", |_| MemorySettled::default());
    with(&mut c, "sled", sled);
    c.final_summary();
}
