//! Where a listener listens: `tcp://HOST:PORT`, the same for `tls`, `ws`, `wss`, `http` and `https`, and `unix://PATH`.

use crate::transport::settings::Framing;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// MQTT's registered port, named in hints.
const MQTT_PORT: u16 = 1883;
/// What a socket's path may have: `sun_path` less its last zero. unix(7)
const UNIX_PATH_BYTES_MAX: usize = 107;

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// MQTT.
    Tcp,
    /// MQTT over TLS.
    Tls,
    /// MQTT over WebSocket.
    Ws,
    /// MQTT over WebSocket over TLS.
    Wss,
    /// HTTP, and MQTT over WebSocket.
    Http,
    /// HTTP over TLS, and MQTT over WebSocket over TLS.
    Https,
}

impl Scheme {
    const ALL: [(&'static str, Self); 8] = [
        ("tcp", Self::Tcp),
        ("tls", Self::Tls),
        ("ws", Self::Ws),
        ("wss", Self::Wss),
        ("http", Self::Http),
        ("https", Self::Https),
        // As clients write them.
        ("mqtt", Self::Tcp),
        ("mqtts", Self::Tls),
    ];

    /// Its name in a URL.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, scheme)| *scheme == self).map_or("", |(name, _)| name)
    }

    /// Whether its streams are encrypted.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Https)
    }

    /// What its streams carry.
    pub fn framing(self) -> Framing {
        match self {
            Self::Tcp | Self::Tls => Framing::Mqtt,
            Self::Ws | Self::Wss => Framing::WebSocket,
            Self::Http | Self::Https => Framing::Http,
        }
    }
}

/// A host as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, looked up at start.
    Name(String),
}

/// A listener's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenUrl {
    /// A port.
    Net {
        /// What is spoken on it.
        scheme: Scheme,
        /// Where to listen.
        host: Host,
        /// The port; 0 lets the system choose one.
        port: u16,
    },
    /// MQTT on a UNIX socket at an absolute path.
    Unix(PathBuf),
}

impl ListenUrl {
    /// Where a broker listens that was told nothing: MQTT's port, for this machine only.
    pub const LOCAL: Self =
        Self::Net { scheme: Scheme::Tcp, host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: MQTT_PORT };

    /// What its streams carry.
    pub fn framing(&self) -> Framing {
        match self {
            Self::Net { scheme, .. } => scheme.framing(),
            Self::Unix(_) => Framing::Mqtt,
        }
    }

    /// Whether its streams are encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Net { scheme, .. } if scheme.is_encrypted())
    }

    /// Whether both cannot be listened on at the same time. Free ports never clash.
    pub fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Net { host, port, .. }, Self::Net { host: other_host, port: other_port, .. }) => {
                *port != 0 && (host, port) == (other_host, other_port)
            }
            _ => self == other,
        }
    }
}

impl Host {
    /// Every address to bind with a port. A name can have several (`localhost` often has one per protocol).
    ///
    /// # Errors
    /// When a name cannot be looked up.
    pub fn addresses(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut addresses = match self {
            Self::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
            Self::Name(name) => (name.as_str(), port).to_socket_addrs()?.collect::<Vec<_>>(),
        };
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net { scheme, host: Host::Ip(ip), port } => {
                write!(f, "{}://{}", scheme.name(), SocketAddr::new(*ip, *port))
            }
            Self::Net { scheme, host: Host::Name(name), port } => {
                write!(f, "{}://{name}:{port}", scheme.name())
            }
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Why a text is no listener's URL: reads on after "expected".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// No `SCHEME://` in front.
    #[error("SCHEME://HOST:PORT, such as tcp://0.0.0.0:1883")]
    NoScheme,
    /// A scheme that nobody here speaks.
    #[error("tcp, tls, ws, wss, http, https or unix before ://; there is no listener for {0}://")]
    UnknownScheme(String),
    /// Nothing between `//` and the port.
    #[error(
        "{0}://HOST:PORT with a host: 127.0.0.1 for this machine only, 0.0.0.0 or [::] for every network"
    )]
    NoHost(&'static str),
    /// No port at the end.
    #[error("{0}://HOST:PORT with a port; usual is {1}")]
    NoPort(&'static str, u16),
    /// The port is not a number in range.
    #[error(
        "{0}://HOST:PORT with a port from 0 to 65535 (0: any free port), and nothing after it{path}",
        path = if matches!(*.0, "tcp" | "tls") { "" } else { "; paths = [\"/mqtt\"] says where WebSockets are" }
    )]
    BadPort(&'static str),
    /// An IPv6 address without its brackets, or with a mistake inside them.
    #[error("{0}://HOST:PORT with an IPv6 address in brackets, such as {0}://[::1]:1883")]
    BadIpv6(&'static str),
    /// A host that is neither an address nor a name.
    #[error("{0}://HOST:PORT where HOST is an IP address or a host name")]
    BadHost(&'static str),
    /// A UNIX socket without an absolute path that fits.
    #[error(
        "unix://PATH with an absolute path of at most {UNIX_PATH_BYTES_MAX} bytes, such as unix:///run/pantala.sock"
    )]
    BadPath,
}

