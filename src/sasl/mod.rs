//! The server's side of SCRAM-SHA-256: a client proves that it knows a password which neither the wire nor the server sees.
//! [RFC 5802], [RFC 7677]
//!
//! Sans-IO, without a clock or randomness of its own: a server's nonce is made of a secret and a counter by [`nonce`].
//! Channel binding is not offered. Runs on: any core; a whole exchange costs the server four HMACs and two hashes, because
//! what the client's password costs to derive was paid when the [`Verifier`] was made.
//!
//! ```
//! use pantala::sasl::{Exchange, Secret, Users, Verifier};
//!
//! let mut users = Users::default();
//! users.add("user", Verifier::derive("pencil", b"salt", 4_096)?)?;
//! let (exchange, first) = Exchange::begin(b"n,,n=user,r=client", &users, "server", &Secret([7; 32]))?;
//! assert!(first.starts_with(b"r=clientserver,s="));
//! assert!(exchange.finish(b"c=biws,r=clientserver,p=d3Jvbmc=").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod scram;
mod verifier;

pub use scram::{Authenticated, Exchange, Refused};
pub use verifier::{BadName, BadPassword, BadVerifier, ITERATIONS, SALT_BYTES, Users, Verifier};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The mechanism's name, as clients ask for it.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// What a server keeps to itself, so that nobody foresees its nonces or tells its decoys.
#[derive(Clone)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A SHA-256 or an HMAC of it.
pub(crate) type Digest = [u8; 32];

/// # Panics
/// Never: HMAC takes keys of any length.
pub(crate) fn hmac(key: &[u8], pieces: &[&[u8]]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().into()
}

/// A server's nonce that nobody can foresee who does not know the secret: printable, without a comma. The counter must never
/// repeat for one secret.
pub fn nonce(secret: &Secret, counter: u64) -> String {
    BASE64.encode(&hmac(&secret.0, &[b"nonce", &counter.to_be_bytes()])[..18])
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::client_final;
