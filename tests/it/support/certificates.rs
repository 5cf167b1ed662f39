//! An authority of a test's own, and what it has signed.

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

/// An authority, and a server's certificate for this machine in files.
pub(crate) struct Certificates {
    pub(crate) authority: Certificate,
    cert: PathBuf,
    key: PathBuf,
}

impl Certificates {
    pub(crate) fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        // With one name for both OpenSSL takes the server's for a certificate that has signed itself.
        params.distinguished_name.push(DnType::CommonName, "an authority for tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = CertificateParams::new(names).and_then(|params| params.signed_by(&key, &issuer));
        let (cert_file, key_file) = (folder.join("server.pem"), folder.join("server.key"));
        std::fs::write(&cert_file, server.expect("a certificate").pem()).expect("a file");
        std::fs::write(&key_file, key.serialize_pem()).expect("a file");
        Self { authority, cert: cert_file, key: key_file }
    }

    /// The settings of a listener with the server's certificate.
    pub(crate) fn listener(&self) -> String {
        format!("cert = {:?}\nkey = {:?}\n", self.cert, self.key)
    }
}
