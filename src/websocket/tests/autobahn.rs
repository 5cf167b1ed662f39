//! The cases of the Autobahn test suite that concern a server that takes binary frames, under Autobahn's numbers. Its echo
//! is here what reaches MQTT; its texts are binary. Left out are texts themselves (1.1, 6) and compression (12, 13), which
//! is not offered. Each case comes in one piece, frame by frame and byte by byte.

use super::*;

const HELLO: &[u8] = b"Hello, world!";
const BYTES: &[u8] = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";

const BINARY: u8 = 0x82;
/// The first of several fragments, those between, and the last.
const FIRST: u8 = 0x02;
const BETWEEN: u8 = 0x00;
const LAST: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Sends frames, each a first byte and a payload, and compares what comes of them: MQTT, pongs, and the code of the close frame.
#[track_caller]
fn case(id: &str, frames: &[(u8, &[u8])], mqtt: &[u8], pongs: &[&[u8]], code: u16) {
    let frames: Vec<Vec<u8>> = frames.iter().map(|(first, payload)| frame(*first, payload)).collect();
    let stream = frames.concat();
    let whole = receive([&stream[..]]);
    assert_eq!(whole.mqtt, mqtt, "{id}");
    assert_eq!(whole.pongs, pongs, "{id}");
    assert_eq!(whole.code(), Some(code), "{id}");
    assert_eq!(receive(frames.iter().map(Vec::as_slice)), whole, "{id}, frame by frame");
    assert_eq!(receive(stream.chunks(1)), whole, "{id}, byte by byte");
}

/// The same, and then a normal close.
#[track_caller]
fn clean(id: &str, frames: &[(u8, &[u8])], mqtt: &[u8], pongs: &[&[u8]]) {
    let normal = reason(1000, "");
    case(id, &[frames, &[(CLOSE, &normal)]].concat(), mqtt, pongs, 1000);
}

/// The same, and the server fails the connection with 1002.
#[track_caller]
fn fails(id: &str, frames: &[(u8, &[u8])], mqtt: &[u8]) {
    case(id, frames, mqtt, &[], 1002);
}

#[test]
fn autobahn_1_payloads_of_every_length_arrive() {
    for (id, len) in [0, 125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
        let payload = vec![0xfe; len];
        clean(&format!("1.2.{}", id + 1), &[(BINARY, &payload)], &payload, &[]);
    }
    let (payload, stream) = (vec![0xfe; 65_536], frame(BINARY, &[0xfe; 65_536]));
    assert_eq!(receive(stream.chunks(997)).mqtt, payload, "1.2.8");
}

#[test]
fn autobahn_2_pings_are_answered_and_pongs_are_not() {
    clean("2.1", &[(PING, b"")], b"", &[b""]);
    clean("2.2", &[(PING, HELLO)], b"", &[HELLO]);
    clean("2.3", &[(PING, BYTES)], b"", &[BYTES]);
    clean("2.4, 2.6", &[(PING, &[0xfe; 125])], b"", &[&[0xfe; 125]]);
    fails("2.5", &[(PING, &[0xfe; 126])], b"");
    clean("2.7", &[(PONG, b"")], b"", &[]);
    clean("2.8", &[(PONG, b"unsolicited pong payload")], b"", &[]);
    clean("2.9", &[(PONG, b"unsolicited pong payload"), (PING, b"ping payload")], b"", &[b"ping payload"]);
    let payloads: Vec<String> = (0..10).map(|n| format!("payload-{n}")).collect();
    let pings: Vec<(u8, &[u8])> = payloads.iter().map(|payload| (PING, payload.as_bytes())).collect();
    let pongs: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
    clean("2.10, 2.11", &pings, b"", &pongs);
}

#[test]
fn autobahn_3_reserved_bits_are_refused() {
    fails("3.1", &[(BINARY | 0x10, HELLO)], b"");
    for (id, bits) in [("3.2", 0x20), ("3.3", 0x30), ("3.4", 0x40)] {
        fails(id, &[(BINARY, HELLO), (BINARY | bits, HELLO), (PING, b"")], HELLO);
    }
    fails("3.5", &[(BINARY | 0x50, BYTES)], b"");
    fails("3.6", &[(BINARY | 0x60, HELLO)], b"");
    fails("3.7", &[(CLOSE | 0x70, b"")], b"");
}

#[test]
fn autobahn_4_reserved_opcodes_are_refused() {
    for (id, kind) in [("4.1", 0x80), ("4.2", 0x88)] {
        for (n, bits) in [(1, 3), (2, 4)] {
            fails(&format!("{id}.{n}"), &[(kind | bits, b"reserved opcode payload")], b"");
        }
        for (n, bits) in [(3, 5), (4, 6), (5, 7)] {
            let frames: [(u8, &[u8]); 3] = [(BINARY, HELLO), (kind | bits, HELLO), (PING, b"")];
            fails(&format!("{id}.{n}"), &frames, HELLO);
        }
    }
}

