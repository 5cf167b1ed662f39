//! Frames of a client: any bytes mean the same whole and in pieces, and what the server answers is whole frames that a
//! client understands.
//!
//! `cargo +nightly fuzz run websocket --fuzz-dir tests/fuzz`

#![no_main]

use libfuzzer_sys::fuzz_target;
use pantala::websocket::{Decoded, Decoder, Encoder, End};

/// What is made of a stream: MQTT, how it ended, and the answers.
fn receive<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Option<End>, Vec<u8>) {
    let (mut decoder, mut encoder) = (Decoder::server(1 << 16), Encoder::server());
    let (mut mqtt, mut end, mut sent) = (Vec::new(), None, Vec::new());
    for piece in pieces {
        let mut buffer = piece.to_vec();
        let decoded = decoder.decode(&mut buffer, &mut encoder);
        mqtt.extend_from_slice(&buffer[..decoded.len]);
        end = end.or(decoded.end);
        while let Some(next) = encoder.next(0) {
            let count = next.head.len();
            sent.extend_from_slice(next.head);
            encoder.advance(count);
        }
    }
    (mqtt, end, sent)
}

// The first byte is the length of the pieces.
fuzz_target!(|data: &[u8]| {
    let Some((&size, stream)) = data.split_first() else { return };
    let whole = receive(std::iter::once(stream));
    let pieces = receive(stream.chunks(usize::from(size).max(1)));
    assert_eq!((&pieces.0, pieces.1), (&whole.0, whole.1));
    // Of pings that come together only some need be answered.
    assert!(pieces.2.len() >= whole.2.len());
    for mut sent in [whole.2, pieces.2] {
        let (mut client, mut encoder) = (Decoder::client(0), Encoder::client());
        let Decoded { len, end } = client.decode(&mut sent, &mut encoder);
        assert_eq!((len, matches!(end, None | Some(End::Closed(_)))), (0, true));
        assert_eq!(end.is_some(), whole.1.is_some());
    }
});
