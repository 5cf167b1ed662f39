//! One connection's TLS, without its socket: bytes that were received go in, bytes to be sent come out.

use super::acceptor::State;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use rustls::ServerConnection;
use rustls::server::Acceptor;
use std::fmt::{self, Debug, Formatter};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// What one record can hold more than its ciphertext was read last: the plaintext of what had come before it.
pub const RECORD_BYTES_MAX: usize = 16 << 10;
/// Buffers named in one write at most.
const PIECES_MAX: usize = 64;

/// The server's end of one connection.
#[derive(Debug)]
pub struct Session {
    stage: Stage,
    notified: bool,
}

/// How far a session has come.
#[expect(
    clippy::large_enum_variant,
    reason = "the largest is what nearly all sessions are nearly all of the time"
)]
#[derive(Debug)]
enum Stage {
    /// The client has not said all of its first message.
    Hello(Box<Hello>),
    /// What it is offered is settled.
    Tls(ServerConnection),
    /// Nothing was settled: what is left of the alert that says so.
    Refused(Vec<u8>),
}

/// What waits for a client's first message.
struct Hello {
    acceptor: Acceptor,
    state: Arc<State>,
}

impl Debug for Hello {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello").finish_non_exhaustive()
    }
}

/// What came out of what was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// So many bytes of plaintext.
    pub len: usize,
    /// The peer has said that it sends no more.
    pub closed: bool,
}

impl Session {
    /// A session that has not begun.
    pub(super) fn accept(state: Arc<State>) -> Self {
        let hello = Hello { acceptor: Acceptor::default(), state };
        Self { stage: Stage::Hello(Box::new(hello)), notified: false }
    }

    /// A session whose handshake goes on from wherever it is.
    pub fn new(tls: ServerConnection) -> Self {
        Self { stage: Stage::Tls(tls), notified: false }
    }

    /// The connection as rustls has it; `None` before the client has begun.
    pub fn inner(&self) -> Option<&ServerConnection> {
        match &self.stage {
            Stage::Tls(tls) => Some(tls),
            Stage::Hello(_) | Stage::Refused(_) => None,
        }
    }

    /// Whether the peer is not known yet.
    pub fn is_handshaking(&self) -> bool {
        self.inner().is_none_or(|tls| tls.is_handshaking())
    }

    /// Takes what was received and puts the plaintext into `plain`, which needs room for as much and for one record more.
    ///
    /// # Errors
    /// What is wrong with the peer, its certificate or its bytes. The alert that tells it waits to be sent.
    pub fn open(&mut self, mut cipher: &[u8], plain: &mut [u8]) -> Result<Opened, rustls::Error> {
        self.begin(&mut cipher)?;
        let Stage::Tls(tls) = &mut self.stage else { return Ok(Opened::default()) };
        let mut opened = Opened::default();
        loop {
            if !cipher.is_empty() {
                // Reading from memory does not fail; that the buffers are full would, but they are emptied below.
                tls.read_tls(&mut cipher).map_err(general)?;
            }
            let state = tls.process_new_packets()?;
            opened.len += take(tls, state.plaintext_bytes_to_read(), &mut plain[opened.len..]);
            opened.closed |= state.peer_has_closed();
            if cipher.is_empty() || opened.closed {
                return Ok(opened);
            }
        }
    }

    /// Waits for the first message, and settles what the client is offered.
    fn begin(&mut self, cipher: &mut &[u8]) -> Result<(), rustls::Error> {
        let Stage::Hello(hello) = &mut self.stage else { return Ok(()) };
        let refused = loop {
            if !cipher.is_empty() {
                // A first message that is too long fills the buffer, which is refused just below.
                hello.acceptor.read_tls(cipher).map_err(general)?;
            }
            match hello.acceptor.accept() {
                Ok(None) if cipher.is_empty() => return Ok(()),
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let config = hello.state.config(&accepted.client_hello());
                    match accepted.into_connection(config) {
                        Ok(tls) => {
                            self.stage = Stage::Tls(tls);
                            return Ok(());
                        }
                        Err(refused) => break refused,
                    }
                }
                Err(refused) => break refused,
            }
        };
        let (error, mut alert) = refused;
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        alert.write_all(&mut bytes).map_err(general)?;
        self.stage = Stage::Refused(bytes);
        Err(error)
    }

    /// Encrypts as much as there is room for, and says how much that was. All is sent with [`Session::flush`].
    pub fn seal(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let Stage::Tls(tls) = &mut self.stage else { return 0 };
        // Writing to memory does not fail.
        tls.writer().write_vectored(slices).unwrap_or(0)
    }

    /// Tells the peer, after all that was sealed, that nothing more comes.
    pub fn notify_close(&mut self) {
        if !self.notified {
            self.notified = true;
            if let Stage::Tls(tls) = &mut self.stage {
                tls.send_close_notify();
            }
        }
    }

    /// Whether the peer was told that nothing more comes.
    pub fn is_notified(&self) -> bool {
        self.notified
    }

    /// Whether something waits to be sent.
    pub fn wants_write(&self) -> bool {
        match &self.stage {
            Stage::Hello(_) => false,
            Stage::Tls(tls) => tls.wants_write(),
            Stage::Refused(alert) => !alert.is_empty(),
        }
    }

    /// Sends what waits. Whether the socket took all of it.
    ///
    /// # Errors
    /// The socket's, other than that it would block.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> Result<bool, Errno> {
        while self.wants_write() {
            match self.write_to(&mut Socket(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            }
        }
        Ok(true)
    }

    /// Writes some of what waits, and says how much.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write_to(&mut self, output: &mut dyn Write) -> io::Result<usize> {
        match &mut self.stage {
            Stage::Hello(_) => Ok(0),
            Stage::Tls(tls) => tls.write_tls(output),
            Stage::Refused(alert) => {
                let count = output.write(alert)?;
                alert.drain(..count);
                Ok(count)
            }
        }
    }
}

fn take(tls: &mut ServerConnection, count: usize, plain: &mut [u8]) -> usize {
    let mut taken = 0;
    while taken < count {
        match tls.reader().read(&mut plain[taken..]) {
            Ok(some @ 1..) => taken += some,
            Ok(0) | Err(_) => break,
        }
    }
    taken
}

fn general(error: io::Error) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

/// A socket as rustls writes to it: many records with one system call.
struct Socket<'a>(BorrowedFd<'a>);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let slices = &slices[..slices.len().min(PIECES_MAX)];
        Ok(sendmsg(self.0, slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
