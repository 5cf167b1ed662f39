//! Certificates, keys and revocation lists out of their files.

use super::error::{Fault, Found, TlsError, Wanted};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// More than the largest public authorities' lists have.
const FILE_BYTES_MAX: usize = 64 << 20;
/// How DER begins: a sequence whose length takes so many bytes.
const DER: [&[u8]; 3] = [&[0x30, 0x81], &[0x30, 0x82], &[0x30, 0x83]];

/// All certificates in a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    at_least_one(&text, Wanted::Certificate, CertificateDer::from_pem)
        .map_err(|fault| TlsError::File(path.to_owned(), fault))
}

/// The first private key in a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    let keys = at_least_one(&text, Wanted::Key, PrivateKeyDer::from_pem);
    let first = keys.map(|keys| keys.into_iter().next());
    // Older programs keep the usual label and say in a header, which is no base64, that the key is encrypted.
    let encrypted = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];
    match first {
        Ok(Some(key)) => Ok(key),
        _ if encrypted.iter().any(|mark| contains(&text, mark.as_bytes())) => Err(Fault::Encrypted),
        Ok(None) => Err(Fault::Missing { wanted: Wanted::Key, found: found(&text, Wanted::Key) }),
        Err(fault) => Err(fault),
    }
    .map_err(|fault| TlsError::File(path.to_owned(), fault))
}

/// All revocation lists in a file, at least one. Authorities publish them as DER as well, one to a file.
pub(super) fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read(path)?;
    if DER.iter().any(|start| bytes.starts_with(start)) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    at_least_one(&bytes, Wanted::Crl, CertificateRevocationListDer::from_pem)
        .map_err(|fault| TlsError::File(path.to_owned(), fault))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(Fault::Unreadable(error)),
        Ok(count) if count > FILE_BYTES_MAX => Err(Fault::TooLong(FILE_BYTES_MAX)),
        Ok(_) => Ok(bytes),
    }
    .map_err(|fault| TlsError::File(path.to_owned(), fault))
}

/// What `convert` makes of a file's sections.
fn at_least_one<T>(
    text: &[u8],
    wanted: Wanted,
    convert: impl Fn(SectionKind, Vec<u8>) -> Option<T>,
) -> Result<Vec<T>, Fault> {
    let mut all = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|error| Fault::Damaged(error.to_string()))?;
        all.extend(convert(kind, der));
    }
    if all.is_empty() {
        return Err(Fault::Missing { wanted, found: found(text, wanted) });
    }
    Ok(all)
}

/// What is there instead.
fn found(text: &[u8], wanted: Wanted) -> Found {
    let lossy = String::from_utf8_lossy(text);
    let label = |line: &str| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----").map(str::to_owned);
    let labels: Vec<_> = lossy.lines().filter_map(|line| label(line.trim_end())).collect();
    if text.is_empty() {
        Found::Nothing
    } else if !labels.is_empty() {
        Found::Labels(labels)
    } else if DER.iter().any(|start| text.starts_with(start)) {
        Found::Der(wanted)
    } else {
        Found::Other
    }
}

fn contains(text: &[u8], mark: &[u8]) -> bool {
    memchr::memmem::find(text, mark).is_some()
}
