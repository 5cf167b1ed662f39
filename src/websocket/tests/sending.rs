//! Output as frames: whatever a socket takes of it, frames stay whole and nothing comes between.

use super::*;
use crate::types::Rng;

/// A connection whose socket takes what a test says.
struct Sending {
    encoder: Encoder,
    /// MQTT that waits.
    output: Vec<u8>,
    socket: Vec<u8>,
}

impl Sending {
    fn new() -> Self {
        Self { encoder: Encoder::server(), output: vec![], socket: vec![] }
    }

    /// Writes so many bytes, or all.
    fn write(&mut self, mut room: usize) {
        while room > 0
            && let Some(next) = self.encoder.next(self.output.len())
        {
            let head = next.head.len().min(room);
            let payload = next.payload.min(room - head);
            self.socket.extend_from_slice(&next.head[..head]);
            self.socket.extend_from_slice(&self.output[..payload]);
            let count = head + payload;
            room -= count;
            let mqtt = self.encoder.advance(count);
            self.output.drain(..mqtt);
        }
    }

    fn frames(&self) -> Vec<(Opcode, Vec<u8>)> {
        frames_of(&self.socket)
    }
}

#[test]
fn all_that_waits_goes_out_as_one_frame_with_the_shortest_header() {
    for (len, header) in [(1, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10), (1 << 20, 10)] {
        let mut sending = Sending::new();
        sending.output = vec![7; len];
        assert_eq!(sending.encoder.next(len).unwrap().head.len(), header);
        sending.write(usize::MAX);
        assert_eq!(sending.frames(), [(Opcode::Binary, vec![7; len])]);
        assert!(sending.output.is_empty() && sending.encoder.next(0).is_none());
    }
}

#[test]
fn what_comes_while_a_frame_is_open_goes_into_the_next() {
    for taken in 0..8 {
        let mut sending = Sending::new();
        sending.output.extend_from_slice(b"open");
        sending.write(taken);
        sending.output.extend_from_slice(b"next");
        sending.encoder.pong(b"p");
        sending.write(usize::MAX);
        let expected: &[(Opcode, &[u8])] = match taken {
            // Not begun: nobody was promised anything.
            0 => &[(Opcode::Pong, b"p"), (Opcode::Binary, b"opennext")],
            _ => &[(Opcode::Binary, b"open"), (Opcode::Pong, b"p"), (Opcode::Binary, b"next")],
        };
        let frames = sending.frames();
        assert!(
            frames.iter().map(|(opcode, payload)| (*opcode, &payload[..])).eq(expected.iter().copied()),
            "{taken}: {frames:?}"
        );
    }
}

#[test]
fn frames_stay_whole_however_little_the_socket_takes() {
    for seed in 0..40 {
        let (mut rng, mut sending) = (Rng::new(seed), Sending::new());
        let (mut mqtt, mut pongs) = (vec![], vec![]);
        for step in 0..60u8 {
            let most = *rng.pick(&[200, 200, 200, 70_000]);
            let len = usize::try_from(rng.below(most)).unwrap();
            sending.output.extend(std::iter::repeat_n(step, len));
            mqtt.extend(std::iter::repeat_n(step, len));
            // Fewer than are dropped for being too many.
            if rng.chance(1, 4) {
                sending.encoder.pong(&[step; 3]);
                pongs.push(vec![step; 3]);
            }
            let most = *rng.pick(&[8, 50_000]);
            sending.write(usize::try_from(rng.below(most)).unwrap());
        }
        sending.encoder.close(Some(CloseCode::NORMAL), "");
        assert!(sending.encoder.has_control());
        sending.write(usize::MAX);
        assert!(!sending.encoder.has_control());
        let mut frames = sending.frames();
        assert_eq!(frames.pop(), Some((Opcode::Close, reason(1000, ""))), "seed {seed}");
        let (binary, control): (Vec<_>, Vec<_>) =
            frames.into_iter().partition(|(opcode, _)| *opcode == Opcode::Binary);
        assert!(control.into_iter().map(|(_, payload)| payload).eq(pongs), "seed {seed}");
        assert!(binary.into_iter().flat_map(|(_, payload)| payload).eq(mqtt), "seed {seed}");
    }
}

#[test]
fn nothing_follows_a_close_rfc_6455_5_5_1() {
    let mut sending = Sending::new();
    sending.output.extend_from_slice(b"before");
    sending.encoder.pong(b"before");
    sending.encoder.close(Some(CloseCode::GOING_AWAY), "the broker stops");
    sending.encoder.close(Some(CloseCode::PROTOCOL), "too late");
    sending.encoder.pong(b"too late");
    sending.encoder.ping(b"too late");
    sending.write(usize::MAX);
    sending.output.extend_from_slice(b"too late");
    sending.write(usize::MAX);
    let expected = [
        (Opcode::Pong, b"before".to_vec()),
        (Opcode::Binary, b"before".to_vec()),
        (Opcode::Close, reason(1001, "the broker stops")),
    ];
    assert_eq!(sending.frames(), expected);
}

#[test]
fn of_a_long_reason_the_beginning_is_sent_in_whole_characters() {
    let mut encoder = Encoder::server();
    encoder.close(Some(CloseCode::POLICY), &"ä".repeat(100));
    assert_eq!(frames_of(&drain(&mut encoder)), [(Opcode::Close, reason(1008, &"ä".repeat(61)))]);
}

#[test]
fn pongs_that_nobody_reads_are_bounded_and_the_latest_ping_is_answered() {
    for begun in [0, 1, 100, 127, 128, 200, 1_000] {
        let mut encoder = Encoder::server();
        for round in 0..1_000u32 {
            if round == 10 {
                // A socket that takes this much and then nothing.
                let mut taken = begun;
                while taken > 0 {
                    let count = encoder.next(0).unwrap().head.len().min(taken);
                    encoder.advance(count);
                    taken -= count;
                }
            }
            let mut payload = [0; 125];
            payload[..4].copy_from_slice(&round.to_be_bytes());
            encoder.pong(&payload);
        }
        let rest = drain(&mut encoder);
        assert!(rest.len() <= 2_048, "{}", rest.len());
        // What was begun is ended.
        let frames = frames_of(&rest[(127 - begun % 127) % 127..]);
        let rounds: Vec<u32> =
            frames.iter().map(|(_, pong)| u32::from_be_bytes(*pong.first_chunk().unwrap())).collect();
        assert!(rounds.is_sorted() && rounds.last() == Some(&999), "{rounds:?}");
    }
}

#[test]
fn pings_are_sent() {
    let mut encoder = Encoder::client();
    encoder.ping(b"?");
    let mut bytes = drain(&mut encoder);
    let (mut decoder, mut server) = (Decoder::server(MAX), Encoder::server());
    assert_eq!(decoder.decode(&mut bytes, &mut server), Decoded { len: 0, end: None });
    assert_eq!(drain(&mut server), b"\x8a\x01?");
}
