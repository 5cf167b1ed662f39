//! From certificate files to what a listener needs to accept TLS.

use super::Session;
use super::certificate::{self, Certificate, Warning};
use super::choice::Choice;
use super::clients::Trust;
use super::error::TlsError;
use super::suite::{prefers_aes, quickest_first};
use crate::transport::settings::{TlsSettings, TlsVersion};
use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets};
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;
use tracing::warn;

/// Tickets that a client is given at once. Each serves one connection, and brings the next one.
const TICKETS: usize = 1;
static V13_ONLY: &[&SupportedProtocolVersion] = &[&TLS13];

/// What accepts TLS on a listener, on all cores.
#[derive(Debug)]
pub struct Acceptor {
    settings: TlsSettings,
    /// What is spoken inside, as ALPN calls it.
    protocols: Vec<Vec<u8>>,
    current: ArcSwap<State>,
}

/// What the files have come to.
#[derive(Debug)]
pub(super) struct State {
    /// For clients whose order of cipher suites counts.
    ordered: Arc<ServerConfig>,
    /// For clients that would have AES anyway: the broker's order counts.
    quick: Arc<ServerConfig>,
    trust: Trust,
}

impl Acceptor {
    /// Reads the files, and logs what an operator should know of them. `protocols` is what is spoken inside: a client that
    /// offers protocols has to offer one of them, the others need not offer any. [RFC 7301 3.2]
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn load(settings: &TlsSettings, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let state = read(settings, &protocols, None)?;
        Ok(Self { settings: settings.clone(), protocols, current: ArcSwap::from_pointee(state) })
    }

    /// Reads the files again, for connections from now on. On an error all stays as it was.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn reload(&self) -> Result<(), TlsError> {
        let state = read(&self.settings, &self.protocols, Some(&self.current.load()))?;
        self.current.store(Arc::new(state));
        Ok(())
    }

    /// What a new connection gets that begins so.
    pub fn config(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        self.current.load().config(hello)
    }

    /// The session of a new connection.
    pub fn accept(&self) -> Session {
        Session::accept(self.current.load_full())
    }
}

impl State {
    /// What a connection gets that begins so.
    pub(super) fn config(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        Arc::clone(if prefers_aes(hello.cipher_suites()) { &self.quick } else { &self.ordered })
    }
}

/// Reads the files and logs the warnings.
fn read(settings: &TlsSettings, protocols: &[Vec<u8>], before: Option<&State>) -> Result<State, TlsError> {
    let mut warnings = Vec::new();
    let state = build(settings, protocols, before, UnixTime::now(), &mut warnings)?;
    for warning in warnings {
        warn!("{warning}");
    }
    Ok(state)
}

fn build(
    settings: &TlsSettings,
    protocols: &[Vec<u8>],
    before: Option<&State>,
    now: UnixTime,
    warnings: &mut Vec<Warning>,
) -> Result<State, TlsError> {
    // By name, as another crate of the process may bring a provider of its own.
    let mut provider = default_provider();
    quickest_first(&mut provider);
    let provider = Arc::new(provider);
    let load = |files| certificate::load(files, &provider, now, warnings);
    let certificates: Vec<Certificate> = settings.certificates.iter().map(load).collect::<Result<_, _>>()?;
    let hidden = certificates.iter().skip(1).filter(|certificate| certificate.hosts.is_empty());
    warnings.extend(hidden.map(|certificate| Warning::Hidden(certificate.path.clone())));
    let trust = Trust::load(settings, now, warnings)?;
    let verifier = trust.verifier(settings, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions(settings))?;
    let resolver = Arc::new(Choice::new(certificates));
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
    config.alpn_protocols = protocols.to_vec();
    // Sessions are resumed from what their clients keep, on whichever core they come back to; the broker keeps nothing.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    config.ticketer = tickets(&trust, before)?;
    let mut quick = config.clone();
    quick.ignore_client_order = true;
    Ok(State { ordered: Arc::new(config), quick: Arc::new(quick), trust })
}

fn versions(settings: &TlsSettings) -> &'static [&'static SupportedProtocolVersion] {
    match settings.min_version {
        TlsVersion::V12 => ALL_VERSIONS,
        TlsVersion::V13 => V13_ONLY,
    }
}

/// What tickets are encrypted with: a key for six hours, good for twelve. A resumed session takes the client's certificate
/// from its ticket, unchecked, as a connection that never ended would have; so tickets end when other certificates count.
fn tickets(trust: &Trust, before: Option<&State>) -> Result<Arc<dyn ProducesTickets>, TlsError> {
    match before.filter(|before| before.trust == *trust) {
        Some(before) => Ok(Arc::clone(&before.ordered.ticketer)),
        None => Ok(Ticketer::new()?),
    }
}
