//! WebSocket's part of the message path: unmasking what clients send, and the header in front of what they are sent.
//!
//! The figures to look at are bytes per second of frames with one small message each, which is what most clients send, and
//! of large ones, where unmasking is all there is.

#[path = "support/suite.rs"]
mod suite;

use criterion::{BenchmarkId, Criterion, Throughput};
use pantala::websocket::{Ask, Decoder, Encoder, Rules, Subprotocol, Upgrade, masked};
use std::hint::black_box;

/// What a connection is read of at once.
const READ: usize = 256 << 10;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// As many frames of so many bytes as one read has.
fn frames(payload: usize) -> (Vec<u8>, usize) {
    let (mut frames, payload) = (Vec::new(), vec![b'x'; payload]);
    let mut count = 0;
    while frames.is_empty() || frames.len() + payload.len() + 14 <= READ {
        masked(&payload, KEY, &mut frames);
        count += 1;
    }
    (frames, count)
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("websocket/decode");
    for payload in [2, 64, 256, 280, 1_024, 16 << 10, READ - 14] {
        let (read, count) = frames(payload);
        let (mut scratch, mut decoder, mut encoder) =
            (read.clone(), Decoder::server(1 << 20), Encoder::server());
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("frames", payload), |b| {
            // Copying what was read stands for reading it; `copy` says what it costs.
            b.iter(|| {
                scratch.copy_from_slice(black_box(&read));
                let decoded = decoder.decode(&mut scratch, &mut encoder);
                assert_eq!(decoded.len, count * payload);
            });
        });
        group.bench_function(BenchmarkId::new("copy", payload), |b| {
            b.iter(|| {
                scratch.copy_from_slice(black_box(&read));
                black_box(&mut scratch);
            });
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("websocket/encode");
    let mut encoder = Encoder::server();
    for waiting in [64, 4_096, 1 << 20] {
        group.bench_function(BenchmarkId::new("header", waiting), |b| {
            b.iter(|| {
                let Some(next) = encoder.next(black_box(waiting)) else { return 0 };
                let count = black_box(next.head).len() + next.payload;
                encoder.advance(count)
            });
        });
    }
    group.finish();
}

fn upgrade(c: &mut Criterion) {
    let ask = Ask::new(*b"0123456789abcdef");
    let (request, rules) = (ask.request("broker.example.org", "/mqtt", Subprotocol::Mqtt), Rules::default());
    c.bench_function("websocket/upgrade", |b| {
        b.iter(|| Upgrade::default().read(black_box(&request), &rules).map(|read| read.is_some()));
    });
}

fn main() {
    let mut criterion = suite::criterion();
    decode(&mut criterion);
    encode(&mut criterion);
    upgrade(&mut criterion);
    criterion.final_summary();
}
