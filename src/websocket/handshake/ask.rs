//! The client's side of the upgrade, for tests and for load.

use super::{BASE64, HEAD_BYTES_MAX, HEADERS_MAX, Subprotocol, accept_of};
use base64::Engine;
use memchr::memmem;

/// A client that asks for a WebSocket.
#[derive(Clone, Debug)]
pub struct Ask {
    key: String,
}

/// Why there is no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUpgraded {
    /// The server does not want to, and perhaps says why.
    #[error("the server answers {0} {1:?} instead of 101 Switching Protocols")]
    Refused(u16, String),
    /// Not HTTP, or more of it than is read.
    #[error("the server's answer is no HTTP/1.1 response of at most {HEAD_BYTES_MAX} bytes")]
    Malformed,
    /// An answer to somebody else's request, or by a server that does not know WebSocket.
    #[error("the server's answer lacks Upgrade, Connection or the right Sec-WebSocket-Accept [RFC 6455 4.1]")]
    NotOurs,
    /// Another subprotocol than was asked for, or none.
    #[error("the server chose subprotocol {0:?} instead of {1:?} [RFC 6455 4.1]")]
    Subprotocol(String, &'static str),
}

impl Ask {
    /// A client with these random bytes, from which a server makes its proof that it has read them.
    pub fn new(nonce: [u8; 16]) -> Self {
        Self { key: BASE64.encode(nonce) }
    }

    /// The request: for a host, with its port if it is not the usual one, and a path.
    pub fn request(&self, host: &str, path: &str, subprotocol: Subprotocol) -> Vec<u8> {
        let (key, subprotocol) = (&self.key, subprotocol.name());
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        )
        .into_bytes()
    }

    /// Reads the answer at the front of all bytes so far: how many bytes it has, after which frames begin; `None` while it
    /// is not whole.
    ///
    /// # Errors
    /// Any other answer than the one that is wanted.
    pub fn answer(&self, bytes: &[u8], subprotocol: Subprotocol) -> Result<Option<usize>, NotUpgraded> {
        let within = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let Some(end) = memmem::find(within, b"\r\n\r\n") else {
            return if within.len() == HEAD_BYTES_MAX { Err(NotUpgraded::Malformed) } else { Ok(None) };
        };
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let (Ok(httparse::Status::Complete(len)), Some(code)) =
            (response.parse(&bytes[..end + 4]), response.code)
        else {
            return Err(NotUpgraded::Malformed);
        };
        if code != 101 {
            return Err(NotUpgraded::Refused(code, response.reason.unwrap_or_default().to_owned()));
        }
        let value = |name: &str| {
            let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.map_or("", |header| std::str::from_utf8(header.value).unwrap_or_default())
        };
        let ours = value("Upgrade").eq_ignore_ascii_case("websocket")
            && value("Connection").eq_ignore_ascii_case("Upgrade")
            && value("Sec-WebSocket-Accept").as_bytes() == accept_of(self.key.as_bytes());
        let chosen = value("Sec-WebSocket-Protocol");
        match (ours, chosen == subprotocol.name()) {
            (true, true) => Ok(Some(len)),
            (true, false) => Err(NotUpgraded::Subprotocol(chosen.to_owned(), subprotocol.name())),
            (false, _) => Err(NotUpgraded::NotOurs),
        }
    }
}
