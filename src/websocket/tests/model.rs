//! Random streams beside a model that knows what they are made of, and random bytes, which make nothing panic.

use super::*;
use crate::types::Rng;

/// A stream and what has to come of it.
struct Stream {
    rng: Rng,
    bytes: Vec<u8>,
    expected: Seen,
    /// Whether a message is in pieces.
    fragmented: bool,
}

impl Stream {
    fn new(seed: u64) -> Self {
        let mut stream =
            Self { rng: Rng::new(seed), bytes: vec![], expected: Seen::default(), fragmented: false };
        for _ in 0..=stream.rng.below(12) {
            if stream.rng.chance(1, 4) { stream.control() } else { stream.data() }
        }
        if stream.rng.chance(2, 3) {
            stream.end();
        }
        stream
    }

    /// Payload of any length, often one at which a header changes.
    fn payload(&mut self, max: u64) -> Vec<u8> {
        let edges = [0, 1, 4, 7, 8, 63, 64, 65, 125, 126, 127, 65_535, 65_536];
        let len = match self.rng.below(8) {
            0 => self.rng.below(70_000),
            1..4 => *self.rng.pick(&edges),
            _ => self.rng.below(300),
        };
        (0..len.min(max)).map(|_| self.rng.next_u64().to_le_bytes()[0]).collect()
    }

    fn data(&mut self) {
        let (payload, fin) = (self.payload(u64::MAX), self.rng.chance(2, 3));
        let opcode = if self.fragmented { 0x00 } else { 0x02 };
        self.bytes.extend(frame(opcode | if fin { 0x80 } else { 0 }, &payload));
        self.expected.mqtt.extend(payload);
        self.fragmented = !fin;
    }

    fn control(&mut self) {
        let payload = self.payload(125);
        if self.rng.chance(1, 3) {
            self.bytes.extend(frame(0x8a, &payload));
        } else {
            self.bytes.extend(frame(0x89, &payload));
            self.expected.pongs.push(payload);
        }
    }

    /// A close or a violation, and more that nobody looks at.
    fn end(&mut self) {
        let code = 1000 + u16::try_from(self.rng.below(4)).unwrap();
        let violation = |violation: Violation| {
            (End::Violation(violation), reason(violation.code().number(), &violation.to_string()))
        };
        let (last, (end, close)) = match self.rng.below(6) {
            0 => (frame(0x88, b""), (End::Closed(None), vec![])),
            1 => (frame(0x88, &reason(code, "bye")), (End::Closed(CloseCode::new(code)), reason(code, ""))),
            2 => (frame(0x81, b"text"), violation(Violation::Text)),
            3 => (vec![0x82, 5, 1, 2, 3, 4, 5], violation(Violation::Unmasked)),
            4 if self.fragmented => (frame(0x82, b"new"), violation(Violation::Interleaved)),
            4 => (frame(0x80, b"more"), violation(Violation::Continuation)),
            _ => (frame(0x8b, b""), violation(Violation::Opcode(11))),
        };
        self.bytes.extend(last);
        let ignored = self.payload(100);
        self.bytes.extend(ignored);
        (self.expected.end, self.expected.close) = (Some(end), Some(close));
    }

    /// The stream in pieces of any length.
    fn pieces(&mut self) -> Vec<&[u8]> {
        let (mut pieces, mut rest) = (vec![], &self.bytes[..]);
        while !rest.is_empty() {
            let most = if self.rng.chance(1, 2) { 20 } else { 70_000 };
            let len = usize::try_from(self.rng.below(most)).unwrap().min(rest.len());
            let (piece, others) = rest.split_at(len);
            pieces.push(piece);
            rest = others;
        }
        pieces
    }
}

#[test]
fn random_streams_come_out_as_they_were_made() {
    for seed in 0..150 {
        let mut stream = Stream::new(seed);
        assert!(receive([&stream.bytes[..]]) == stream.expected, "seed {seed}, in one piece");
        for _ in 0..3 {
            let expected = std::mem::take(&mut stream.expected);
            assert!(receive(stream.pieces()) == expected, "seed {seed}");
            stream.expected = expected;
        }
    }
}

#[test]
fn streams_with_damage_mean_the_same_in_any_pieces() {
    for seed in 0..150 {
        let mut stream = Stream::new(seed);
        stream.bytes.truncate(2_000);
        for _ in 0..3 {
            let at = usize::try_from(stream.rng.below(stream.bytes.len() as u64)).unwrap();
            stream.bytes[at] = stream.rng.next_u64().to_le_bytes()[0];
        }
        let whole = receive([&stream.bytes[..]]);
        assert_eq!(receive(stream.pieces()), whole, "seed {seed}");
    }
}
