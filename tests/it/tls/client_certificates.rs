//! Whose client certificates count, and who a client is according to its own.

use super::authority::{Authority, Folder, dns};
use super::memory::{MQTT, Pair, Refused, connect, connect_to, settings, trusting, with_certificate};
use pantala::transport::settings::{CertificateName, TlsSettings};
use pantala::transport::tls::{Acceptor, client_name};
use rcgen::{CertificateParams, DnType, SanType, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, CertificateError, Error, HandshakeKind};
use std::sync::Arc;

/// A listener that asks for certificates of an authority.
struct Asking {
    authority: Authority,
    folder: Folder,
    settings: TlsSettings,
}

impl Asking {
    fn new() -> Self {
        let (authority, folder) = (Authority::new("authority"), Folder::new());
        folder.keep("server", &authority.server(&["broker.example"]));
        let mut settings = settings(&folder, &["server"]);
        settings.client_ca = Some(folder.write("ca.pem", authority.cert.pem()));
        settings.require_client_cert = true;
        Self { authority, folder, settings }
    }

    /// With a list of those that are revoked.
    fn revoking(clients: &[&str]) -> Self {
        let mut asking = Self::new();
        let list = asking.authority.revokes(clients, 4000);
        asking.settings.crl = Some(asking.folder.write("crl.pem", list));
        asking
    }

    fn acceptor(&self) -> Acceptor {
        Acceptor::load(&self.settings, &MQTT).expect("good files")
    }

    /// A client's connection, with a certificate of this authority.
    fn connect(&self, name: &str) -> Result<Pair, Refused> {
        self.connect_with(name, |_| {})
    }