impl FromStr for ListenUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(BadUrl::NoScheme)?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "unix" {
            let fits = rest.starts_with('/')
                && !rest.ends_with('/')
                && rest.len() <= UNIX_PATH_BYTES_MAX
                && !rest.contains('\0');
            return if fits { Ok(Self::Unix(rest.into())) } else { Err(BadUrl::BadPath) };
        }
        let found = Scheme::ALL.into_iter().find(|(name, _)| *name == scheme);
        let (_, scheme) = found.ok_or(BadUrl::UnknownScheme(scheme))?;
        let name = scheme.name();
        if rest.parse::<Ipv6Addr>().is_ok() {
            return Err(BadUrl::BadIpv6(name));
        }
        let (host, port) =
            rest.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).unwrap_or((rest, ""));
        let host = host_of(name, host)?;
        let port = match port {
            "" => return Err(BadUrl::NoPort(name, usual_port(scheme))),
            // `u16::from_str` alone would take `+1883`.
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| BadUrl::BadPort(name))?
            }
            _ => return Err(BadUrl::BadPort(name)),
        };
        Ok(Self::Net { scheme, host, port })
    }
}

/// The port that people expect.
fn usual_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Tcp => MQTT_PORT,
        Scheme::Tls => 8_883,
        Scheme::Ws | Scheme::Http => 8_080,
        Scheme::Wss | Scheme::Https => 8_443,
    }
}

fn host_of(scheme: &'static str, text: &str) -> Result<Host, BadUrl> {
    if text.is_empty() {
        return Err(BadUrl::NoHost(scheme));
    }
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
        return address.map(|ip| Host::Ip(IpAddr::V6(ip))).ok_or(BadUrl::BadIpv6(scheme));
    }
    if text.contains(':') {
        return Err(BadUrl::BadIpv6(scheme));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    if is_name(text) { Ok(Host::Name(text.to_ascii_lowercase())) } else { Err(BadUrl::BadHost(scheme)) }
}

/// RFC 1123 names, and underscores, which container networks use. All digits would be a mistyped address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(is_label) && text.bytes().any(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> BadUrl {
        text.parse::<ListenUrl>().expect_err(text)
    }

    fn shown(text: &str) -> String {
        text.parse::<ListenUrl>().expect(text).to_string()
    }

    #[test]
    fn urls_are_shown_as_they_are_written() {
        for text in [
            "tcp://127.0.0.1:1883",
            "tls://0.0.0.0:0",
            "ws://[::]:65535",
            "wss://[::1]:1883",
            "http://a-b.c_d:1",
            "https://localhost:443",
            "unix:///run/pantala.sock",
        ] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("TCP://LocalHost:7"), "tcp://localhost:7");
        assert_eq!(shown("mqtt://h:7"), "tcp://h:7");
        assert_eq!(shown("mqtts://h:7"), "tls://h:7");
        assert_eq!(ListenUrl::LOCAL.to_string(), "tcp://127.0.0.1:1883");
    }

    #[test]
    fn each_part_that_is_wrong_is_named() {
        assert_eq!(error("1883"), BadUrl::NoScheme);
        assert_eq!(error("0.0.0.0:1883"), BadUrl::NoScheme);
        assert_eq!(error("tcps://h:1"), BadUrl::UnknownScheme("tcps".to_owned()));
        for text in ["tcp://", "tcp://:1883"] {
            assert_eq!(error(text), BadUrl::NoHost("tcp"), "{text}");
        }
        for text in ["tls://0.0.0.0", "tls://h:", "mqtts://[::1]"] {
            assert_eq!(error(text), BadUrl::NoPort("tls", 8_883), "{text}");
        }
        for text in ["tcp://h:65536", "tcp://h:+1", "tcp://h:1/", "tcp://h:1883/mqtt", "tcp://h:x"] {
            assert_eq!(error(text), BadUrl::BadPort("tcp"), "{text}");
        }
        for text in ["tcp://::1:1883", "tcp://::", "tcp://[::1:1883", "tcp://[fe80]:1", "tcp://[::1]x:1"] {
            assert_eq!(error(text), BadUrl::BadIpv6("tcp"), "{text}");
        }
        for text in ["tcp://*:1883", "tcp://256.0.0.1:1883", "tcp://user@h:1", "tcp://a..b:1", "tcp://-a:1"] {
            assert_eq!(error(text), BadUrl::BadHost("tcp"), "{text}");
        }
        let long = format!("unix:///{}", "p".repeat(UNIX_PATH_BYTES_MAX));
        for text in ["unix://", "unix://run/pantala.sock", "unix:///run/", &long] {
            assert_eq!(error(text), BadUrl::BadPath, "{text}");
        }
    }

    #[test]
    fn who_writes_a_path_behind_the_port_of_a_web_socket_learns_where_it_belongs() {
        assert!(error("ws://h:80/mqtt").to_string().contains("paths = [\"/mqtt\"]"));
        assert!(!error("tcp://h:80/mqtt").to_string().contains("paths"));
    }

    #[test]
    fn listeners_clash_on_one_port_whatever_they_speak() {
        let clash =
            |one: &str, other: &str| one.parse::<ListenUrl>().unwrap().clashes(&other.parse().unwrap());
        assert!(clash("tcp://h:1", "tls://H:1"));
        assert!(clash("unix:///a", "unix:///a"));
        assert!(!clash("tcp://h:1", "tcp://h:2"));
        assert!(!clash("tcp://h:0", "tcp://h:0"));
        assert!(!clash("unix:///a", "unix:///b"));
    }

    #[test]
    fn an_address_needs_no_look_up_and_keeps_its_port() {
        let host = Host::Ip("::1".parse().unwrap());
        assert_eq!(host.addresses(7).unwrap(), ["[::1]:7".parse().unwrap()]);
        let localhost = Host::Name("localhost".to_owned()).addresses(7).unwrap();
        assert!(localhost.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
        assert!(!localhost.is_empty());
    }
}
