//! What clients say in AUTH: no message and no verifier of the configuration makes SCRAM panic, and nobody who does not
//! know the password gets in.
//!
//! `cargo +nightly fuzz run sasl --fuzz-dir tests/fuzz`

#![no_main]

use libfuzzer_sys::fuzz_target;
use pantala::sasl::{Exchange, Secret, Users, Verifier, nonce};
use std::sync::OnceLock;

fn users() -> &'static Users {
    static USERS: OnceLock<Users> = OnceLock::new();
    USERS.get_or_init(|| {
        let mut users = Users::default();
        users.add("user", Verifier::derive("unknown", b"salt", 4_096).expect("a password")).expect("a name");
        users
    })
}

fuzz_target!(|data: (Vec<u8>, Vec<u8>, String)| {
    let (first, last, verifier) = data;
    let _ = verifier.parse::<Verifier>();
    let secret = Secret([7; 32]);
    if let Ok((exchange, _)) = Exchange::begin(&first, users(), &nonce(&secret, 1), &secret) {
        assert!(exchange.finish(&last).is_err(), "let in with {last:?}");
    }
});