#[test]
fn autobahn_5_fragments_arrive_in_order_with_control_frames_between_them() {
    let (a, b) = (&b"fragment1"[..], &b"fragment2"[..]);
    let both = &b"fragment1fragment2"[..];
    fails("5.1", &[(0x09, a), (LAST, b)], b"");
    fails("5.2", &[(0x0a, a), (LAST, b)], b"");
    clean("5.3-5.5", &[(FIRST, a), (LAST, b)], both, &[]);
    clean("5.6-5.8", &[(FIRST, a), (PING, b"ping payload"), (LAST, b)], both, &[b"ping payload"]);
    fails("5.9-5.11", &[(LAST, b"non-continuation payload"), (BINARY, HELLO)], b"");
    fails("5.12-5.14", &[(BETWEEN, b"non-continuation payload"), (BINARY, HELLO)], b"");
    fails("5.15", &[(FIRST, a), (LAST, b), (BETWEEN, b"fragment3"), (BINARY, b"fragment4")], both);
    fails("5.16", &[(BETWEEN, a), (FIRST, b), (LAST, b"fragment3")].repeat(2), b"");
    fails("5.17", &[(LAST, a), (FIRST, b), (LAST, b"fragment3")].repeat(2), b"");
    fails("5.18", &[(FIRST, a), (BINARY, b)], a);
    let fragments: [(u8, &[u8]); 7] = [
        (FIRST, a),
        (BETWEEN, b),
        (PING, b"pongme 1!"),
        (BETWEEN, b"fragment3"),
        (BETWEEN, b"fragment4"),
        (PING, b"pongme 2!"),
        (LAST, b"fragment5"),
    ];
    let all = b"fragment1fragment2fragment3fragment4fragment5";
    clean("5.19, 5.20", &fragments, all, &[b"pongme 1!", b"pongme 2!"]);
}

#[test]
fn autobahn_7_closes_are_answered_and_end_everything() {
    let normal = reason(1000, "");
    clean("7.1.1", &[(BINARY, HELLO)], HELLO, &[]);
    clean("7.1.2", &[(CLOSE, &normal)], b"", &[]);
    case("7.1.3", &[(CLOSE, &normal), (PING, b"")], b"", &[], 1000);
    case("7.1.4", &[(CLOSE, &normal), (BINARY, HELLO)], b"", &[], 1000);
    case("7.1.5", &[(FIRST, b"fragment1"), (CLOSE, &normal), (LAST, b"fragment2")], b"fragment1", &[], 1000);
    let large = vec![b'B'; 256 << 10];
    let mqtt = [&large, HELLO].concat();
    case("7.1.6", &[(BINARY, &large), (BINARY, HELLO), (CLOSE, &normal), (PING, b"")], &mqtt, &[], 1000);
    // No code is answered with none.
    case("7.3.1", &[(CLOSE, b"")], b"", &[], 0);
    fails("7.3.2", &[(CLOSE, b"a")], b"");
    case("7.3.3", &[(CLOSE, &normal)], b"", &[], 1000);
    case("7.3.4", &[(CLOSE, &reason(1000, "Hello World!"))], b"", &[], 1000);
    case("7.3.5", &[(CLOSE, &reason(1000, &"*".repeat(123)))], b"", &[], 1000);
    fails("7.3.6", &[(CLOSE, &reason(1000, &"*".repeat(124)))], b"");
    let surrogate =
        b"\x03\xe8\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64";
    case("7.5.1", &[(CLOSE, surrogate)], b"", &[], 1007);
}

#[test]
fn autobahn_7_codes_that_may_be_sent_are_echoed_and_others_refused() {
    // The first thirteen are Autobahn's; the others were registered since.
    let allowed =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999, 1012, 1013, 1014];
    for (id, code) in (1..).zip(allowed) {
        case(&format!("7.7.{id}"), &[(CLOSE, &reason(code, ""))], b"", &[], code);
    }
    // Autobahn's nine, those of 7.13, and 1015.
    let forbidden = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535, 1015];
    for (id, code) in (1..).zip(forbidden) {
        fails(&format!("7.9.{id}"), &[(CLOSE, &reason(code, ""))], b"");
    }
}

#[test]
fn autobahn_9_large_messages_arrive_in_fragments_and_pieces_of_any_size() {
    let message: Vec<u8> = b"BAsd7&jh23".iter().copied().cycle().take(1 << 20).collect();
    // 9.2: in one frame. 9.6: that frame in pieces.
    let stream = frame(BINARY, &message);
    for piece in [64, 128, 256, 512, 1_024, 2_048, stream.len()] {
        assert!(receive(stream.chunks(piece)).mqtt == message, "9.6, pieces of {piece}");
    }
    // 9.4: in fragments of these sizes.
    for size in [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let mut fragments: Vec<Vec<u8>> = message.chunks(size).map(|part| frame(BETWEEN, part)).collect();
        fragments[0][0] |= FIRST;
        fragments.last_mut().unwrap()[0] |= LAST;
        let seen = receive([&fragments.concat()[..]]);
        assert!(seen.mqtt == message && seen.end.is_none(), "9.4, fragments of {size}");
    }
}
