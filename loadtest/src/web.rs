//! A connection until its client runs by itself, and WebSocket between a client and its socket.

use crate::tls::{Terms, Tls};
use pantala::codec::{Split, split};
use pantala::websocket::{Ask, Decoder, Encoder, End, HEAD_BYTES_MAX, Subprotocol, Violation, masked};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long the broker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Masks hide what a page sends from caches; here they are for the server's work with them.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The WebSocket of one connection.
#[derive(Debug)]
pub(crate) struct Web {
    decoder: Decoder,
    /// What it would answer to pings, which the broker does not send.
    encoder: Encoder,
    /// Bytes of the output that are frames already.
    framed: usize,
    plain: Vec<u8>,
}

impl Web {
    fn new() -> Self {
        let (decoder, encoder) = (Decoder::client(u32::MAX), Encoder::client());
        Self { decoder, encoder, framed: 0, plain: Vec::new() }
    }

    /// Turns what was received into MQTT, and says how many bytes that is. A close is followed by the socket's end.
    pub(crate) fn open(&mut self, bytes: &mut [u8]) -> Result<usize, Violation> {
        let decoded = self.decoder.decode(bytes, &mut self.encoder);
        match decoded.end {
            Some(End::Violation(violation)) => Err(violation),
            Some(End::Closed(_)) | None => Ok(decoded.len),
        }
    }

    /// Puts each packet at the end of the output into a frame of its own, as most clients do.
    pub(crate) fn frame(&mut self, output: &mut Vec<u8>) {
        self.plain.clear();
        self.plain.extend_from_slice(&output[self.framed..]);
        output.truncate(self.framed);
        let mut rest = &self.plain[..];
        while let Ok(Split::Whole { len, .. }) = split(rest, u32::MAX) {
            masked(&rest[..len], KEY, output);
            rest = &rest[len..];
        }
        self.framed = output.len();
    }

    /// All of the output is sent.
    pub(crate) fn sent(&mut self) {
        self.framed = 0;
    }
}

/// A connection that waits for what it reads.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    pub(crate) tls: Option<Box<Tls>>,
    pub(crate) web: Option<Box<Web>>,
    /// MQTT that came and is not read yet.
    pub(crate) mqtt: Vec<u8>,
}

impl Stream {
    /// Over TCP, or over TLS on these terms.
    ///
    /// # Errors
    /// The socket's; what TLS does not like.
    pub(crate) fn new(mut socket: TcpStream, terms: Option<&Terms>) -> io::Result<Self> {
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        let tls = terms.map(|terms| Tls::shake_hands(terms, &mut socket).map(Box::new));
        let tls = tls.transpose().map_err(in_words)?;
        Ok(Self { socket, tls, web: None, mqtt: Vec::new() })
    }

    /// Goes on with WebSocket.
    ///
    /// # Errors
    /// The socket's, and that the broker does not want to.
    pub(crate) fn upgrade(&mut self, broker: SocketAddr) -> io::Result<()> {
        let ask = Ask::new(*b"pantala-load/key");
        self.send(&ask.request(&broker.to_string(), "/mqtt", Subprotocol::Mqtt))?;
        let (mut bytes, mut count) = (vec![0; HEAD_BYTES_MAX], 0);
        loop {
            match self.receive(&mut bytes[count..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                more => count += more,
            }
            let answer = ask.answer(&bytes[..count], Subprotocol::Mqtt).map_err(io::Error::other)?;
            if let Some(len) = answer {
                let mut web = Web::new();
                let frames = &mut bytes[len..count];
                let mqtt = web.open(frames).map_err(io::Error::other)?;
                self.mqtt.extend_from_slice(&frames[..mqtt]);
                self.web = Some(Box::new(web));
                return Ok(());
            }
        }
    }

    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.read(&mut self.socket, bytes),
            None => self.socket.read(bytes),
        }
        .map_err(in_words)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.write_all(&mut self.socket, bytes),
            None => self.socket.write_all(bytes),
        }
    }
}

/// A timeout is told as if the socket could not wait.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => {
            io::Error::new(ErrorKind::TimedOut, format!("nothing came in {ANSWER_WITHIN:?}"))
        }
        _ => error,
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.web.is_none() {
            return self.receive(bytes);
        }
        while self.mqtt.is_empty() {
            let mut frames = [0; 4_096];
            let count = self.receive(&mut frames)?;
            if count == 0 {
                return Ok(0);
            }
            let Some(web) = &mut self.web else { break };
            let mqtt = web.open(&mut frames[..count]).map_err(io::Error::other)?;
            self.mqtt.extend_from_slice(&frames[..mqtt]);
        }
        let count = self.mqtt.len().min(bytes.len());
        bytes[..count].copy_from_slice(&self.mqtt[..count]);
        self.mqtt.drain(..count);
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.web.is_none() {
            self.send(bytes)?;
        } else {
            let mut frame = Vec::new();
            masked(bytes, KEY, &mut frame);
            self.send(&frame)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
