//! Versions, protocols, certificates by host, and resumed sessions.

use super::authority::{Authority, Folder, dns};
use super::memory::{MQTT, Refused, builder, connect, connect_to, plain, settings, trusting};
use pantala::transport::settings::TlsVersion;
use pantala::transport::tls::Acceptor;
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, CipherSuite, ClientConnection, Error, HandshakeKind, PeerIncompatible, ProtocolVersion,
};
use std::io::Write;
use std::sync::Arc;

#[test]
fn clients_speak_1_2_and_1_3() {
    let authority = Authority::new("authority");
    let (acceptor, _folder) = plain(&authority);
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let client = builder(&authority, &[version]).with_no_client_auth();
        let mut pair = connect(client, &acceptor).expect("both can");
        assert_eq!(pair.server.protocol_version(), Some(spoken));
        pair.speaks();
    }
}

#[test]
fn a_listener_for_1_3_refuses_1_2() {
    let (authority, folder) = (Authority::new("authority"), Folder::new());
    folder.keep("server", &authority.server(&["broker.example"]));
    let mut settings = settings(&folder, &["server"]);
    settings.min_version = TlsVersion::V13;
    let acceptor = Acceptor::load(&settings, &MQTT).expect("good files");
    connect(trusting(&authority), &acceptor).expect("it knows 1.3");
    let old = builder(&authority, &[&TLS12]).with_no_client_auth();
    let why = PeerIncompatible::Tls12NotOfferedOrEnabled;
    assert_eq!(connect(old, &acceptor).unwrap_err(), Refused::Server(Error::PeerIncompatible(why)));
}

#[test]
fn every_kind_of_key_is_served() {
    let authority = Authority::new("authority");
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048);
    for key in [KeyPair::generate(), KeyPair::generate_for(&PKCS_ED25519), rsa] {
        let folder = Folder::new();
        let names = vec![dns("broker.example")];
        let signed = authority.sign_key(key.expect("a key"), "x", |params| params.subject_alt_names = names);
        folder.keep("server", &signed);
        let acceptor = Acceptor::load(&settings(&folder, &["server"]), &MQTT).expect("good files");
        for version in [&TLS12, &TLS13] {
            let client = builder(&authority, &[version]).with_no_client_auth();
            connect(client, &acceptor).expect("both can").speaks();
        }
    }
}

#[test]
fn a_client_that_offers_only_other_protocols_is_refused_rfc_7301_3_2() {
    let authority = Authority::new("authority");
    let (acceptor, _folder) = plain(&authority);
    let offering = |protocols: &[&[u8]]| {
        let mut client = trusting(&authority);
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        connect(client, &acceptor)
    };
    let chosen =
        |protocols| offering(protocols).expect("one is known").server.alpn_protocol().map(<[u8]>::to_vec);
    assert_eq!(chosen(&[b"h2", b"mqtt"]), Some(b"mqtt".to_vec()));
    assert_eq!(chosen(&[]), None);
    assert_eq!(offering(&[b"h2", b"http/1.1"]).unwrap_err(), Refused::Server(Error::NoApplicationProtocol));
}

#[test]
fn a_client_sees_the_certificate_of_the_host_that_it_names() {
    let (authority, folder) = (Authority::new("authority"), Folder::new());
    let hosts: [(&str, &[&str]); 4] = [
        ("first", &["first.example"]),
        ("any", &["*.a.example", "B.example"]),
        ("one", &["one.a.example"]),
        ("deep", &["*.one.a.example"]),
    ];
    let signed = hosts.map(|(name, hosts)| {
        let signed = authority.server(hosts);
        folder.keep(name, &signed);
        signed
    });
    let acceptor =
        Acceptor::load(&settings(&folder, &hosts.map(|(name, _)| name)), &MQTT).expect("good files");
    for (host, expected) in [
        ("first.example", 0),
        ("one.a.example", 2),
        ("two.a.example", 1),
        ("TWO.A.example", 1),
        ("b.example", 1),
        ("x.one.a.example", 3),
    ] {
        let pair = connect_to(host, &Arc::new(trusting(&authority)), &acceptor).expect(host);
        assert_eq!(pair.shown(), signed[expected].cert.der(), "{host}");
    }
    // Shown the first one, clients see for themselves that it is not for these.
    for host in ["a.example", "x.y.a.example", "other.example", "192.0.2.1"] {
        let refused = connect_to(host, &Arc::new(trusting(&authority)), &acceptor).unwrap_err();
        let Refused::Client(Error::InvalidCertificate(why)) = refused else { panic!("{host}: {refused:?}") };
        let CertificateError::NotValidForNameContext { presented, .. } = why else {
            panic!("{host}: {why:?}")
        };
        assert_eq!(presented, ["DnsName(\"first.example\")"], "{host}");
    }
}

