//! A stream of packets: whatever decodes is encoded to something that decodes to the same.
//!
//! `cargo +nightly fuzz run decode --fuzz-dir tests/fuzz`

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pantala::codec::{Packet, Split, Version, decode, split};

fuzz_target!(|data: (u8, Vec<u8>)| {
    let (version, mut rest) = ([Version::V31, Version::V311, Version::V5][usize::from(data.0 % 3)], &data.1[..]);
    while let Ok(Split::Whole { frame, len }) = split(rest, 1 << 16) {
        rest = &rest[len..];
        let Ok(packet) = decode(frame, version) else { continue };
        let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
        let mut out = BytesMut::new();
        packet.encode(version, &mut out);
        let Ok(Split::Whole { frame, .. }) = split(&out, u32::MAX) else { panic!("not a whole packet: {packet:?}") };
        assert_eq!(decode(frame, version), Ok(packet));
    }
});
