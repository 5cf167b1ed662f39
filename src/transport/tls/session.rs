//! One connection's TLS, without its socket: bytes that were received go in, bytes to be sent come out.

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use rustls::ServerConnection;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::BorrowedFd;

/// What one record can hold more than its ciphertext was read last: the plaintext of what had come before it.
pub const RECORD_BYTES_MAX: usize = 16 << 10;
/// Buffers named in one write at most.
const PIECES_MAX: usize = 64;

/// The server's end of one connection.
#[derive(Debug)]
pub struct Session {
    tls: ServerConnection,
    notified: bool,
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
    /// A session whose handshake goes on from wherever it is.
    pub fn new(tls: ServerConnection) -> Self {
        Self { tls, notified: false }
    }

    /// The connection as rustls has it.
    pub fn inner(&self) -> &ServerConnection {
        &self.tls
    }

    /// Whether the peer is not known yet.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Takes what was received and puts the plaintext into `plain`, which needs room for as much and for one record more.
    ///
    /// # Errors
    /// What is wrong with the peer, its certificate or its bytes. The alert that tells it waits to be sent.
    pub fn open(&mut self, mut cipher: &[u8], plain: &mut [u8]) -> Result<Opened, rustls::Error> {
        let mut opened = Opened::default();
        loop {
            if !cipher.is_empty() {
                // Reading from memory does not fail; that the buffers are full would, but they are emptied below.
                self.tls.read_tls(&mut cipher).map_err(|error| rustls::Error::General(error.to_string()))?;
            }
            let state = self.tls.process_new_packets()?;
            opened.len += self.take(state.plaintext_bytes_to_read(), &mut plain[opened.len..]);
            opened.closed |= state.peer_has_closed();
            if cipher.is_empty() || opened.closed {
                return Ok(opened);
            }
        }
    }

    fn take(&mut self, count: usize, plain: &mut [u8]) -> usize {
        let mut taken = 0;
        while taken < count {
            match self.tls.reader().read(&mut plain[taken..]) {
                Ok(some @ 1..) => taken += some,
                Ok(0) | Err(_) => break,
            }
        }
        taken
    }

    /// Encrypts as much as there is room for, and says how much that was. All is sent with [`Session::flush`].
    pub fn seal(&mut self, slices: &[IoSlice<'_>]) -> usize {
        // Writing to memory does not fail.
        self.tls.writer().write_vectored(slices).unwrap_or(0)
    }

    /// Tells the peer, after all that was sealed, that nothing more comes.
    pub fn notify_close(&mut self) {
        if !self.notified {
            self.notified = true;
            self.tls.send_close_notify();
        }
    }

    /// Whether the peer was told that nothing more comes.
    pub fn is_notified(&self) -> bool {
        self.notified
    }

    /// Whether something waits to be sent.
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Sends what waits. Whether the socket took all of it.
    ///
    /// # Errors
    /// The socket's, other than that it would block.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> Result<bool, Errno> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            }
        }
        Ok(true)
    }
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