#[test]
fn a_client_is_shown_a_certificate_whose_key_it_can_check() {
    let (authority, folder) = (Authority::new("authority"), Folder::new());
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let names = vec![dns("broker.example")];
    let rsa = authority.sign_key(rsa, "rsa", |params| params.subject_alt_names = names);
    let ecdsa = authority.server(&["broker.example"]);
    folder.keep("ecdsa", &ecdsa);
    folder.keep("rsa", &rsa);
    let acceptor = Acceptor::load(&settings(&folder, &["ecdsa", "rsa"]), &MQTT).expect("good files");
    assert_eq!(connect(trusting(&authority), &acceptor).expect("both can").shown(), ecdsa.cert.der());
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| suite.suite() == CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
    let old = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.cert.der().clone()).expect("a certificate");
    let old = old.with_protocol_versions(&[&TLS12]).expect("a version").with_root_certificates(roots);
    let pair = connect(old.with_no_client_auth(), &acceptor).expect("both can");
    assert_eq!(pair.shown(), rsa.cert.der());
}

#[test]
fn sessions_are_resumed_in_both_versions() {
    let authority = Authority::new("authority");
    let (acceptor, _folder) = plain(&authority);
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(builder(&authority, &[version]).with_no_client_auth());
        let kinds = [(); 3].map(|()| {
            let mut pair = connect_to("broker.example", &client, &acceptor).expect("both can");
            pair.speaks();
            pair.server.handshake_kind()
        });
        let expected = [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed];
        assert_eq!(kinds, expected.map(Some), "{version:?}");
    }
}

#[test]
fn a_session_of_one_listener_is_not_resumed_on_another() {
    let authority = Authority::new("authority");
    let ((one, _folder), (other, _other_folder)) = (plain(&authority), plain(&authority));
    let client = Arc::new(trusting(&authority));
    for acceptor in [&one, &other] {
        let pair = connect_to("broker.example", &client, acceptor).expect("both can");
        assert_eq!(pair.server.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn bytes_that_are_not_tls_end_the_connection_with_an_alert() {
    let authority = Authority::new("authority");
    let (acceptor, _folder) = plain(&authority);
    let mut session = acceptor.accept();
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x";
    let error = session.open(connect, &mut [0; 1 << 15]).unwrap_err();
    assert!(matches!(error, Error::InvalidMessage(_)), "{error:?}");
    assert!(session.wants_write(), "the alert");
}

/// What a session hears of a client that writes `CONNECT` behind its handshake, its bytes in pieces of so many.
fn heard_in_pieces_of(count: usize) -> Vec<u8> {
    let authority = Authority::new("authority");
    let (acceptor, _folder) = plain(&authority);
    let name = ServerName::try_from("broker.example").expect("a name");
    let mut client = ClientConnection::new(Arc::new(trusting(&authority)), name).expect("good");
    client.writer().write_all(b"CONNECT").expect("memory");
    let (mut session, mut plain, mut heard) = (acceptor.accept(), vec![0; 1 << 15], Vec::new());
    while client.wants_write() || session.wants_write() {
        let (mut said, mut answer) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut said).expect("memory");
        }
        for piece in said.chunks(count) {
            let opened = session.open(piece, &mut plain).expect("a good client");
            heard.extend_from_slice(&plain[..opened.len]);
        }
        while session.wants_write() {
            session.write_to(&mut answer).expect("memory");
        }
        let mut answer = &answer[..];
        while !answer.is_empty() {
            client.read_tls(&mut answer).expect("memory");
            client.process_new_packets().expect("a good server");
        }
    }
    assert!(!session.is_handshaking());
    heard
}

#[test]
fn a_handshake_may_come_in_pieces_of_any_length() {
    for count in [1, 2, 100, usize::MAX] {
        assert_eq!(heard_in_pieces_of(count), b"CONNECT", "in pieces of {count} bytes");
    }
}
