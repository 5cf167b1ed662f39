//! What can be wrong with an operator's certificates, keys and lists, and what to do about it.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::PathBuf;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What is wrong with one file.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, Fault),
    /// A certificate's file and its key's.
    #[error(
        "the key in {} does not belong to the certificate in {}: the listener's own certificate has to come first in its \
         file, and the key has to be the one that it was requested with",
        key.display(),
        cert.display()
    )]
    Mismatch {
        /// The certificate's.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// What the library says of all of them together.
    #[error("{0}")]
    Refused(#[from] rustls::Error),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system does not let it be read.
    #[error("{}", unreadable(.0))]
    Unreadable(io::Error),
    /// It is longer than any such file should be.
    #[error("has more than {0} bytes; is this the right file?")]
    TooLong(usize),
    /// It is PEM, or should be, and what is needed is not in it.
    #[error("has no {wanted} in PEM, which begins with -----BEGIN {}-----{found}", wanted.label())]
    Missing {
        /// What is looked for.
        wanted: Wanted,
        /// What is there instead.
        found: Found,
    },
    /// Its PEM is damaged.
    #[error("has PEM that is damaged ({0}); copy the file again")]
    Damaged(String),
    /// What is in it cannot be understood.
    #[error("{what} {number} in it cannot be understood ({why}); make it again")]
    Malformed {
        /// What it should be.
        what: Wanted,
        /// Which one, from 1.
        number: usize,
        /// What the parser says.
        why: String,
    },
    /// A revocation list as it was before extensions.
    #[error(
        "revocation list {0} in it is of version 1, which is not supported; crlnumber in the configuration of openssl's ca \
         command makes version 2"
    )]
    OldCrl(usize),
    /// A key that only its password opens.
    #[error(
        "the key is encrypted, and nobody is there to type its password; store it decrypted \
         (openssl pkey -in KEY -out PLAIN_KEY), readable by the broker alone"
    )]
    Encrypted,
    /// A key that is of no use.
    #[error(
        "the key is of a kind or size that is not supported; RSA with 2048 to 8192 bits, ECDSA with P-256, P-384 or P-521, \
         and Ed25519 are"
    )]
    UnsupportedKey,
    /// A certificate that has ended.
    #[error("the certificate has expired, on {0}; renew it")]
    Expired(String),
    /// A certificate that has not begun.
    #[error("the certificate is not valid before {0}; is the clock right?")]
    NotYetValid(String),
}

/// What is looked for in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A certificate.
    Certificate,
    /// A private key.
    Key,
    /// A list of revoked certificates.
    Crl,
}

impl Wanted {
    /// How PEM calls it.
    fn label(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::Key => "PRIVATE KEY",
            Self::Crl => "X509 CRL",
        }
    }
}

impl Display for Wanted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "private key",
            Self::Crl => "revocation list",
        })
    }
}

/// What is in a file in which something else was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Not a byte.
    Nothing,
    /// Bytes that look like DER.
    Der(Wanted),
    /// PEM with these labels.
    Labels(Vec<String>),
    /// No PEM.
    Other,
}

impl Display for Found {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("; the file is empty"),
            Self::Der(wanted) => {
                let command = match wanted {
                    Wanted::Certificate => "x509",
                    Wanted::Key => "pkey",
                    Wanted::Crl => "crl",
                };
                write!(
                    f,
                    "; if it is DER, openssl {command} -inform DER -in FILE -out PEM_FILE makes PEM of it"
                )
            }
            Self::Labels(labels) => {
                write!(f, "; it has {}: is this the right file?", labels.join(", "))
            }
            Self::Other => f.write_str("; is this the right file?"),
        }
    }
}

/// What the system says, and what helps.
fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file; correct the path".to_owned(),
        io::ErrorKind::PermissionDenied => "the broker's user may not read it; let it".to_owned(),
        io::ErrorKind::IsADirectory => "is a folder; give the file in it".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}
