//! TLS between a client and its socket.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is taken from the socket at once.
const READ_BYTES: usize = 32 << 10;

/// How connections prove and hide.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TermsError {
    #[error("--tls needs --ca FILE, or --insecure to take any certificate")]
    NoAuthority,
    #[error("{0}: {1}")]
    Authority(PathBuf, String),
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
    #[error("TLS cannot be set up: {0}")]
    Provider(#[from] Error),
}

impl Terms {
    /// Trusts the authorities of a PEM file, or anybody without one.
    ///
    /// # Errors
    /// The file cannot be read or has no certificate; the name is none.
    pub(crate) fn new(
        ca: Option<&Path>,
        insecure: bool,
        resume: bool,
        name: &str,
        protocol: &[u8],
    ) -> Result<Self, TermsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let mut config = match ca {
            Some(file) => builder.with_root_certificates(authorities(file)?).with_no_client_auth(),
            None if insecure => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
                .with_no_client_auth(),
            None => return Err(TermsError::NoAuthority),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        if !resume {
            config.resumption = Resumption::disabled();
        }
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TermsError::Name(name.to_owned()))?;
        Ok(Self { config: Arc::new(config), name })
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, TermsError> {
    let wrong = |error: &dyn std::fmt::Display| TermsError::Authority(file.to_owned(), error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err(wrong(&"it has no certificate")) } else { Ok(roots) }
}

/// The TLS of one connection.
#[derive(Debug)]
pub(crate) struct Tls {
    connection: ClientConnection,
    /// What is on its way to the socket, and how much of it was sent.
    output: Vec<u8>,
    /// The last read took all that the socket had.
    drained: bool,
}

impl Tls {
    /// Shakes hands, waiting for each answer.
    ///
    /// # Errors
    /// The socket's; the broker's certificate is not trusted, or it does not want to.
    pub(crate) fn shake_hands(terms: &Terms, socket: &mut TcpStream) -> io::Result<Self> {
        let connection = ClientConnection::new(Arc::clone(&terms.config), terms.name.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(socket)?;
        }
        Ok(Self { connection, output: Vec::new(), drained: false })
    }

    /// Reads what has come, waiting for it.
    pub(crate) fn read(&mut self, socket: &mut TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut self.connection, socket).read(bytes)
    }

    /// Writes all of it, waiting for room.
    pub(crate) fn write_all(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        rustls::Stream::new(&mut self.connection, socket).write_all(bytes)
    }

    /// Bytes that the socket has not taken.
    pub(crate) fn backlog(&self) -> usize {
        self.output.len()
    }

    /// Reads once by `receive`, and returns how much can be read now.
    pub(crate) fn open<E: From<io::Error>>(
        &mut self,
        into: &mut [u8],
        receive: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut count = self.plain(into)?;
        if count > 0 {
            return Ok(count);
        }
        let mut sealed = [0; READ_BYTES];
        // What is read opens to fewer bytes, so that there is room for all of it but one record from before.
        let room = into.len().min(READ_BYTES);
        let len = receive(&mut sealed[..room])?;
        self.drained = len < room;
        let mut rest = &sealed[..len];
        while !rest.is_empty() {
            self.connection.read_tls(&mut rest)?;
            self.connection.process_new_packets().map_err(io::Error::other)?;
            count += self.plain(&mut into[count..])?;
        }
        Ok(count)
    }

    /// Whether there may be more to read at once.
    pub(crate) fn has_more(&mut self) -> bool {
        !self.drained
            || self.connection.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    fn plain(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < into.len() {
            match self.connection.reader().read(&mut into[count..]) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Seals what is to be sent and sends it by `send`, as far as that takes it; what is left goes first the next time.
    pub(crate) fn seal<E: From<io::Error>>(
        &mut self,
        plain: &mut Vec<u8>,
        mut send: impl FnMut(&[u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let mut rest = &plain[..];
        while !rest.is_empty() {
            // It takes 64 KiB before they are written.
            let count = self.connection.writer().write(rest)?;
            rest = &rest[count..];
            while self.connection.wants_write() {
                self.connection.write_tls(&mut self.output)?;
            }
        }
        plain.clear();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.output)?;
        }
        let mut sent = 0;
        while sent < self.output.len() {
            let count = send(&self.output[sent..])?;
            if count == 0 {
                break;
            }
            sent += count;
        }
        self.output.drain(..sent);
        Ok(())
    }
}

/// Takes whatever certificate the broker has.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
