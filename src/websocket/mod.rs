//! WebSocket as MQTT uses it: the upgrade of an HTTP request, frames in, frames out. [RFC 6455], [MQTT 6]
//!
//! Sans-IO: buffers in, bytes out. A connection begins with [`Upgrade`], which waits for the whole request and answers it;
//! from then on it has a [`Decoder`], which turns what is read into MQTT where it lies, and an [`Encoder`], which says
//! what goes in front of what is written. No extension is offered: MQTT's payloads are rarely worth compressing, and never
//! worth the memory that a compressor keeps for each connection.
//!
//! ```
//! use pantala::websocket::{Decoder, Encoder, Rules, Upgrade, Upgraded};
//!
//! let request = b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//!     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
//!     Sec-WebSocket-Protocol: mqtt\r\n\r\n\x82\x82\0\0\0\0\xc0\0";
//! let mut bytes = request.to_vec();
//! let Ok(Some(Upgraded { len, response, .. })) = Upgrade::default().read(&bytes, &Rules::default()) else {
//!     panic!("it is whole and as it should be")
//! };
//! assert!(response.starts_with(b"HTTP/1.1 101 "));
//!
//! let (mut decoder, mut encoder) = (Decoder::server(1 << 20), Encoder::server());
//! let frames = &mut bytes[len..];
//! let decoded = decoder.decode(frames, &mut encoder);
//! assert_eq!(frames[..decoded.len], [0xc0, 0], "PINGREQ");
//! ```

mod close;
mod decoder;
mod encoder;
mod handshake;
mod header;
mod mask;
#[cfg(test)]
mod tests;

pub use close::{CloseCode, Violation};
pub use decoder::{Decoded, Decoder, End};
pub use encoder::{Encoder, Next, masked};
pub use handshake::{
    Accepted, Ask, BadOrigin, HEAD_BYTES_MAX, HEADERS_MAX, Head, HeadReader, NotUpgraded, Origin, Refusal,
    Rules, Subprotocol, Upgrade, Upgraded, forwarded_for,
};
