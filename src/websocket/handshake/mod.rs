//! The way from HTTP to WebSocket. [RFC 6455 4.2]

mod ask;
mod forwarded;
mod origin;
mod refusal;
mod request;

pub use ask::{Ask, NotUpgraded};
pub use forwarded::forwarded_for;
pub use origin::{BadOrigin, Origin};
pub use refusal::Refusal;
pub use request::{HEAD_BYTES_MAX, HEADERS_MAX, Head, HeadReader};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};

/// What the key is hashed with, so that nobody accepts by accident. [RFC 6455 1.3]
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a listener asks of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Paths that upgrade; any when empty.
    pub paths: Vec<String>,
    /// Origins of pages that may connect; any when empty. Clients that are not browsers send none, and need none.
    pub origins: Vec<Origin>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { paths: ["/", "/mqtt"].map(str::to_owned).to_vec(), origins: Vec::new() }
    }
}

/// What is spoken over a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// `mqtt`: any version. [MQTT-6.0.0-4]
    Mqtt,
    /// `mqttv3.1`, as clients of that version ask for.
    MqttV31,
}

impl Subprotocol {
    /// Its name in `Sec-WebSocket-Protocol`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::MqttV31 => "mqttv3.1",
        }
    }
}

/// A request that is not whole yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Upgrade(HeadReader);

/// A request that is answered with a WebSocket.
#[derive(Clone, Debug)]
pub struct Upgraded<'a> {
    /// Bytes of the request. What follows them is frames already.
    pub len: usize,
    /// The request, for [`forwarded_for`] and the log.
    pub head: Head<'a>,
    /// What is spoken.
    pub subprotocol: Subprotocol,
    /// What is to be sent before the first frame.
    pub response: Vec<u8>,
}

/// What a request that is as it should be is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What is spoken.
    pub subprotocol: Subprotocol,
    /// The value of `Sec-WebSocket-Accept`.
    accept: [u8; ACCEPT_BYTES],
}

/// A SHA-1 in Base64.
const ACCEPT_BYTES: usize = 28;

impl Upgrade {
    /// Reads the request at the front of all bytes so far; `None` while it is not whole. The bytes of one call have to be
    /// the beginning of those of the next.
    ///
    /// # Errors
    /// Whatever is not as the standards or the rules want it, to be answered with [`Refusal::response`].
    pub fn read<'a>(&mut self, bytes: &'a [u8], rules: &Rules) -> Result<Option<Upgraded<'a>>, Refusal> {
        let Some(len) = self.0.read(bytes)? else { return Ok(None) };
        let head = Head::parse(&bytes[..len])?;
        let accepted = Accepted::check(&head, rules)?;
        Ok(Some(Upgraded { len, head, subprotocol: accepted.subprotocol, response: accepted.response() }))
    }
}

impl Accepted {
    /// Checks a request, from whichever parser.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(head: &Head<'_>, rules: &Rules) -> Result<Self, Refusal> {
        if !head.http_1_1 {
            return Err(Refusal::HttpVersion);
        }
        if head.single("Host").is_none() {
            return Err(Refusal::Host);
        }
        if !rules.paths.is_empty() && !rules.paths.iter().any(|path| path == head.path()) {
            return Err(Refusal::Path);
        }
        if head.method != "GET" {
            return Err(Refusal::Method);
        }
        if !head.asks_upgrade() {
            return Err(Refusal::NoUpgrade);
        }
        if !head.has_item("Connection", "Upgrade") {
            return Err(Refusal::Connection);
        }
        if head.values("Transfer-Encoding").next().is_some()
            || head.values("Content-Length").any(|len| len != b"0")
        {
            return Err(Refusal::Body);
        }
        if head.single("Sec-WebSocket-Version") != Some(b"13") {
            return Err(Refusal::Version);
        }
        let accept = head.single("Sec-WebSocket-Key").and_then(accept).ok_or(Refusal::Key)?;
        let allowed = |origin| rules.origins.iter().any(|rule| rule.allows(origin));
        if !rules.origins.is_empty() && !head.values("Origin").all(allowed) {
            return Err(Refusal::Origin);
        }
        let offered = |name: Subprotocol| {
            head.items("Sec-WebSocket-Protocol").any(|item| item == name.name().as_bytes())
        };
        let subprotocol = [Subprotocol::Mqtt, Subprotocol::MqttV31].into_iter().find(|&name| offered(name));
        Ok(Self { subprotocol: subprotocol.ok_or(Refusal::Subprotocol)?, accept })
    }

    /// The value of `Sec-WebSocket-Accept`.
    pub fn accept(&self) -> &str {
        std::str::from_utf8(&self.accept).unwrap_or_default()
    }

    /// The response that makes it a WebSocket.
    pub fn response(&self) -> Vec<u8> {
        let (accept, subprotocol) = (self.accept(), self.subprotocol.name());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        )
        .into_bytes()
    }
}

/// What proves that a key was read; `None` for what is no key. [RFC 6455 4.2.2]
fn accept(key: &[u8]) -> Option<[u8; ACCEPT_BYTES]> {
    if BASE64.decode(key).ok()?.len() != 16 {
        return None;
    }
    Some(accept_of(key))
}

fn accept_of(key: &[u8]) -> [u8; ACCEPT_BYTES] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; ACCEPT_BYTES];
    BASE64.encode_slice(digest, &mut accept).expect("20 bytes are 28 in Base64");
    accept
}

#[cfg(test)]
mod tests;
