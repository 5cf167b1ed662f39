//! From certificate files to what a listener needs to accept TLS.

use super::Session;
use crate::transport::settings::{CertificateFiles, TlsSettings};
use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has not what it should.
    #[error("{path}: {why}", path = .0.display(), why = .1)]
    File(PathBuf, String),
    /// What the library says of all of them together.
    #[error("{0}")]
    Refused(#[from] rustls::Error),
}

/// What accepts TLS on a listener, on all cores.
#[derive(Debug)]
pub struct Acceptor {
    settings: TlsSettings,
    current: ArcSwap<ServerConfig>,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(config(settings)?);
        Ok(Self { settings: settings.clone(), current })
    }

    /// Reads the files again, for connections from now on. On an error all stays as it was.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(config(&self.settings)?));
        Ok(())
    }

    /// What new connections get.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// The session of a new connection.
    ///
    /// # Errors
    /// Only what would be wrong with the files as well.
    pub fn accept(&self) -> Result<Session, TlsError> {
        Ok(Session::new(ServerConnection::new(self.config())?))
    }
}

fn config(settings: &TlsSettings) -> Result<ServerConfig, TlsError> {
    let CertificateFiles { cert, key } = &settings.certificates[0];
    let bad = |path: &Path, error: rustls::pki_types::pem::Error| {
        TlsError::File(path.to_owned(), error.to_string())
    };
    let chain = CertificateDer::pem_file_iter(cert).map_err(|error| bad(cert, error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| bad(cert, error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error))?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"mqtt".to_vec()];
    Ok(config)
}
