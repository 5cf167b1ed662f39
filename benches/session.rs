//! One client's window and queue: taking a place and acknowledging it, queueing and draining, taking up a session with
//! messages in flight.

#[path = "support/suite.rs"]
mod suite;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use pantala::session::{Awaiting, Outbound, Queue, Queued, Resend, Stored};
use pantala::types::{Delivery, Limits, Message, Now, PacketId, QoS};
use std::collections::VecDeque;
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
    let (message, qos, stored) = (Arc::new(message), QoS::AtLeastOnce, Stored::Never);
    Queued { message, seq: 0, qos, retain: false, ids: None, share: None, stored }
}

/// A window with so many messages in flight, in the order of their packet ids.
fn window(in_flight: u16, kept: bool) -> (Outbound, VecDeque<PacketId>) {
    let (mut window, message) = (Outbound::default(), queued());
    window.resume(u16::MAX);
    let take = |seq| window.take(seq, false, || kept.then(|| message.clone())).expect("it has room");
    let ids = (0..u64::from(in_flight)).map(take).collect();
    (window, ids)
}

/// What QoS 1 costs the session per message, with so many others in flight: the oldest is acknowledged.
fn take_and_acknowledge(c: &mut Criterion) {
    let message = queued();
    for (name, kept) in [("clean", false), ("persistent", true)] {
        let mut group = c.benchmark_group(format!("session/window/{name}"));
        for &in_flight in sizes() {
            let (mut window, mut ids) = window(in_flight, kept);
            let mut seq = u64::from(in_flight);
            group.bench_function(BenchmarkId::from_parameter(in_flight), |b| {
                b.iter(|| {
                    let id = window.take(seq, false, || kept.then(|| message.clone()));
                    seq += 1;
                    ids.push_back(id.expect("it has room"));
                    ids.pop_front().map(|id| window.acknowledged(id, Awaiting::PubAck))
                });
            });
            assert_eq!(window.len(), usize::from(in_flight));
        }
        group.finish();
    }
}

fn exactly_once(c: &mut Criterion) {
    let (mut window, _) = window(0, false);
    let mut seq = 0;
    c.bench_function("session/window/qos2/1", |b| {
        b.iter(|| {
            let id = window.take(seq, true, || None).expect("it has room");
            seq += 1;
            window.received(id).is_some() && window.acknowledged(id, Awaiting::PubComp).is_some()
        });
    });
}

/// What a message costs that waits first.
fn queue(c: &mut Criterion) {
    let (limits, message) = (Limits::default(), queued());
    let mut group = c.benchmark_group("session/queue");
    for &waiting in sizes() {
        let mut queue = Queue::default();
        for _ in 0..waiting {
            queue.push(message.clone(), &limits, drop);
        }
        group.bench_function(BenchmarkId::from_parameter(waiting), |b| {
            b.iter(|| {
                queue.push(black_box(message.clone()), &limits, drop);
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
    let mut criterion = suite::criterion();
    take_and_acknowledge(&mut criterion);
    exactly_once(&mut criterion);
    queue(&mut criterion);
    resume(&mut criterion);
    criterion.final_summary();
}
