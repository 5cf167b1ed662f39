//! Requests that are not upgraded: what the client is told, and in which form.

use std::fmt::Write;

/// Why a request is not upgraded. The texts are for the client and for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something other than HTTP, by its first byte.
    #[error("{}", not_http(*.0))]
    NotHttp(u8),
    /// Not HTTP/1 as it is written.
    #[error("not a well-formed HTTP/1.1 request")]
    Malformed,
    /// A head beyond the bound.
    #[error("request line and headers of more than {} bytes", super::HEAD_BYTES_MAX)]
    TooLong,
    /// More headers than are read.
    #[error("more than {} headers", super::HEADERS_MAX)]
    TooManyHeaders,
    /// Not GET.
    #[error("a WebSocket opens with GET [RFC 6455 4.2.1]")]
    Method,
    /// HTTP/1.0.
    #[error("a WebSocket opens with HTTP/1.1 [RFC 6455 4.2.1]")]
    HttpVersion,
    /// No host, or several.
    #[error("not exactly one Host [RFC 6455 4.2.1]")]
    Host,
    /// A request with a body, which would be taken for frames.
    #[error("a body, which an upgrade does not have")]
    Body,
    /// A path that is not served.
    #[error("no MQTT at this path; /mqtt is the usual one")]
    Path,
    /// An ordinary request.
    #[error("only WebSocket is served here; ask for Upgrade: websocket [RFC 6455 4.2.1]")]
    NoUpgrade,
    /// `Connection` does not name the upgrade.
    #[error("Connection without Upgrade [RFC 6455 4.2.1]")]
    Connection,
    /// No key, several, or one that is not 16 bytes in Base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in Base64 [RFC 6455 4.2.1]")]
    Key,
    /// Another version of the protocol.
    #[error("Sec-WebSocket-Version is not 13 [RFC 6455 4.2.1]")]
    Version,
    /// Neither `mqtt` nor `mqttv3.1` among the subprotocols.
    #[error("Sec-WebSocket-Protocol without mqtt [MQTT-6.0.0-3]")]
    Subprotocol,
    /// A page that may not connect.
    #[error("pages of this origin may not connect")]
    Origin,
}

/// What the first bytes of other protocols look like.
const MQTT_CONNECT: u8 = 0x10;
const TLS_HANDSHAKE: u8 = 0x16;

fn not_http(first: u8) -> String {
    match first {
        MQTT_CONNECT => "MQTT without WebSocket; use a tcp:// listener for it".to_owned(),
        TLS_HANDSHAKE => "TLS where none is spoken; use a wss:// or https:// listener for it".to_owned(),
        first => format!("not HTTP: first byte {first:#04x}"),
    }
}

impl Refusal {
    /// Status code and reason phrase.
    pub const fn status(self) -> (u16, &'static str) {
        match self {
            Self::Origin => (403, "Forbidden"),
            Self::Path => (404, "Not Found"),
            Self::Method => (405, "Method Not Allowed"),
            Self::NoUpgrade | Self::Version => (426, "Upgrade Required"),
            Self::TooLong | Self::TooManyHeaders => (431, "Request Header Fields Too Large"),
            _ => (400, "Bad Request"),
        }
    }

    /// Headers that say what would be right.
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Method => &[("Allow", "GET")],
            Self::NoUpgrade => &[("Upgrade", "websocket")],
            Self::Version => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
            _ => &[],
        }
    }

    /// The whole response, after which the connection is closed. Nothing for who does not speak HTTP.
    pub fn response(self) -> Vec<u8> {
        if matches!(self, Self::NotHttp(_)) {
            return Vec::new();
        }
        let ((code, phrase), body) = (self.status(), format!("{self}\n"));
        let mut head = format!("HTTP/1.1 {code} {phrase}\r\n");
        for (name, value) in self.headers() {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        // Who sends Upgrade names it here. [RFC 9110 7.8]
        let connection = if code == 426 { "Upgrade, close" } else { "close" };
        let _ = write!(
            head,
            "Connection: {connection}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        head.into_bytes()
    }
}
