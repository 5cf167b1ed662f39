//! Requests for a WebSocket: no bytes make the handshake panic, and they mean the same whole and in pieces.
//!
//! `cargo +nightly fuzz run upgrade --fuzz-dir tests/fuzz`

#![no_main]

use libfuzzer_sys::fuzz_target;
use pantala::websocket::{Ask, Refusal, Rules, Subprotocol, Upgrade, forwarded_for};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let origins = ["https://*.example.org", "http://localhost:8080"];
    Rules { origins: origins.map(|origin| origin.parse().expect("an origin")).to_vec(), ..Rules::default() }
});

/// What is said to a request: the length of what was read and the response, or why there is none.
type Said = Result<Option<(usize, Vec<u8>)>, Refusal>;

fn said(upgrade: &mut Upgrade, bytes: &[u8]) -> Said {
    let read = upgrade.read(bytes, &RULES)?;
    Ok(read.map(|upgraded| {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let _ = forwarded_for(peer, &upgraded.head, |address| address.is_loopback());
        (upgraded.len, upgraded.response)
    }))
}

// The first byte is the length of the pieces.
fuzz_target!(|data: &[u8]| {
    let Some((&size, bytes)) = data.split_first() else { return };
    let (whole, mut upgrade) = (said(&mut Upgrade::default(), bytes), Upgrade::default());
    let ends = (0..bytes.len()).step_by(usize::from(size).max(1)).chain([bytes.len()]);
    let pieces = ends.map(|end| said(&mut upgrade, &bytes[..end])).find(|said| !matches!(said, Ok(None)));
    assert_eq!(pieces.unwrap_or(Ok(None)), whole);
    if let Err(refusal) = whole {
        let _ = Ask::new([0; 16]).answer(&refusal.response(), Subprotocol::Mqtt);
    }
    let _ = Ask::new([0; 16]).answer(bytes, Subprotocol::Mqtt);
});