    fn connect_with(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Result<Pair, Refused> {
        let own = self.authority.sign(name, edit);
        connect(with_certificate(&self.authority, ALL_VERSIONS, &own, &[]), &self.acceptor())
    }
}

fn refusal(error: CertificateError) -> Refused {
    Refused::Server(Error::InvalidCertificate(error))
}

#[test]
fn a_client_with_a_certificate_is_known_by_it() {
    let asking = Asking::new();
    for version in [&TLS12, &TLS13] {
        let own = asking.authority.client("meter 7");
        let client = with_certificate(&asking.authority, &[version], &own, &[]);
        let mut pair = connect(client, &asking.acceptor()).expect("it is trusted");
        pair.speaks();
        let name = client_name(&pair.server, CertificateName::CommonName);
        assert_eq!(name.as_deref(), Some("meter 7"));
    }
}

#[test]
fn a_client_without_certificate_is_refused_where_one_is_required() {
    let mut asking = Asking::new();
    let anonymous = || trusting(&asking.authority);
    let refused = connect(anonymous(), &asking.acceptor()).unwrap_err();
    assert_eq!(refused, Refused::Server(Error::NoCertificatesPresented));
    asking.settings.require_client_cert = false;
    let pair = connect(trusting(&asking.authority), &asking.acceptor()).expect("none is required");
    assert_eq!(client_name(&pair.server, CertificateName::CommonName), None);
}

#[test]
fn a_client_of_another_authority_is_refused_even_where_none_is_required() {
    let mut asking = Asking::new();
    asking.settings.require_client_cert = false;
    // Of the same name, so that the client shows its certificate.
    let own = Authority::new("authority").client("x");
    let client = with_certificate(&asking.authority, ALL_VERSIONS, &own, &[]);
    let refused = connect(client, &asking.acceptor()).unwrap_err();
    let Refused::Server(Error::InvalidCertificate(why)) = refused else { panic!("{refused:?}") };
    assert!(matches!(why, CertificateError::UnknownIssuer | CertificateError::BadSignature), "{why:?}");
}

#[test]
fn a_client_whose_certificate_has_ended_is_refused() {
    let ended = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let refused = Asking::new().connect_with("x", ended).unwrap_err();
    let Refused::Server(Error::InvalidCertificate(why)) = refused else { panic!("{refused:?}") };
    assert!(matches!(why, CertificateError::ExpiredContext { .. }), "{why:?}");
}

#[test]
fn a_revoked_client_is_refused_and_others_are_not() {
    let asking = Asking::revoking(&["lost", "stolen"]);
    asking.connect("good").expect("it is not revoked");
    for name in ["lost", "stolen"] {
        assert_eq!(asking.connect(name).unwrap_err(), refusal(CertificateError::Revoked), "{name}");
    }
}

#[test]
fn a_list_may_be_der_and_a_file_may_have_several() {
    let mut asking = Asking::revoking(&["lost"]);
    let pem = std::fs::read_to_string(asking.folder.path("crl.pem")).expect("a file");
    let other = Authority::new("other").revokes(&["else"], 4000);
    asking.settings.crl = Some(asking.folder.write("both.pem", other + &pem));
    assert_eq!(asking.connect("lost").unwrap_err(), refusal(CertificateError::Revoked));
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    use base64::Engine as _;
    let der = base64::engine::general_purpose::STANDARD.decode(base64).expect("base64");
    asking.settings.crl = Some(asking.folder.write("crl.der", der));
    assert_eq!(asking.connect("lost").unwrap_err(), refusal(CertificateError::Revoked));
    asking.connect("good").expect("it is not revoked");
}

#[test]
fn with_lists_a_client_whose_issuer_has_none_is_refused() {
    let mut asking = Asking::new();
    let list = Authority::new("another").revokes(&[], 4000);
    asking.settings.crl = Some(asking.folder.write("crl.pem", list));
    assert_eq!(asking.connect("x").unwrap_err(), refusal(CertificateError::UnknownRevocationStatus));
}

#[test]
fn an_authority_between_can_be_revoked_as_well() {
    let mut asking = Asking::new();
    let between = asking.authority.below("between");
    let own = between.client("x");
    let client = || with_certificate(&asking.authority, ALL_VERSIONS, &own, &[&between]);
    connect(client(), &asking.acceptor()).expect("it is trusted");
    let lists = |revoked: &[&str]| asking.authority.revokes(revoked, 4000) + &between.revokes(&[], 4000);
    let (good, bad) = (lists(&[]), lists(&["between"]));
    asking.settings.crl = Some(asking.folder.write("crl.pem", good));
    let acceptor = asking.acceptor();
    connect(client(), &acceptor).expect("nobody is revoked");
    asking.folder.write("crl.pem", bad);
    acceptor.reload().expect("good files");
    assert_eq!(connect(client(), &acceptor).unwrap_err(), refusal(CertificateError::Revoked));
}

#[test]
fn a_session_is_resumed_with_its_certificate_but_not_once_other_certificates_count() {
    let asking = Asking::revoking(&[]);
    let own = asking.authority.client("meter 7");
    for version in [&TLS12, &TLS13] {
        asking.folder.write("crl.pem", asking.authority.revokes(&[], 4000));
        let acceptor = asking.acceptor();
        let client = Arc::new(with_certificate(&asking.authority, &[version], &own, &[]));
        let again = || {
            let mut pair = connect_to("broker.example", &client, &acceptor)?;
            pair.speaks();
            let name = client_name(&pair.server, CertificateName::CommonName);
            assert_eq!(name.as_deref(), Some("meter 7"));
            Ok(pair.server.handshake_kind())
        };
        assert_eq!(again(), Ok(Some(HandshakeKind::Full)));
        assert_eq!(again(), Ok(Some(HandshakeKind::Resumed)));
        acceptor.reload().expect("the same files");
        assert_eq!(again(), Ok(Some(HandshakeKind::Resumed)));
        asking.folder.write("crl.pem", asking.authority.revokes(&["meter 7"], 4000));
        acceptor.reload().expect("good files");
        assert_eq!(again(), Err(refusal(CertificateError::Revoked)));
    }
}

#[test]
fn names_come_out_of_certificates_as_they_are() {
    let asking = Asking::new();
    let name_of = |which, name: &str, names: Vec<SanType>| {
        let edit = |params: &mut CertificateParams| params.subject_alt_names = names;
        client_name(&asking.connect_with(name, edit).expect("it is trusted").server, which)
    };
    let mail = || SanType::Rfc822Name("meter@example.org".try_into().expect("a name"));
    let uri = || SanType::URI("spiffe://example.org/meter/7".try_into().expect("a name"));
    let address = || SanType::IpAddress([192, 0, 2, 1].into());
    let (cn, san) = (CertificateName::CommonName, CertificateName::AlternativeName);
    for (which, name, names, expected) in [
        (cn, "Zähler 7", vec![mail()], Some("Zähler 7")),
        (cn, "", vec![mail()], None),
        (cn, "a\0b", vec![], None),
        (cn, "a\nb", vec![], None),
        (san, "x", vec![], None),
        (san, "x", vec![mail(), uri()], Some("meter@example.org")),
        (san, "x", vec![address(), uri(), mail()], Some("spiffe://example.org/meter/7")),
        (san, "x", vec![dns("meter.example.org")], Some("meter.example.org")),
        (san, "x", vec![address()], None),
    ] {
        assert_eq!(name_of(which, name, names.clone()).as_deref(), expected, "{which:?} {name:?} {names:?}");
    }
}

#[test]
fn a_certificate_without_common_name_has_none() {
    let asking = Asking::new();
    let edit = |params: &mut CertificateParams| {
        params.distinguished_name.remove(DnType::CommonName);
    };
    let pair = asking.connect_with("x", edit).expect("it is trusted");
    assert_eq!(client_name(&pair.server, CertificateName::CommonName), None);
}
