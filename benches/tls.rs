//! What a handshake costs the broker, and what an idle session keeps.
//!
//! Only the server's part is timed, through the same [`Acceptor`] that listeners have. A full handshake signs once with
//! ECDSA P-256 and makes and uses one X25519 key, so that no more than 1 / (sign + 2 x25519) of
//! `openssl speed ecdsap256 ecdhx25519` can be done in a second; a resumed one does not sign.

#![expect(clippy::disallowed_methods, reason = "one end of what runs in one loop is timed")]

#[path = "support/suite.rs"]
mod suite;

use criterion::{BenchmarkId, Criterion};
use pantala::transport::settings::{CertificateFiles, TlsSettings};
use pantala::transport::tls::{Acceptor, Session};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `cargo bench` says `--bench`; anything else is criterion's test mode.
fn quick() -> bool {
    std::env::args().all(|arg| arg != "--bench")
}

/// An acceptor with an ECDSA P-256 certificate, and the authority that has signed it.
fn acceptor() -> (Acceptor, CertificateDer<'static>) {
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("a certificate").der().clone();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let signed = params.signed_by(&key, &issuer).expect("a certificate");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files =
        CertificateFiles { cert: folder.path().join("server.pem"), key: folder.path().join("server.key") };
    std::fs::write(&files.cert, signed.pem()).expect("a file");
    std::fs::write(&files.key, key.serialize_pem()).expect("a file");
    (Acceptor::load(&TlsSettings::new(files), &[b"mqtt"]).expect("good files"), authority)
}

/// A client that resumes its last session, if it has one.
fn client(
    authority: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[version]).expect("a version");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Runs a handshake to its end. Returns the server's side and the time that it took.
fn handshake(acceptor: &Acceptor, config: &Arc<ClientConfig>) -> (Session, Duration) {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a good configuration");
    let started = Instant::now();
    let mut server = acceptor.accept();
    let mut spent = started.elapsed();
    let (mut wire, mut plain) = (Vec::with_capacity(1 << 14), vec![0; 1 << 15]);
    while client.wants_write() || server.wants_write() {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        let mut answer = Vec::with_capacity(1 << 14);
        let started = Instant::now();
        server.open(&wire, &mut plain).expect("a good client");
        while server.wants_write() {
            server.write_to(&mut answer).expect("memory");
        }
        spent += started.elapsed();
        let mut answer = &answer[..];
        while !answer.is_empty() {
            client.read_tls(&mut answer).expect("memory");
            client.process_new_packets().expect("a good server");
        }
    }
    (server, spent)
}

fn handshakes(c: &mut Criterion) {
    let (acceptor, authority) = acceptor();
    let mut group = c.benchmark_group("tls/handshake");
    for (name, version) in [("1.2", &TLS12), ("1.3", &TLS13)] {
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let known = client(&authority, version);
            handshake(&acceptor, &known);
            group.bench_function(BenchmarkId::new(format!("{kind:?}").to_lowercase(), name), |b| {
                b.iter_custom(|count| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..count {
                        let config = match kind {
                            HandshakeKind::Resumed => Arc::clone(&known),
                            _ => client(&authority, version),
                        };
                        let (server, took) = handshake(&acceptor, &config);
                        assert_eq!(server.inner().and_then(|tls| tls.handshake_kind()), Some(kind));
                        spent += took;
                    }
                    spent
                });
            });
        }
    }
    group.finish();
}

/// Prints what sessions without traffic keep resident, with all that belongs to them.
fn idle() {
    let (acceptor, authority) = acceptor();
    for (name, version) in [("1.2", &TLS12), ("1.3", &TLS13)] {
        let config = client(&authority, version);
        let sessions =
            |count: usize| -> Vec<_> { (0..count).map(|_| handshake(&acceptor, &config).0).collect() };
        // What the first ones leave behind belongs to none.
        let warm = sessions(100);
        let before = resident_bytes();
        let count = if quick() { 10 } else { 4_000 };
        let idle = sessions(count);
        let each = resident_bytes().saturating_sub(before) / idle.len();
        println!("tls/idle session, {name}: {each} bytes resident");
        drop(warm);
    }
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

fn main() {
    let mut criterion = suite::criterion();
    handshakes(&mut criterion);
    idle();
    criterion.final_summary();
}
