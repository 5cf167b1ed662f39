//! Tokens and key files: nothing panics, and nobody is let in whom no key has signed for.
//!
//! `cargo +nightly fuzz run tokens --fuzz-dir tests/fuzz`

#![no_main]

use libfuzzer_sys::fuzz_target;
use pantala::auth::mosca;
use pantala::auth::token::Tokens;
use std::sync::OnceLock;

const KEYS: &[u8] = br#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;

fuzz_target!(|data: (&[u8], &[u8])| {
    static TOKENS: OnceLock<Tokens> = OnceLock::new();
    let (keys, token) = data;
    let _ = Tokens::parse(keys, Some("me"), None);
    let _ = mosca::migrate(keys);
    let tokens = TOKENS.get_or_init(|| Tokens::parse(KEYS, None, None).expect("one key"));
    assert!(tokens.check(token, 0).is_err(), "let in with {token:?}");
});
