//! What lies between a connection's socket and MQTT: TLS, WebSocket, both. A plain connection has none of it.

use super::output::{Output, PIECES_MAX, Pool, Written};
use super::tls::{self, RECORD_BYTES_MAX, Session};
use crate::websocket::{CloseCode, Decoded, Decoder, Encoder, End, Head, Refusal, Rules, Upgrade, Violation};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use std::io::IoSlice;
use std::os::fd::BorrowedFd;

/// What is read of a socket at once while its bytes are encrypted.
pub const CIPHER_BYTES: usize = 64 << 10;

/// The longest frame. Its bytes are MQTT's as they come and wait for nothing, so that MQTT's own bounds are enough.
const FRAME_BYTES_MAX: u32 = u32::MAX;

/// The layers of one connection.
#[derive(Debug)]
pub struct Channel {
    tls: Option<Session>,
    web: Option<Box<Web>>,
    /// Nothing is to be understood any more.
    ended: bool,
    /// Nothing follows what waits to be sent.
    closing: bool,
    /// TLS may hold plaintext that somebody else has received.
    fresh: bool,
}

/// A WebSocket.
#[derive(Debug)]
struct Web {
    /// The request that is not whole; `None` once it is answered.
    upgrade: Option<Upgrade>,
    /// What is sent before the first frame.
    response: Vec<u8>,
    response_sent: usize,
    decoder: Decoder,
    encoder: Encoder,
}

/// What a read came to.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the socket.
    pub count: usize,
    /// Bytes at the front of the buffer, with those that were left there before.
    pub len: usize,
    /// They are the beginning of a request, to be left there for the next read, and not MQTT.
    pub request: bool,
    /// There may be more to read.
    pub more: bool,
    /// Nothing comes after those bytes.
    pub end: Option<Ending>,
}

impl Received {
    /// Nothing but what was left.
    fn nothing(len: usize) -> Self {
        Self { count: 0, len, request: false, more: false, end: None }
    }

    fn ended(len: usize, end: Ending) -> Self {
        Self { end: Some(end), ..Self::nothing(len) }
    }
}

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Ending {
    /// The socket was closed, or failed.
    #[error("closed")]
    Socket,
    /// The peer has said so, in TLS or WebSocket.
    #[error("closed by the client")]
    Peer,
    /// TLS: a certificate, a version, or bytes that are none of TLS's.
    #[error("TLS: {0}")]
    Tls(tls::Error),
    /// A request that is no upgrade.
    #[error("WebSocket: {0}")]
    Refused(Refusal),
    /// Frames against the rules.
    #[error("WebSocket: {0}")]
    Violation(Violation),
}

impl Channel {
    /// The layers of a connection that was accepted; `None` when there are none.
    pub fn accepted(tls: Option<Session>, web: bool) -> Option<Box<Self>> {
        if tls.is_none() && !web {
            return None;
        }
        let web = web.then(|| Web::new(Some(Upgrade::default())));
        Some(Box::new(Self { tls, web, ended: false, closing: false, fresh: false }))
    }

    /// The layers of a WebSocket whose request was answered by somebody else.
    pub fn upgraded(tls: Option<Session>) -> Box<Self> {
        let web = Some(Web::new(None));
        Box::new(Self { web, ended: false, closing: false, fresh: tls.is_some(), tls })
    }

    /// Nothing is to be sent any more: the socket has failed.
    pub fn fail(&mut self) {
        (self.tls, self.web, self.ended) = (None, None, true);
    }

    /// Its TLS, if it has any.
    pub fn tls(&self) -> Option<&Session> {
        self.tls.as_ref()
    }

