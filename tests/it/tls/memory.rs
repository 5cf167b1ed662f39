//! Handshakes of a rustls client with what the broker accepts TLS with, without sockets.

use super::authority::{Authority, Folder, Signed};
use pantala::transport::settings::{CertificateFiles, TlsSettings};
use pantala::transport::tls::Acceptor;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::Acceptor as Hello;
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, ConfigBuilder, Error, RootCertStore, ServerConnection,
    SupportedProtocolVersion, WantsVerifier,
};
use std::io::{Read, Write};
use std::sync::Arc;

/// What a listener on a port speaks inside TLS.
pub(super) const MQTT: [&[u8]; 1] = [b"mqtt"];

/// The settings for certificates that were kept under these names.
pub(super) fn settings(folder: &Folder, names: &[&str]) -> TlsSettings {
    let files = |name: &&str| CertificateFiles {
        cert: folder.path(&format!("{name}.pem")),
        key: folder.path(&format!("{name}.key")),
    };
    let mut settings = TlsSettings::new(files(&names[0]));
    settings.certificates = names.iter().map(files).collect();
    settings
}

/// An acceptor with a certificate for `broker.example`, and what has to outlive it.
pub(super) fn plain(authority: &Authority) -> (Acceptor, Folder) {
    let folder = Folder::new();
    folder.keep("server", &authority.server(&["broker.example"]));
    (Acceptor::load(&settings(&folder, &["server"]), &MQTT).expect("good files"), folder)
}

/// A client that trusts an authority.
pub(super) fn trusting(authority: &Authority) -> ClientConfig {
    builder(authority, ALL_VERSIONS).with_no_client_auth()
}

/// A client with a certificate, and those between it and the authority's.
pub(super) fn with_certificate(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    own: &Signed,
    between: &[&Authority],
) -> ClientConfig {
    let mut chain: Vec<CertificateDer<'static>> = vec![own.cert.der().clone()];
    chain.extend(between.iter().map(|authority| authority.cert.der().clone()));
    let key = PrivatePkcs8KeyDer::from(own.key.serialize_der());
    builder(authority, versions).with_client_auth_cert(chain, key.into()).expect("a pair")
}

pub(super) fn builder(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let builder: ConfigBuilder<ClientConfig, WantsVerifier> =
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions");
    let mut roots = RootCertStore::empty();
    roots.add(authority.cert.der().clone()).expect("a certificate");
    builder.with_root_certificates(roots)
}

/// Both ends of a connection.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) client: ClientConnection,
    pub(super) server: ServerConnection,
}

/// Whose end has had enough, and why.
#[derive(Debug, PartialEq)]
pub(super) enum Refused {
    Client(Error),
    Server(Error),
}

/// Connects to `broker.example`.
pub(super) fn connect(client: ClientConfig, acceptor: &Acceptor) -> Result<Pair, Refused> {
    connect_to("broker.example", &Arc::new(client), acceptor)
}

/// Connects to a host, and goes on until nobody has anything to say.
pub(super) fn connect_to(
    host: &str,
    client: &Arc<ClientConfig>,
    acceptor: &Acceptor,
) -> Result<Pair, Refused> {
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::clone(client), name).expect("a good configuration");
    let server = begin(&mut client, acceptor).map_err(Refused::Server)?;
    let mut pair = Pair { client, server };
    pair.talk()?;
    Ok(pair)
}

/// What the server offers to a client that begins so.
fn begin(client: &mut ClientConnection, acceptor: &Acceptor) -> Result<ServerConnection, Error> {
    let (mut wire, mut hello) = (Vec::new(), Hello::default());
    client.write_tls(&mut wire).expect("memory");
    hello.read_tls(&mut &wire[..]).expect("memory");
    let accepted = hello.accept().map_err(|(error, _)| error)?.expect("all of the first message");
    let config = acceptor.config(&accepted.client_hello());
    accepted.into_connection(config).map_err(|(error, _)| error)
}

impl Pair {
    /// Carries bytes both ways until there are none.
    pub(super) fn talk(&mut self) -> Result<(), Refused> {
        while self.client.wants_write() || self.server.wants_write() {
            let mut wire = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut wire).expect("memory");
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                self.server.read_tls(&mut rest).expect("memory");
                self.server.process_new_packets().map_err(Refused::Server)?;
            }
            wire.clear();
            while self.server.wants_write() {
                self.server.write_tls(&mut wire).expect("memory");
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).expect("memory");
                self.client.process_new_packets().map_err(Refused::Client)?;
            }
        }
        Ok(())
    }

    /// Shows that what the client says arrives.
    pub(super) fn speaks(&mut self) {
        self.client.writer().write_all(b"hello").expect("memory");
        self.talk().expect("a live connection");
        let mut heard = [0; 5];
        self.server.reader().read_exact(&mut heard).expect("all of it");
        assert_eq!(&heard, b"hello");
    }

    /// The server's certificate as the client sees it.
    pub(super) fn shown(&self) -> &CertificateDer<'static> {
        &self.client.peer_certificates().expect("a server has one")[0]
    }
}
