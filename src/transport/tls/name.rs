//! Who a client is according to its certificate.

use crate::transport::settings::CertificateName;
use rustls::ServerConnection;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The name in a client's certificate, which was checked; `None` when it has shown none, or one without such a name. A name
/// with control characters is none either: no user has such a name, and it would write lines of its own into logs.
pub fn client_name(tls: &ServerConnection, which: CertificateName) -> Option<String> {
    let certificate = tls.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = match which {
        CertificateName::CommonName => certificate.subject().iter_common_name().next()?.as_str().ok()?,
        CertificateName::AlternativeName => {
            let names = &certificate.subject_alternative_name().ok()??.value.general_names;
            names.iter().find_map(|name| match name {
                GeneralName::RFC822Name(name) | GeneralName::DNSName(name) | GeneralName::URI(name) => {
                    Some(*name)
                }
                _ => None,
            })?
        }
    };
    (!name.is_empty() && !name.contains(char::is_control)).then(|| name.to_owned())
}
