//! Which of a listener's certificates a client is shown.

use super::certificate::Certificate;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// A listener's certificates, in the order of its settings.
#[derive(Debug)]
pub(super) struct Choice(Vec<Certificate>);

impl Choice {
    /// At least one certificate.
    pub(super) fn new(certificates: Vec<Certificate>) -> Self {
        Self(certificates)
    }

    /// The certificate for a host, in lower case, that a client can check: one that names it; otherwise one whose wildcard
    /// stands for it; otherwise the first. Of several, such as one with an RSA and one with an ECDSA key, the first that
    /// the client has a signature scheme for.
    fn pick(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let wildcard = host.and_then(|host| host.split_once('.')).map(|(_, domain)| domain);
        let named = |certificate: &&Certificate| {
            host.is_some_and(|host| certificate.hosts.iter().any(|name| name == host))
        };
        let covered = |certificate: &&Certificate| {
            let mut domains = certificate.hosts.iter().filter_map(|name| name.strip_prefix("*."));
            wildcard.is_some_and(|wildcard| domains.any(|domain| domain == wildcard))
        };
        let usable = |certificate: &&Certificate| certificate.key.key.choose_scheme(schemes).is_some();
        let certificates = || self.0.iter().filter(usable);
        let found = certificates().find(named).or_else(|| certificates().find(covered));
        found.or_else(|| certificates().next()).map(|certificate| &certificate.key)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pick(hello.server_name(), hello.signature_schemes()).cloned()
    }
}
