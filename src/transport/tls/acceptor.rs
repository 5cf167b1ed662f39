//! From certificate files to what a listener needs to accept TLS.

use super::Session;
use super::certificate::{self, Certificate, Warning};
use super::choice::Choice;
use super::clients::Trust;
use super::error::TlsError;
use crate::transport::settings::{TlsSettings, TlsVersion};
use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::UnixTime;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, ServerConfig, ServerConnection, SupportedProtocolVersion};
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
struct State {
    config: Arc<ServerConfig>,
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

    /// What new connections get.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// The session of a new connection.
    ///
    /// # Errors
    /// Only what would be wrong with the files as well.
    pub fn accept(&self) -> Result<Session, TlsError> {
        Ok(Session::new(ServerConnection::new(self.config())?))
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
    let provider = Arc::new(default_provider());
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
    Ok(State { config: Arc::new(config), trust })
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
        Some(before) => Ok(Arc::clone(&before.config.ticketer)),
        None => Ok(Ticketer::new()?),
    }
}