    /// Whether TLS does not know its peer yet.
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(Session::is_handshaking)
    }

    /// Reads the socket, and puts MQTT to the front of `buffer`, after the `left` bytes that the last read left there.
    /// `upgraded` is handed the request that makes it a WebSocket. `cipher` is for what is encrypted, and used only then.
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        (buffer, left): (&mut [u8], usize),
        cipher: &mut Vec<u8>,
        rules: &Rules,
        upgraded: &mut dyn FnMut(&Head<'_>),
    ) -> Received {
        if self.ended {
            return Received::ended(left, Ending::Socket);
        }
        let room = &mut buffer[left..];
        let asked =
            if self.tls.is_some() { CIPHER_BYTES.min(room.len() - RECORD_BYTES_MAX) } else { room.len() };
        let read = if self.tls.is_some() {
            cipher.resize(CIPHER_BYTES, 0);
            recv(socket, &mut cipher[..asked], RecvFlags::DONTWAIT)
        } else {
            recv(socket, &mut *room, RecvFlags::DONTWAIT)
        };
        let count = match read {
            Ok((count @ 1.., _)) => count,
            Err(Errno::AGAIN) if std::mem::take(&mut self.fresh) => 0,
            Err(Errno::AGAIN) => return Received::nothing(left),
            Err(Errno::INTR) => return Received { more: true, ..Received::nothing(left) },
            Ok(_) | Err(_) => return Received::ended(left, Ending::Socket),
        };
        let (mut len, mut end) = (count, None);
        if let Some(tls) = &mut self.tls {
            (len, end) = match tls.open(&cipher[..count], room) {
                Ok(opened) => (opened.len, opened.closed.then_some(Ending::Peer)),
                Err(error) => (0, Some(Ending::Tls(error))),
            };
        }
        let received = self.unframe((buffer, left), len, rules, upgraded);
        let end = received.end.or(end);
        self.ended = end.is_some();
        Received { count, more: count == asked, end, ..received }
    }

    /// Takes bytes that were received, and decrypted, elsewhere.
    pub fn resume(&mut self, bytes: &mut [u8]) -> Received {
        let len = bytes.len();
        let received = self.unframe((bytes, 0), len, &Rules::default(), &mut |_| {});
        self.ended = received.end.is_some();
        received
    }

    /// Takes WebSocket's part out of `len` bytes that follow what was left.
    fn unframe(
        &mut self,
        (buffer, left): (&mut [u8], usize),
        len: usize,
        rules: &Rules,
        upgraded: &mut dyn FnMut(&Head<'_>),
    ) -> Received {
        let bytes = &mut buffer[..left + len];
        let Some(web) = &mut self.web else { return Received::nothing(bytes.len()) };
        let (kept, decoded) = if web.upgrade.is_some() {
            match web.ask(bytes, rules, upgraded) {
                Ok(Some(decoded)) => (0, decoded),
                Ok(None) => return Received { request: true, ..Received::nothing(bytes.len()) },
                Err(refusal) => return Received::ended(0, Ending::Refused(refusal)),
            }
        } else {
            (left, web.decoder.decode(&mut bytes[left..], &mut web.encoder))
        };
        let end = decoded.end.map(|end| match end {
            End::Closed(_) => Ending::Peer,
            End::Violation(violation) => Ending::Violation(violation),
        });
        Received { end, ..Received::nothing(kept + decoded.len) }
    }

    /// Nothing follows what waits: closes the layers after it.
    pub fn close(&mut self, code: CloseCode) {
        self.closing = true;
        if let Some(web) = &mut self.web
            && web.upgrade.is_none()
        {
            web.encoder.close(Some(code), "");
        }
    }

    /// Whether there is something to write though no byte of MQTT waits.
    pub fn has_output(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write() || self.closing && !tls.is_notified())
            || self.web.as_ref().is_some_and(|web| web.has_control())
    }

    /// Writes as much of the output as the socket takes, and what the layers have to say themselves.
    ///
    /// # Errors
    /// The socket's, other than that it would block.
    pub fn write(
        &mut self,
        output: &mut Output,
        socket: BorrowedFd<'_>,
        pool: &mut Pool,
    ) -> Result<Written, Errno> {
        let mut written = 0;
        loop {
            if let Some(tls) = &mut self.tls
                && !tls.flush(socket)?
            {
                break;
            }
            let (mut slices, waiting) = ([IoSlice::new(&[]); PIECES_MAX], output.len());
            let next = match &mut self.web {
                Some(web) => web.next(waiting),
                None => (waiting > 0).then_some((&[][..], waiting)),
            };
            let Some((head, payload)) = next else {
                if !self.closing || self.notify_close() {
                    return Ok(Written::All(written));
                }
                continue;
            };
            slices[0] = IoSlice::new(head);
            let (count, named) = output.slices(payload, &mut slices[1..]);
            let asked = head.len() + named;
            let slices = &slices[usize::from(head.is_empty())..=count];
            let taken = match &mut self.tls {
                Some(tls) => tls.seal(slices),
                None => send(socket, slices)?,
            };
            let mqtt = self.web.as_mut().map_or(taken, |web| web.advance(taken));
            output.advance(mqtt, pool);
            written += mqtt;
            // Otherwise what was sealed goes out first.
            if taken < asked && (self.tls.is_none() || taken == 0) {
                break;
            }
        }
        output.trim(pool);
        Ok(Written::Part(written))
    }

    /// Says goodbye in TLS; true when that is said.
    fn notify_close(&mut self) -> bool {
        let Some(tls) = self.tls.as_mut().filter(|tls| !tls.is_notified()) else { return true };
        tls.notify_close();
        false
    }
}

/// What the socket takes now.
fn send(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(0),
            other => return other,
        }
    }
}

impl Web {
    fn new(upgrade: Option<Upgrade>) -> Box<Self> {
        Box::new(Self {
            upgrade,
            response: Vec::new(),
            response_sent: 0,
            decoder: Decoder::server(FRAME_BYTES_MAX),
            encoder: Encoder::server(),
        })
    }

    /// Reads the request, and puts the MQTT that follows it in its place; `None` while it is not whole.
    fn ask(
        &mut self,
        bytes: &mut [u8],
        rules: &Rules,
        upgraded: &mut dyn FnMut(&Head<'_>),
    ) -> Result<Option<Decoded>, Refusal> {
        let Some(reader) = &mut self.upgrade else { return Ok(None) };
        let len = match reader.read(bytes, rules) {
            Ok(Some(request)) => {
                upgraded(&request.head);
                self.response = request.response;
                request.len
            }
            Ok(None) => return Ok(None),
            Err(refusal) => {
                self.response = refusal.response();
                return Err(refusal);
            }
        };
        self.upgrade = None;
        let decoded = self.decoder.decode(&mut bytes[len..], &mut self.encoder);
        bytes.copy_within(len..len + decoded.len, 0);
        Ok(Some(decoded))
    }

    fn has_control(&self) -> bool {
        self.response_sent < self.response.len() || self.encoder.has_control()
    }

    /// What is to be written: these bytes, and after them so many of MQTT's.
    fn next(&mut self, waiting: usize) -> Option<(&[u8], usize)> {
        if self.response_sent < self.response.len() {
            return Some((&self.response[self.response_sent..], 0));
        }
        self.encoder.next(waiting).map(|next| (next.head, next.payload))
    }

    /// Takes note that so much was written. Returns how much of it was MQTT's.
    fn advance(&mut self, written: usize) -> usize {
        if self.response.is_empty() {
            return self.encoder.advance(written);
        }
        self.response_sent += written;
        if self.response_sent == self.response.len() {
            (self.response, self.response_sent) = (Vec::new(), 0);
        }
        0
    }
}
