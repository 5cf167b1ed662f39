//! One client's window and queue: taking a place and acknowledging it, queueing and draining, taking up a session with
//! messages in flight.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use pantala::session::{Awaiting, Outbound, PacketIds, Queue, Queued, Resend};
use pantala::types::{Delivery, Limits, Message, Now, PacketId, QoS};
use std::hint::black_box;
use std::sync::Arc;

/// `cargo bench` says `--bench`; anything else is criterion's test mode.
fn quick() -> bool {
    std::env::args().all(|arg| arg != "--bench")
}

/// Messages in flight or in the queue.
fn sizes() -> &'static [u16] {
    if quick() { &[1, 16] } else { &[1, 16, 256, 4_096] }
}

fn queued() -> Queued {
    let delivery = Delivery { qos: QoS::AtLeastOnce, retain: false, received: Now(0), expiry: None };
    let message = Message::new("plant/7/line/3/temperature", &[], &[b'x'; 64], delivery);
    Queued { message: Arc::new(message), qos: QoS::AtLeastOnce, retain: false, ids: None, share: None }
}

/// A window with so many messages in flight, in the order of their packet ids.
fn window(in_flight: u16, kept: bool) -> (Outbound, Vec<PacketId>) {
    let (mut window, message) = (Outbound::default(), queued());
    window.resume(u16::MAX);
    let take = |_| window.take(QoS::AtLeastOnce, || kept.then(|| message.clone())).expect("it has room");
    let ids = (0..in_flight).map(take).collect();
    (window, ids)
}

fn packet_ids(c: &mut Criterion) {
    let mut ids = PacketIds::default();
    c.bench_function("session/packet id, taken and given back", |b| {
        b.iter(|| {
            let id = ids.take().expect("one is free");
            ids.give_back(black_box(id));
        });
    });
}

/// What QoS 1 costs the session per message, with so many others in flight.
fn take_and_acknowledge(c: &mut Criterion) {
    let message = queued();
    for (name, kept) in [("clean", false), ("persistent", true)] {
        let mut group = c.benchmark_group(format!("session/take and acknowledge, {name}"));
        for &in_flight in sizes() {
            let (mut window, _) = window(in_flight, kept);
            group.bench_function(BenchmarkId::from_parameter(in_flight), |b| {
                b.iter(|| {
                    let id = window.take(QoS::AtLeastOnce, || kept.then(|| message.clone()));
                    window.acknowledged(id.expect("it has room"), Awaiting::PubAck)
                });
            });
            assert_eq!(window.len(), usize::from(in_flight));
        }
        group.finish();
    }
}

fn exactly_once(c: &mut Criterion) {
    let (mut window, _) = window(16, false);
    c.bench_function("session/take, PUBREC and PUBCOMP", |b| {
        b.iter(|| {
            let id = window.take(QoS::ExactlyOnce, || None).expect("it has room");
            window.received(id) && window.acknowledged(id, Awaiting::PubComp)
        });
    });
}

/// What a message costs that waits first.
fn queue(c: &mut Criterion) {
    let (limits, message) = (Limits::default(), queued());
    let mut group = c.benchmark_group("session/push and pop");
    for &waiting in sizes() {
        let mut queue = Queue::default();
        for _ in 0..waiting {
            queue.push(message.clone(), &limits);
        }
        group.bench_function(BenchmarkId::from_parameter(waiting), |b| {
            b.iter(|| {
                queue.push(black_box(message.clone()), &limits);
                queue.pop()
            });
        });
        assert_eq!(queue.len(), usize::from(waiting));
    }
    group.finish();
}

/// A client is back: everything in flight is put in order, sent again and acknowledged.
fn resume(c: &mut Criterion) {
    let mut group = c.benchmark_group("session/resume");
    for &in_flight in sizes() {
        group.throughput(Throughput::Elements(u64::from(in_flight)));
        group.bench_function(BenchmarkId::from_parameter(in_flight), |b| {
            b.iter_batched(
                || window(in_flight, true),
                |(mut window, ids)| {
                    window.resume(u16::MAX);
                    while let Some(Resend::Publish(..)) = window.next_resend() {
                        window.resent();
                    }
                    for id in ids {
                        window.acknowledged(id, Awaiting::PubAck);
                    }
                    assert!(window.is_empty() && window.ready(), "all was sent again and acknowledged");
                    window
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    packet_ids(&mut criterion);
    take_and_acknowledge(&mut criterion);
    exactly_once(&mut criterion);
    queue(&mut criterion);
    resume(&mut criterion);
    criterion.final_summary();
}
