//! WebSocket as bytes, put together without the broker's own.

use super::{Connect, PATIENCE, Raw, connack, suback, subscribe};
use std::collections::VecDeque;
use std::io::Read;
use std::net::SocketAddr;

/// The request of the standard, as an MQTT client sends it. [RFC 6455 1.2]
pub(crate) const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
    Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// The answer to it. [RFC 6455 1.3], [MQTT-6.0.0-4]
pub(crate) const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame of a first byte and a payload.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).expect("seven bits")),
        len @ 126..0x1_0000 => {
            frame.push(0xfe);
            frame.extend(u16::try_from(len).expect("two bytes").to_be_bytes());
        }
        len => {
            frame.push(0xff);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A WebSocket on which a test says and hears frames, or MQTT in them.
pub(crate) struct Web {
    pub(crate) raw: Raw,
    /// MQTT that came and was not expected yet.
    mqtt: VecDeque<u8>,
}

impl Web {
    /// Upgraded, without a word of MQTT.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut raw = Raw::open(address);
        raw.send(REQUEST.as_bytes());
        raw.expect(ACCEPTED.as_bytes());
        Self::over(raw)
    }

    /// What is upgraded already.
    pub(crate) fn over(raw: Raw) -> Self {
        Self { raw, mqtt: VecDeque::new() }
    }

    /// Sends MQTT in one frame.
    pub(crate) fn send(&mut self, mqtt: &[u8]) {
        self.raw.send(&frame(0x82, mqtt));
    }

    /// Reads a whole frame: its first byte and its payload.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.read(&mut head);
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.read(&mut len);
                usize::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                self.read(&mut len);
                usize::try_from(u64::from_be_bytes(len)).expect("it fits")
            }
            len => usize::from(len),
        };
        assert!(head[1] < 0x80, "a server does not mask");
        let mut payload = vec![0; len];
        self.read(&mut payload);
        (head[0], payload)
    }

    #[track_caller]
    fn read(&mut self, bytes: &mut [u8]) {
        self.raw.0.read_exact(bytes).unwrap_or_else(|error| panic!("no frame within {PATIENCE:?}: {error}"));
    }

    /// The next frame is this one.
    #[track_caller]
    pub(crate) fn expect_frame(&mut self, first: u8, payload: &[u8]) {
        assert!(self.mqtt.is_empty(), "MQTT before it: {:02x?}", self.mqtt);
        assert_eq!(self.frame(), (first, payload.to_vec()));
    }

    /// The next bytes of MQTT are these, in however many binary frames.
    #[track_caller]
    pub(crate) fn expect(&mut self, mqtt: &[u8]) {
        let got = self.take(mqtt.len());
        assert!(got == mqtt, "got {got:02x?} instead of {mqtt:02x?}");
    }

    /// The next packet of MQTT, which is a short one.
    #[track_caller]
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let mut packet = self.take(2);
        assert!(packet[1] < 0x80, "a longer packet: {packet:02x?}");
        packet.extend(self.take(packet[1].into()));
        packet
    }

    /// The next bytes of MQTT.
    #[track_caller]
    fn take(&mut self, len: usize) -> Vec<u8> {
        while self.mqtt.len() < len {
            let (first, payload) = self.frame();
            assert_eq!(first, 0x82, "a whole binary message instead of {payload:02x?}");
            self.mqtt.extend(payload);
        }
        self.mqtt.drain(..len).collect()
    }

    /// The broker closes with this code, and then the connection.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) {
        let (first, payload) = self.frame();
        let got = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        assert_eq!((first, got), (0x88, Some(code)), "{}", String::from_utf8_lossy(&payload));
        self.raw.expect_closed();
    }

    /// Connects with 3.1.1, a clean session and no keep alive.
    #[track_caller]
    pub(crate) fn connect(&mut self, id: &str) {
        self.send(&Connect::new(id).bytes());
        self.expect(&connack(false, 0));
    }

    /// Subscribes and waits for the acknowledgement.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&subscribe(1, filter, qos));
        self.expect(&suback(1, qos));
    }
}
