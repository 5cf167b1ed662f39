//! Frames in, MQTT and frames out: what holds for every stream, however it is cut.

mod autobahn;
mod model;
mod sending;

use super::header::{HEADER_BYTES_MAX, Header, Opcode, Sender};
use super::mask::Mask;
use super::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const MAX: u32 = 1 << 20;

/// A frame of a client: its first byte, a length in its shortest form, a mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The payload of a close frame.
fn reason(code: u16, text: &str) -> Vec<u8> {
    [&code.to_be_bytes(), text.as_bytes()].concat()
}

/// What a server made of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    mqtt: Vec<u8>,
    /// Payloads of the pongs that it sends.
    pongs: Vec<Vec<u8>>,
    /// The payload of the close frame that it sends.
    close: Option<Vec<u8>>,
    end: Option<End>,
}

impl Seen {
    /// The code of the close frame, 0 for one without.
    fn code(&self) -> Option<u16> {
        let payload = self.close.as_ref()?;
        Some(payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code)))
    }
}

/// What a server makes of a stream that comes in pieces.
fn receive<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let (mut decoder, mut encoder, mut seen) = (Decoder::server(MAX), Encoder::server(), Seen::default());
    for piece in pieces {
        let mut buffer = piece.to_vec();
        let decoded = decoder.decode(&mut buffer, &mut encoder);
        seen.mqtt.extend_from_slice(&buffer[..decoded.len]);
        assert!(seen.end.is_none() || decoded == Decoded { len: 0, end: None }, "after the end");
        seen.end = seen.end.or(decoded.end);
    }
    assert_eq!(decoder.is_ended(), seen.end.is_some());
    for (opcode, payload) in frames_of(&drain(&mut encoder)) {
        match opcode {
            Opcode::Pong => seen.pongs.push(payload),
            Opcode::Close => assert_eq!(seen.close.replace(payload), None),
            other => panic!("a server without output sends {other:?}"),
        }
    }
    seen
}

/// All that an encoder has to say while no MQTT waits.
fn drain(encoder: &mut Encoder) -> Vec<u8> {
    let mut sent = Vec::new();
    while let Some(next) = encoder.next(0) {
        let count = next.head.len();
        sent.extend_from_slice(next.head);
        assert_eq!((next.payload, encoder.advance(count)), (0, 0));
    }
    sent
}

