//! Which cipher suite a client gets.

use super::authority::Authority;
use super::memory::{connect, plain};
use rustls::CipherSuite::{self as Suite, *};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;

/// A client that offers these, most wanted first.
fn offering(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    suites: &[Suite],
) -> ClientConfig {
    let mut provider = default_provider();
    let place = |suite| suites.iter().position(|wanted| *wanted == suite);
    provider.cipher_suites.retain(|suite| place(suite.suite()).is_some());
    provider.cipher_suites.sort_by_key(|suite| place(suite.suite()));
    let mut roots = RootCertStore::empty();
    roots.add(authority.cert.der().clone()).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[version]).expect("a version");
    builder.with_root_certificates(roots).with_no_client_auth()
}

fn agreed(version: &'static SupportedProtocolVersion, suites: &[Suite]) -> Suite {
    let authority = Authority::new("authority");
    let (acceptor, _folder) = plain(&authority);
    let mut pair = connect(offering(&authority, version, suites), &acceptor).expect("both can");
    pair.speaks();
    pair.server.negotiated_cipher_suite().expect("a suite").suite()
}

/// AES with 256 bits, with 128 bits, and ChaCha20, of either version.
const V13: [Suite; 3] = [TLS13_AES_256_GCM_SHA384, TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256];
const V12: [Suite; 3] = [
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

#[test]
fn who_wants_aes_gets_the_quickest_that_it_offers() {
    for (version, [long, short, chacha]) in [(&TLS13, V13), (&TLS12, V12)] {
        assert_eq!(agreed(version, &[long, chacha, short]), short, "as OpenSSL offers them");
        assert_eq!(agreed(version, &[short, long, chacha]), short);
        assert_eq!(agreed(version, &[long, chacha]), long, "one that does not offer the quickest");
        assert_eq!(agreed(version, &[long]), long);
    }
}

#[test]
fn who_wants_chacha20_gets_it() {
    for (version, [long, short, chacha]) in [(&TLS13, V13), (&TLS12, V12)] {
        assert_eq!(
            agreed(version, &[chacha, long, short]),
            chacha,
            "a processor without instructions for AES"
        );
        assert_eq!(agreed(version, &[chacha]), chacha);
    }
}
