//! Who a client is according to its certificate.

use crate::transport::settings::CertificateName;
use rustls::ServerConnection;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The subject of a client's certificate, which was checked; `None` when it has shown none. Attributes are called as in RFC
/// 4514 where that has a name for them, and by their numbers otherwise; those that are no text are left out.
pub fn client_subject(tls: &ServerConnection) -> Option<Vec<(String, String)>> {
    let certificate = tls.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let attributes = certificate.subject().iter_attributes().filter_map(|attribute| {
        let number = attribute.attr_type();
        let name = oid2abbrev(number, oid_registry()).map_or_else(|_| number.to_id_string(), str::to_owned);
        Some((name, attribute.as_str().ok()?.to_owned()))
    });
    Some(attributes.collect())
}

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