/// The frames of a server.
fn frames_of(mut bytes: &[u8]) -> Vec<(Opcode, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(header) = Header::read(bytes, Sender::Server, u32::MAX).unwrap() {
        let (frame, rest) = bytes.split_at(header.len + header.payload as usize);
        assert!(header.fin);
        frames.push((header.opcode, frame[header.len..].to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame: {bytes:?}");
    frames
}

#[test]
fn the_examples_of_the_standard_are_read_rfc_6455_5_7() {
    // The standard's are texts; these are the same as binary frames.
    let hello = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(receive([&hello[..]]).mqtt, b"Hello");
    assert_eq!(frame(0x82, b"Hello"), hello);
    let fragmented = [frame(0x02, b"Hel"), frame(0x80, b"lo")].concat();
    assert_eq!(receive([&fragmented[..]]).mqtt, b"Hello");
    let ping = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(receive([&ping[..]]).pongs, [b"Hello"]);
    for (len, header) in [(256, 8), (65_536, 14)] {
        let bytes = frame(0x82, &vec![7; len]);
        assert_eq!(bytes.len(), header + len);
        assert_eq!(receive([&bytes[..]]).mqtt, vec![7; len]);
    }

    let mut encoder = Encoder::server();
    encoder.pong(b"Hello");
    assert_eq!(drain(&mut encoder), b"\x8a\x05Hello");
}

/// A stream with everything that is allowed.
fn everything() -> (Vec<u8>, Seen) {
    let long: Vec<u8> = (0..200u8).collect();
    let frames = [
        frame(0x82, b"first"),
        frame(0x82, b""),
        frame(0x02, b"be"),
        frame(0x89, b"in between"),
        frame(0x00, b""),
        frame(0x00, b"gin"),
        frame(0x8a, b"nobody asked"),
        frame(0x80, b"ning"),
        frame(0x89, b""),
        frame(0x82, &long),
        frame(0x88, &reason(1001, "page left")),
        frame(0x82, b"too late"),
        frame(0x89, b"too late"),
    ];
    let seen = Seen {
        mqtt: [&b"firstbeginning"[..], &long].concat(),
        pongs: vec![b"in between".to_vec(), vec![]],
        close: Some(reason(1001, "")),
        end: Some(End::Closed(Some(CloseCode::GOING_AWAY))),
    };
    (frames.concat(), seen)
}

#[test]
fn a_stream_means_the_same_wherever_it_is_cut() {
    let (stream, expected) = everything();
    assert_eq!(receive([&stream[..]]), expected);
    assert_eq!(receive(stream.chunks(1)), expected, "byte by byte");
    for first in 0..stream.len() {
        let (a, rest) = stream.split_at(first);
        for second in 0..rest.len() {
            let (b, c) = rest.split_at(second);
            assert_eq!(receive([a, b, c]), expected, "cut at {first} and {}", first + second);
        }
    }
}

#[test]
fn what_is_wrong_is_found_with_the_first_byte_that_shows_it() {
    let wrong: [(&[u8], Violation); 13] = [
        (&[0xc2], Violation::Reserved),
        (&[0xa2], Violation::Reserved),
        (&[0x92], Violation::Reserved),
        (&[0x83], Violation::Opcode(3)),
        (&[0x8f], Violation::Opcode(15)),
        (&[0x81], Violation::Text),
        (&[0x01], Violation::Text),
        (&[0x09], Violation::FragmentedControl),
        (&[0x82, 0x01], Violation::Unmasked),
        (&[0x89, 0xfe], Violation::LongControl),
        (&[0x82, 0xfe, 0, 125], Violation::Length),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Violation::Length),
        (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::Length),
    ];
    for (bytes, violation) in wrong {
        let all_but_one = receive(bytes[..bytes.len() - 1].chunks(1));
        assert_eq!(all_but_one.end, None, "{bytes:02x?}");
        for seen in [receive([bytes]), receive(bytes.chunks(1))] {
            assert_eq!(seen.end, Some(End::Violation(violation)), "{bytes:02x?}");
            let told = reason(violation.code().number(), &violation.to_string());
            assert_eq!(seen.close, Some(told), "{bytes:02x?}");
        }
    }
}

#[test]
fn texts_are_refused_with_1003_and_what_is_against_the_rules_with_1002() {
    assert_eq!(receive([&frame(0x81, b"text")[..]]).code(), Some(1003));
    assert_eq!(receive([&frame(0x83, b"opcode")[..]]).code(), Some(1002));
}

#[test]
fn a_frame_above_the_limit_is_refused_before_it_comes() {
    let header = |len: u64| {
        let mut bytes = vec![0x82, 0xff];
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes
    };
    let max = u64::from(MAX);
    assert_eq!(receive([&header(max)[..]]).end, None);
    for len in [max + 1, 1 << 32, 1 << 40, i64::MAX as u64] {
        let seen = receive([&header(len)[..]]);
        assert_eq!(seen.end, Some(End::Violation(Violation::TooLarge(len, MAX))));
        assert_eq!(seen.code(), Some(1009));
    }
    // Control frames have a limit of their own.
    let (mut decoder, mut encoder) = (Decoder::server(10), Encoder::server());
    let decoded = decoder.decode(&mut frame(0x89, &[1; 125]), &mut encoder);
    assert_eq!((decoded.end, drain(&mut encoder).len()), (None, 127));
}

#[test]
fn bytes_before_the_end_are_good_whatever_ended_it() {
    for bad in [frame(0x81, b"text"), frame(0x80, b"nothing to continue"), frame(0x88, b"")] {
        let stream = [frame(0x82, b"good"), frame(0x02, b" as"), bad, frame(0x80, b"bad")].concat();
        let seen = receive([&stream[..]]);
        assert!(seen.mqtt.starts_with(b"good as"), "{seen:?}");
        assert!(!seen.mqtt.ends_with(b"bad") || seen.end.is_none(), "{seen:?}");
    }
}

#[test]
fn a_client_reads_a_server_and_refuses_masks() {
    let (mut decoder, mut encoder) = (Decoder::client(MAX), Encoder::client());
    let mut bytes = *b"\x02\x02ab\x89\x01p\x80\x01c";
    let decoded = decoder.decode(&mut bytes, &mut encoder);
    assert_eq!((&bytes[..decoded.len], decoded.end), (&b"abc"[..], None));
    assert_eq!(drain(&mut encoder), b"\x8a\x81\0\0\0\0p");
    let decoded = decoder.decode(&mut frame(0x82, b"masked"), &mut encoder);
    assert_eq!(decoded, Decoded { len: 0, end: Some(End::Violation(Violation::Masked)) });
}

#[test]
fn a_connection_between_frames_takes_little_memory() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
    assert!(size_of::<Encoder>() <= 96, "{}", size_of::<Encoder>());
}

#[test]
fn headers_are_written_as_they_are_read() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, u32::MAX] {
        for (sender, key) in [(Sender::Server, None), (Sender::Client, Some(KEY))] {
            let written = header::Written::new(Opcode::Binary, len, key);
            let bytes = written.bytes();
            let read = Header::read(bytes, sender, u32::MAX).unwrap().unwrap();
            assert_eq!(
                (read.opcode, read.fin, read.payload, read.len),
                (Opcode::Binary, true, len, bytes.len())
            );
            assert_eq!(read.mask, Mask::new(key.unwrap_or_default()));
            assert!(bytes.len() <= HEADER_BYTES_MAX);
            for short in 0..bytes.len() {
                assert_eq!(
                    Header::read(&bytes[..short], sender, u32::MAX),
                    Ok(None),
                    "{short} of {bytes:02x?}"
                );
            }
        }
    }
}
