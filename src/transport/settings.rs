//! What a listener is told: how clients come to it, who may, and what they are offered.

use crate::codec::Version;
use crate::types::{Network, Redirect, Span};
use crate::websocket::Rules;
use std::path::PathBuf;
use std::sync::Arc;

/// What stands between a listener's sockets and MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Nothing: MQTT over the stream.
    #[default]
    Mqtt,
    /// WebSocket. [MQTT 6]
    WebSocket,
    /// HTTP, with WebSocket as one thing that it can turn into.
    Http,
}

impl Framing {
    /// What is spoken inside TLS, as ALPN calls it. Browsers offer HTTP for a WebSocket as well.
    pub fn protocol(self) -> &'static [u8] {
        match self {
            Self::Mqtt => b"mqtt",
            Self::WebSocket | Self::Http => b"http/1.1",
        }
    }
}

/// Everything about a listener but its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Its URL as the operator wrote it, which rules may speak of.
    pub name: Arc<str>,
    /// What its streams carry.
    pub framing: Framing,
    /// Its certificates, if its streams are encrypted.
    pub tls: Option<TlsSettings>,
    /// Where its clients are sent instead of being served.
    pub redirect: Option<Redirect>,
    /// Connections at once over all cores; further ones are closed. `None` is no bound but those of the cores.
    pub connections_max: Option<u32>,
    /// Networks whose clients may connect; all when empty.
    pub allow: Vec<Network>,
    /// Networks whose clients may not, whatever `allow` says.
    pub deny: Vec<Network>,
    /// Load balancers that say in a PROXY protocol header for whom they connect. Connections from elsewhere are served
    /// without such a header, and closed when they send one.
    pub proxies: Vec<Network>,
    /// Whether clients without a user name are let in; `None`: on an address that only this machine reaches.
    pub anonymous: Option<bool>,
    /// What of a client's certificate is its user name, whatever its CONNECT says. Of a certificate that a load balancer
    /// has checked only the common name is known.
    pub username_from_cert: Option<CertificateName>,
    /// Which versions of MQTT a client may speak.
    pub versions: Versions,
    /// Options of its sockets.
    pub tcp: TcpSettings,
    /// Whose a UNIX socket is.
    pub unix: UnixSettings,
    /// What a WebSocket upgrade has to look like.
    pub web: WebSettings,
    /// What is served to browsers.
    pub http: HttpSettings,
}

impl ListenerSettings {
    /// The scheme of its URL, for a listener on a port.
    pub fn scheme(&self) -> &'static str {
        match (self.framing, self.tls.is_some()) {
            (Framing::Mqtt, false) => "tcp",
            (Framing::Mqtt, true) => "tls",
            (Framing::WebSocket, false) => "ws",
            (Framing::WebSocket, true) => "wss",
            (Framing::Http, false) => "http",
            (Framing::Http, true) => "https",
        }
    }
}

/// Versions of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// 3.1, protocol level 3.
    pub v31: bool,
    /// 3.1.1, protocol level 4.
    pub v311: bool,
    /// 5.0, protocol level 5.
    pub v5: bool,
}

impl Versions {
    /// Whether it is one of them.
    pub fn has(&self, version: Version) -> bool {
        match version {
            Version::V31 => self.v31,
            Version::V311 => self.v311,
            Version::V5 => self.v5,
        }
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self { v31: true, v311: true, v5: true }
    }
}

/// Options of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// Small messages do not wait for the acknowledgement of the ones before.
    pub no_delay: bool,
    /// Connections that wait to be accepted, per shard; further ones are retried by their clients' kernels.
    pub backlog: u16,
    /// Silence after which the kernel asks whether the client's machine is still there; `None`: never.
    pub keep_alive: Option<Span>,
    /// How long sent data may stay unacknowledged before the connection is given up; `None`: as the kernel does.
    pub user_timeout: Option<Span>,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self { no_delay: true, backlog: 4_096, keep_alive: Some(Span::from_secs(7_200)), user_timeout: None }
    }
}

/// Who may connect to a UNIX socket: those whom the file system lets write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSettings {
    /// Its owner, a name or a number; `None` is the broker's user.
    pub owner: Option<Box<str>>,
    /// Its group, a name or a number; `None` is the broker's.
    pub group: Option<Box<str>>,
    /// Its permissions.
    pub mode: u32,
}

impl Default for UnixSettings {
    fn default() -> Self {
        Self { owner: None, group: None, mode: 0o660 }
    }
}

/// The files of an encrypted listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificate chains with their keys, at least one. The first one serves clients that name no host, or one that
    /// none is for.
    pub certificates: Vec<CertificateFiles>,
    /// Authorities whose client certificates are accepted; without, clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Clients without a certificate are refused.
    pub require_client_cert: bool,
    /// Lists of revoked client certificates.
    pub crl: Option<PathBuf>,
    /// The lowest version that is spoken.
    pub min_version: TlsVersion,
    /// How long a handshake may take.
    pub handshake_timeout: Span,
    /// Handshakes in progress at once on each core; further connections wait to be accepted.
    pub handshakes_max: u32,
}

impl TlsSettings {
    /// Settings with everything but the certificate as it is by default.
    pub fn new(certificate: CertificateFiles) -> Self {
        Self {
            certificates: vec![certificate],
            client_ca: None,
            require_client_cert: false,
            crl: None,
            min_version: TlsVersion::V12,
            handshake_timeout: Span::from_secs(10),
            handshakes_max: 256,
        }
    }
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and after it those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2
    #[default]
    V12,
    /// 1.3
    V13,
}

/// A name in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The subject's common name.
    CommonName,
    /// The first subject alternative name: an e-mail address, DNS name or URI.
    AlternativeName,
}

/// What a WebSocket upgrade has to look like, and whom it is believed to come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSettings {
    /// Paths that upgrade, and origins of pages that may connect.
    pub rules: Rules,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

/// What is served to browsers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// A folder whose files are served.
    pub static_dir: Option<PathBuf>,
    /// Whether MQTT.js is served at `/mqtt.js`.
    pub bundle: bool,
}
