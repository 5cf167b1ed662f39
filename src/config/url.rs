//! Where a listener listens: `tcp://HOST:PORT`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// MQTT's registered port, named in hints.
const MQTT_PORT: u16 = 1883;

/// Schemes that a later version serves, so that asking for one is no spelling mistake.
const LATER: [&str; 6] = ["tls", "ws", "wss", "http", "https", "unix"];

/// A host as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, looked up at start.
    Name(String),
}

/// A listener's URL. Port 0 lets the system choose one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenUrl {
    /// Where to listen.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl ListenUrl {
    /// Where a broker listens that was told nothing: MQTT's port, for this machine only.
    pub const LOCAL: Self = Self { host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: MQTT_PORT };

    /// Every address to bind. A name can have several (`localhost` often has one per protocol).
    ///
    /// # Errors
    /// When a name cannot be looked up.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses = match &self.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => (name.as_str(), self.port).to_socket_addrs()?.collect::<Vec<_>>(),
        };
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => write!(f, "tcp://{}", SocketAddr::new(*ip, self.port)),
            Host::Name(name) => write!(f, "tcp://{name}:{}", self.port),
        }
    }
}

/// Why a text is no listener's URL: reads on after "expected".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// No `SCHEME://` in front.
    #[error("tcp://HOST:PORT, such as tcp://0.0.0.0:1883")]
    NoScheme,
    /// A scheme that a later version serves.
    #[error("tcp://HOST:PORT; {0}:// listeners come with a later version")]
    LaterScheme(&'static str),
    /// Any other scheme.
    #[error("tcp://HOST:PORT; there is no listener for {0}://")]
    UnknownScheme(String),
    /// Nothing between `//` and the port.
    #[error(
        "tcp://HOST:PORT with a host: 127.0.0.1 for this machine only, 0.0.0.0 or [::] for every network"
    )]
    NoHost,
    /// No port at the end.
    #[error("tcp://HOST:PORT with a port; MQTT's is 1883")]
    NoPort,
    /// The port is not a number in range.
    #[error("tcp://HOST:PORT with a port from 0 to 65535 (0: any free port), and nothing after it")]
    BadPort,
    /// An IPv6 address without its brackets, or with a mistake inside them.
    #[error("tcp://HOST:PORT with an IPv6 address in brackets, such as tcp://[::1]:1883")]
    BadIpv6,
    /// A host that is neither an address nor a name.
    #[error("tcp://HOST:PORT where HOST is an IP address or a host name")]
    BadHost,
}

impl FromStr for ListenUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(BadUrl::NoScheme)?;
        let scheme = scheme.to_ascii_lowercase();
        if let Some(later) = LATER.into_iter().find(|later| *later == scheme) {
            return Err(BadUrl::LaterScheme(later));
        }
        if scheme != "tcp" {
            return Err(BadUrl::UnknownScheme(scheme));
        }
        if rest.parse::<Ipv6Addr>().is_ok() {
            return Err(BadUrl::BadIpv6);
        }
        let (host, port) =
            rest.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).unwrap_or((rest, ""));
        let host = host_of(host)?;
        let port = match port {
            "" => return Err(BadUrl::NoPort),
            // `u16::from_str` alone would take `+1883`.
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| BadUrl::BadPort)?
            }
            _ => return Err(BadUrl::BadPort),
        };
        Ok(Self { host, port })
    }
}

fn host_of(text: &str) -> Result<Host, BadUrl> {
    if text.is_empty() {
        return Err(BadUrl::NoHost);
    }
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
        return address.map(|ip| Host::Ip(IpAddr::V6(ip))).ok_or(BadUrl::BadIpv6);
    }
    if text.contains(':') {
        return Err(BadUrl::BadIpv6);
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    if is_name(text) { Ok(Host::Name(text.to_ascii_lowercase())) } else { Err(BadUrl::BadHost) }
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

    #[test]
    fn addresses_and_names_are_read_and_shown_alike() {
        for text in [
            "tcp://127.0.0.1:1883",
            "tcp://0.0.0.0:0",
            "tcp://[::]:65535",
            "tcp://[::1]:1883",
            "tcp://a-b.c_d:1",
        ] {
            assert_eq!(text.parse::<ListenUrl>().map(|url| url.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(
            "TCP://LocalHost:7".parse::<ListenUrl>().map(|url| url.to_string()).unwrap(),
            "tcp://localhost:7"
        );
        assert_eq!(ListenUrl::LOCAL.to_string(), "tcp://127.0.0.1:1883");
    }

    #[test]
    fn each_part_that_is_wrong_is_named() {
        assert_eq!(error("1883"), BadUrl::NoScheme);
        assert_eq!(error("0.0.0.0:1883"), BadUrl::NoScheme);
        assert_eq!(error("tcps://h:1"), BadUrl::UnknownScheme("tcps".to_owned()));
        for text in ["tcp://", "tcp://:1883"] {
            assert_eq!(error(text), BadUrl::NoHost, "{text}");
        }
        for text in ["tcp://0.0.0.0", "tcp://h:", "tcp://[::1]"] {
            assert_eq!(error(text), BadUrl::NoPort, "{text}");
        }
        for text in ["tcp://h:65536", "tcp://h:+1", "tcp://h:1/", "tcp://h:1883/mqtt", "tcp://h:x"] {
            assert_eq!(error(text), BadUrl::BadPort, "{text}");
        }
        for text in ["tcp://::1:1883", "tcp://::", "tcp://[::1:1883", "tcp://[fe80]:1", "tcp://[::1]x:1"] {
            assert_eq!(error(text), BadUrl::BadIpv6, "{text}");
        }
        for text in ["tcp://*:1883", "tcp://256.0.0.1:1883", "tcp://user@h:1", "tcp://a..b:1", "tcp://-a:1"] {
            assert_eq!(error(text), BadUrl::BadHost, "{text}");
        }
    }

    #[test]
    fn schemes_of_later_versions_are_not_called_unknown() {
        for scheme in LATER {
            assert_eq!(error(&format!("{scheme}://0.0.0.0:1")), BadUrl::LaterScheme(scheme));
        }
    }

    #[test]
    fn an_address_needs_no_look_up_and_keeps_its_port() {
        let url = "tcp://[::1]:7".parse::<ListenUrl>().unwrap();
        assert_eq!(url.addresses().unwrap(), ["[::1]:7".parse().unwrap()]);
        let localhost = "tcp://localhost:7".parse::<ListenUrl>().unwrap().addresses().unwrap();
        assert!(localhost.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
        assert!(!localhost.is_empty());
    }
}
