//! A certificate that a listener shows, with its key, and whether it can be shown at all.

use super::error::{Fault, TlsError, Wanted};
use super::files;
use crate::transport::settings::CertificateFiles;
use rustix::fs::Mode;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

/// Days before its end from which on a certificate is warned about. Authorities that issue by machine renew earlier.
const ENDING_DAYS: u64 = 14;
const DAY_S: u64 = 86_400;

/// A certificate with its key.
#[derive(Debug)]
pub(super) struct Certificate {
    /// Its file.
    pub(super) path: PathBuf,
    /// What is shown, and what signs.
    pub(super) key: Arc<CertifiedKey>,
    /// The hosts that it is for, in lower case; `*.` in front stands for one label.
    pub(super) hosts: Vec<String>,
}

/// What an operator should know though it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Warning {
    /// A key that others can read.
    Readable(PathBuf),
    /// A certificate that ends soon.
    Ending(PathBuf, String),
    /// A certificate between a listener's and the authority's that has ended.
    Ended(PathBuf, usize, String),
    /// A certificate that no client can ask for.
    Hidden(PathBuf),
    /// Lists after which there should have been newer ones.
    OldList(PathBuf, String),
}

impl Display for Warning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Readable(path) => {
                let path = path.display();
                write!(f, "{path}: every user of this machine can read the private key; chmod o-rwx {path}")
            }
            Self::Ending(path, end) => {
                write!(f, "{}: the certificate expires soon, on {end}; renew it", path.display())
            }
            Self::Ended(path, number, end) => write!(
                f,
                "{}: certificate {number} in it, one between the listener's and the authority's, has expired, on {end}; \
                 clients may refuse it",
                path.display()
            ),
            Self::Hidden(path) => write!(
                f,
                "{}: the certificate names no host (subject alternative name), and is not the listener's first, so that no \
                 client will see it",
                path.display()
            ),
            Self::OldList(path, end) => write!(
                f,
                "{}: the revocation list should have been replaced on {end}; it counts as it is, without what was revoked \
                 since",
                path.display()
            ),
        }
    }
}

/// Reads a certificate and its key, and checks them.
pub(super) fn load(
    CertificateFiles { cert, key }: &CertificateFiles,
    provider: &CryptoProvider,
    now: UnixTime,
    warnings: &mut Vec<Warning>,
) -> Result<Certificate, TlsError> {
    let chain = files::certificates(cert)?;
    let parsed = chain.iter().zip(1..).map(|(der, number)| parse(der, cert, number));
    let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
    let private = files::key(key)?;
    let signer = provider.key_provider.load_private_key(private);
    let signer = signer.map_err(|_| TlsError::File(key.clone(), Fault::UnsupportedKey))?;
    // Not rustls' own check, which refuses certificates of X.509 version 1 that clients may well trust.
    let own = &parsed[0];
    if signer.public_key().is_some_and(|public| public.as_ref() != own.tbs_certificate.subject_pki.raw) {
        return Err(TlsError::Mismatch { cert: cert.clone(), key: key.clone() });
    }
    check_time(cert, &parsed, now, warnings)?;
    if is_readable(key) {
        warnings.push(Warning::Readable(key.clone()));
    }
    let hosts = hosts(own);
    Ok(Certificate { path: cert.clone(), key: Arc::new(CertifiedKey::new(chain, signer)), hosts })
}

/// A certificate as its fields; `number` says which of its file's.
pub(super) fn parse<'a>(
    der: &'a CertificateDer<'_>,
    path: &Path,
    number: usize,
) -> Result<X509Certificate<'a>, TlsError> {
    let parsed = X509Certificate::from_der(der).map(|(_, certificate)| certificate);
    parsed.map_err(|error| {
        let fault = Fault::Malformed { what: Wanted::Certificate, number, why: error.to_string() };
        TlsError::File(path.to_owned(), fault)
    })
}

/// Refuses a certificate that no client would accept now.
fn check_time(
    path: &Path,
    chain: &[X509Certificate<'_>],
    now: UnixTime,
    warnings: &mut Vec<Warning>,
) -> Result<(), TlsError> {
    let fault = |fault| Err(TlsError::File(path.to_owned(), fault));
    let validity = chain[0].validity();
    if seconds(validity.not_before) > now.as_secs() {
        return fault(Fault::NotYetValid(validity.not_before.to_string()));
    }
    let end = seconds(validity.not_after);
    if end < now.as_secs() {
        return fault(Fault::Expired(validity.not_after.to_string()));
    }
    if end < now.as_secs() + ENDING_DAYS * DAY_S {
        warnings.push(Warning::Ending(path.to_owned(), validity.not_after.to_string()));
    }
    // An authority's own that has ended may stand there on purpose, for clients that trust it nevertheless.
    for (other, number) in chain.iter().zip(1..).skip(1) {
        let end = other.validity().not_after;
        if seconds(end) < now.as_secs() {
            warnings.push(Warning::Ended(path.to_owned(), number, end.to_string()));
        }
    }
    Ok(())
}

/// Seconds since 1970; what was before counts as then.
pub(super) fn seconds(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or_default()
}

/// Whether every user of the machine can read a file.
fn is_readable(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::ROTH))
}

/// The DNS names that a certificate is for. The common name is none: clients have stopped looking at it.
fn hosts(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let hosts = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
        _ => None,
    });
    hosts.collect()
}
