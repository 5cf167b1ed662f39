//! Which cipher suite a session gets.
//!
//! Handshakes hash and sign more than they encrypt: with SHA-256, which processors have instructions for, a full one of
//! TLS 1.3 costs two thirds of what it costs with SHA-384. OpenSSL's clients name `TLS_AES_256_GCM_SHA384` first all the
//! same, so that among suites with AES the broker chooses, and AES with 128 bits goes first. A client that names ChaCha20
//! before any AES has no instructions for AES and keeps its order; one that names AES with 256 bits alone gets that.

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

/// How a suite encrypts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Aes,
    ChaCha,
}

/// What all suites of TLS 1.3, and those of TLS 1.2 that the broker offers, encrypt with.
fn cipher(suite: CipherSuite) -> Option<Cipher> {
    use CipherSuite as S;
    match suite {
        S::TLS13_AES_128_GCM_SHA256
        | S::TLS13_AES_256_GCM_SHA384
        | S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(Cipher::Aes),
        S::TLS13_CHACHA20_POLY1305_SHA256
        | S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(Cipher::ChaCha),
        _ => None,
    }
}

/// Whether a client that offers these, most wanted first, would rather have AES than ChaCha20.
pub(super) fn prefers_aes(offered: &[CipherSuite]) -> bool {
    offered.iter().find_map(|&suite| cipher(suite)) == Some(Cipher::Aes)
}

/// Puts suites with AES and SHA-256 first. The order is otherwise as it was.
pub(super) fn quickest_first(provider: &mut CryptoProvider) {
    provider.cipher_suites.sort_by_key(|suite| {
        let quick = matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        );
        !quick
    });
}
