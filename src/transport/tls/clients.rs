//! Whose client certificates count.

use super::certificate::{Warning, parse, seconds};
use super::error::{Fault, TlsError, Wanted};
use super::files;
use crate::transport::settings::TlsSettings;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::path::Path;
use std::sync::Arc;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// Authorities and what they have revoked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trust {
    authorities: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl Trust {
    /// Reads them; none where clients are not asked for certificates.
    pub(super) fn load(
        settings: &TlsSettings,
        now: UnixTime,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, TlsError> {
        let Some(client_ca) = &settings.client_ca else { return Ok(Self::default()) };
        let authorities = files::certificates(client_ca)?;
        let revoked = match &settings.crl {
            Some(crl) => revocation_lists(crl, now, warnings)?,
            None => Vec::new(),
        };
        Ok(Self { authorities, revoked })
    }

    /// What checks the certificates of clients.
    ///
    /// With revocation lists, every certificate between a client's and the authority's needs one that its issuer has
    /// signed: a client whose issuer has none is refused. Otherwise the list of a wrong authority would let all in.
    pub(super) fn verifier(
        &self,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let Some(path) = &settings.client_ca else { return Ok(WebPkiClientVerifier::no_client_auth()) };
        let mut roots = RootCertStore::empty();
        for (authority, number) in self.authorities.iter().zip(1..) {
            parse(authority, path, number)?;
            let added = roots.add(authority.clone());
            added.map_err(|error| malformed(path, Wanted::Certificate, number, &error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let builder =
            || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let crl = settings.crl.as_ref().unwrap_or(path);
        for (list, number) in self.revoked.iter().zip(1..) {
            // One by one, as the error does not say which.
            let built = builder().with_crls([list.clone()]).build();
            built.map_err(|error| malformed(crl, Wanted::Crl, number, &error.to_string()))?;
        }
        let builder = builder().with_crls(self.revoked.iter().cloned());
        let builder = if settings.require_client_cert { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|error| malformed(path, Wanted::Certificate, 1, &error.to_string()))
    }
}

fn revocation_lists(
    path: &Path,
    now: UnixTime,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let lists = files::revocation_lists(path)?;
    for (list, number) in lists.iter().zip(1..) {
        let parsed = CertificateRevocationList::from_der(list);
        let (_, parsed) = parsed.map_err(|error| malformed(path, Wanted::Crl, number, &error.to_string()))?;
        if parsed.version().is_none() {
            return Err(TlsError::File(path.to_owned(), Fault::OldCrl(number)));
        }
        let next = parsed.next_update().filter(|next| seconds(*next) < now.as_secs());
        warnings.extend(next.map(|next| Warning::OldList(path.to_owned(), next.to_string())));
    }
    Ok(lists)
}

fn malformed(path: &Path, what: Wanted, number: usize, why: &str) -> TlsError {
    TlsError::File(path.to_owned(), Fault::Malformed { what, number, why: why.to_owned() })
}
