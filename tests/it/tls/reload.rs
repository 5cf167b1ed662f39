//! Certificates that are read again on SIGHUP, and what the log says of files.

use super::authority::{Signed, allow};
use super::site::{Site, broker, s_client};
use crate::support::{Broker, Raw, connack, publish, suback, subscribe, until};
use rcgen::date_time_ymd;
use rustix::process::{Signal, kill_process};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// A client's connection to a broker's encrypted listener.
struct Secret(StreamOwned<ClientConnection, TcpStream>);

impl Secret {
    fn open(broker: &Broker, site: &Site) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(site.authority.cert.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("a good configuration");
        Self(StreamOwned::new(tls, Raw::open(broker.beside).0))
    }

    fn connected(broker: &Broker, site: &Site, id: &str) -> Self {
        let mut secret = Self::open(broker, site);
        secret.asks(&crate::support::Connect::new(id).bytes(), &connack(false, 0));
        secret
    }

    /// Says something and hears exactly this.
    #[track_caller]
    fn asks(&mut self, said: &[u8], expected: &[u8]) {
        self.0.write_all(said).expect("the broker takes it");
        let mut heard = vec![0; expected.len()];
        self.0.read_exact(&mut heard).expect("an answer");
        assert_eq!(heard, expected);
    }

    /// Whether it was shown this certificate.
    fn was_shown(&self, signed: &Signed) -> bool {
        self.0.conn.peer_certificates().is_some_and(|chain| chain[0] == *signed.cert.der())
    }
}

/// Tells the broker to read its files again, and waits until it has said what came of that.
fn reload(broker: &Broker, said: &str) {
    let count = || broker.log().matches(said).count();
    let before = count();
    kill_process(broker.pid(), Signal::HUP).expect("it runs");
    until(said, || count() > before);
}

const READ: &str = "certificates were read again";
const KEPT: &str = "certificates stay as they were";

#[test]
fn new_connections_see_new_certificates_and_none_is_dropped() {
    let site = Site::new();
    let broker = broker(&site.listener());
    let mut old = Secret::connected(&broker, &site, "old");
    old.asks(&subscribe(1, "news", 0), &suback(1, 0));
    let renewed = site.renew();
    reload(&broker, READ);
    let mut new = Secret::connected(&broker, &site, "new");
    assert!(new.was_shown(&renewed) && !old.was_shown(&renewed));
    let message = publish(2, "news", Some(5), b"after");
    new.asks(&message, &[0x40, 2, 0, 5]);
    old.asks(&[0xc0, 0], &[&publish(0, "news", None, b"after")[..], &[0xd0, 0]].concat());
    assert!(!broker.log().contains("disconnected"), "nobody was dropped");
}

#[test]
fn a_bad_file_is_named_and_changes_nothing() {
    let site = Site::new();
    let first = site.renew();
    let broker = broker(&site.listener());
    let mut old = Secret::connected(&broker, &site, "old");
    for (name, said) in
        [("server.key", "has no private key in PEM"), ("server.pem", "has no certificate in PEM")]
    {
        let good = std::fs::read(site.path(name)).expect("a file");
        site.folder.write(name, "gone");
        reload(&broker, KEPT);
        let log = broker.log();
        let line = log.lines().rfind(|line| line.contains(KEPT)).expect("it was waited for");
        assert!(line.contains(name) && line.contains(said) && line.contains("listener=tls://"), "{line}");
        assert!(Secret::connected(&broker, &site, name).was_shown(&first));
        site.folder.write(name, good);
    }
    old.asks(&[0xc0, 0], &[0xd0, 0]);
    let renewed = site.renew();
    reload(&broker, READ);
    assert!(Secret::connected(&broker, &site, "new").was_shown(&renewed));
}

#[test]
fn a_client_that_is_revoked_now_does_not_come_back() {
    let site = Site::new();
    let broker = broker(&site.asking());
    let path = |name: &str| site.path(name).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("good.pem"), path("good.key"));
    let arguments = ["-CAfile", &ca, "-cert", &cert, "-key", &key];
    s_client(&broker, &arguments).is_served();
    site.folder.write("crl.pem", site.authority.revokes(&["lost", "good"], 4000));
    reload(&broker, READ);
    s_client(&broker, &arguments).is_refused("alert certificate revoked");
}

#[test]
fn what_could_go_wrong_later_is_said_at_the_start() {
    let site = Site::new();
    allow(&site.path("server.key"), 0o644);
    site.folder.write("crl.pem", site.authority.revokes(&[], 2021));
    let (nameless, ended) = (site.authority.client("nameless"), |params: &mut rcgen::CertificateParams| {
        params.not_after = date_time_ymd(2021, 3, 4);
    });
    let between = site.authority.sign("between", ended);
    site.folder.keep("nameless", &nameless);
    let chain = nameless.cert.pem() + &between.cert.pem();
    site.folder.write("nameless.pem", chain);
    let (pem, key) = (site.path("nameless.pem"), site.path("nameless.key"));
    let second = format!("[[listener.certificate]]\ncert = {pem:?}\nkey = {key:?}\n");
    let log = broker(&(site.asking() + &second)).log();
    for said in [
        "server.key: every user of this machine can read the private key; chmod o-rwx",
        "nameless.pem: the certificate names no host",
        "nameless.pem: certificate 2 in it, one between the listener's and the authority's, has expired",
        "crl.pem: the revocation list should have been replaced on Jan  1 00:00:00 2021",
    ] {
        assert!(
            log.lines().any(|line| line.contains("WARN") && line.contains(said)),
            "no {said:?} in\n{log}"
        );
    }
}

#[test]
fn a_certificate_that_ends_within_two_weeks_is_warned_about() {
    let site = Site::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let soon = now + std::time::Duration::from_secs(13 * 86_400);
    let ending = site.authority.sign("x", |params| params.not_after = date_time_ymd(1970, 1, 1) + soon);
    site.folder.keep("server", &ending);
    let log = broker(&site.listener()).log();
    assert!(log.contains("server.pem: the certificate expires soon, on "), "{log}");
}
