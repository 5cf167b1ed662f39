//! Links between shards: items per second from one thread to another and within one, by size of batch.

#[path = "support/suite.rs"]
mod suite;

use criterion::{BenchmarkId, Criterion, Throughput};
use pantala::mesh::{Mesh, Port};
use pantala::types::ShardId;
use rustix::event::epoll;
use std::os::fd::OwnedFd;
use std::thread;

/// About the size of a message between shards.
type Item = [u64; 12];

const BATCHES: [usize; 3] = [1, 16, 256];
/// The broker's own room in a link.
const LINK_BATCHES: usize = 64;
const LEFT: ShardId = ShardId(0);
const RIGHT: ShardId = ShardId(1);
/// The last item of a run, which the receiver answers.
const END: Item = [u64::MAX; 12];

fn pair() -> (Port<Item>, Port<Item>) {
    let mut ports = Mesh::new(2, LINK_BATCHES).expect("two descriptors").into_iter();
    (ports.next().expect("two ports"), ports.next().expect("two ports"))
}

/// Where a thread sleeps until its doorbell rings.
struct Bed(OwnedFd);

impl Bed {
    fn new(port: &Port<Item>) -> Self {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor");
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&set, port.doorbell(), epoll::EventData::new_u64(0), edge).expect("a new set");
        Self(set)
    }

    fn sleep_unless_busy(&self, port: &mut Port<Item>) {
        if port.prepare_sleep() {
            let mut events = Vec::with_capacity(1);
            epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events), None).expect("no signals");
        }
        port.awake();
    }
}

fn one_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("mesh/one-thread");
    for batch in BATCHES {
        let (mut left, mut right) = pair();
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::from_parameter(batch), |b| {
            b.iter(|| {
                (0..batch as u64).for_each(|i| left.push(RIGHT, [i; 12]));
                left.flush();
                let mut sum = 0;
                right.drain(usize::MAX, &mut |_, item| sum += item[0]);
                sum
            });
        });
    }
    group.finish();
}

/// What a receiver does when nothing is there.
#[derive(Clone, Copy)]
enum Idle {
    /// Looks again at once, as a shard does that has clients to serve. Shows what a link costs.
    Looks,
    /// Sleeps, so that hardly a batch comes without a system call to wake it. Shows what a wake-up costs.
    Sleeps,
}

impl Idle {
    fn name(self) -> &'static str {
        match self {
            Self::Looks => "receiver-looks",
            Self::Sleeps => "receiver-sleeps",
        }
    }
}

/// Takes everything and answers each end, until two of them come at once.
fn receive(mut port: Port<Item>, idle: Idle) {
    let bed = Bed::new(&port);
    loop {
        let (mut ends, mut sum) = (0, 0u64);
        port.drain(usize::MAX, &mut |_, item| {
            sum = sum.wrapping_add(item[0]);
            ends += usize::from(item == END);
        });
        std::hint::black_box(sum);
        match (ends, idle) {
            (0, Idle::Looks) => std::hint::spin_loop(),
            (0, Idle::Sleeps) => bed.sleep_unless_busy(&mut port),
            (1, _) => {
                port.push(LEFT, END);
                port.flush();
            }
            _ => return,
        }
    }
}

/// Sends `batches` and waits for the answer. A sender that finds the link full sleeps, as does one with nothing to do.
fn send(port: &mut Port<Item>, bed: &Bed, batches: usize, batch: usize) {
    for sent in 1..=batches {
        (1..batch as u64).for_each(|i| port.push(RIGHT, [i; 12]));
        port.push(RIGHT, if sent == batches { END } else { [0; 12] });
        port.flush();
        while port.congested() {
            bed.sleep_unless_busy(port);
            port.flush();
        }
    }
    let mut answered = false;
    while !answered {
        port.drain(1, &mut |_, _| answered = true);
        if !answered {
            bed.sleep_unless_busy(port);
        }
    }
}

/// A sender with a receiver on another thread.
fn with_receiver(idle: Idle, run: impl FnOnce(&mut Port<Item>, &Bed)) {
    let (mut left, right) = pair();
    let bed = Bed::new(&left);
    let receiver = thread::spawn(move || receive(right, idle));
    run(&mut left, &bed);
    left.push(RIGHT, END);
    left.push(RIGHT, END);
    left.flush();
    receiver.join().expect("it ends when it is told to");
}

fn two_threads(c: &mut Criterion, idle: Idle, items: usize) {
    let mut group = c.benchmark_group(format!("mesh/two-threads/{}", idle.name()));
    for batch in BATCHES {
        let batches = items / batch;
        group.throughput(Throughput::Elements((batches * batch) as u64));
        with_receiver(idle, |left, bed| {
            group.bench_function(BenchmarkId::from_parameter(batch), |b| {
                b.iter(|| send(left, bed, batches, batch));
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = suite::criterion();
    one_thread(&mut criterion);
    two_threads(&mut criterion, Idle::Looks, 100_000);
    two_threads(&mut criterion, Idle::Sleeps, 10_000);
    with_receiver(Idle::Sleeps, |left, bed| {
        criterion.bench_function("mesh/round-trip/asleep", |b| b.iter(|| send(left, bed, 1, 1)));
    });
    criterion.final_summary();
}
