//! Clients with certificates.

use super::passwords::Folder;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::PathBuf;

/// An authority, a server's certificate, and those of the clients `sensor-7` and `other` of the same organisation.
pub(super) struct Clients {
    folder: PathBuf,
}

impl Clients {
    pub(super) fn new(folder: &Folder) -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "an authority for tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        folder.write("ca.pem", &params.self_signed(&key).expect("a certificate").pem());
        let issuer = Issuer::new(params, key);
        let keep = |name: &str, params: CertificateParams| {
            let key = KeyPair::generate().expect("a key");
            let signed = params.signed_by(&key, &issuer).expect("a certificate");
            folder.write(&format!("{name}.pem"), &signed.pem());
            folder.write(&format!("{name}.key"), &key.serialize_pem());
        };
        keep("server", CertificateParams::new(["localhost".to_owned()]).expect("a name"));
        for name in ["sensor-7", "other"] {
            let mut params = CertificateParams::new([]).expect("no names");
            params.distinguished_name.push(DnType::OrganizationName, "Plant");
            params.distinguished_name.push(DnType::CommonName, name);
            keep(name, params);
        }
        Self { folder: folder.path("") }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("a path in plain letters").to_owned()
    }

    /// The settings of a listener that asks for certificates.
    pub(super) fn listener(&self) -> String {
        let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| self.path(name));
        format!("cert = {cert:?}\nkey = {key:?}\nclient_ca = {ca:?}\nrequire_client_cert = true\n")
    }

    /// What Mosquitto's clients are told so that they are one of them.
    pub(super) fn arguments(&self, name: &str) -> [String; 6] {
        let path = |name: &str| self.path(name);
        let flag = |flag: &str| flag.to_owned();
        let (cert, key) = (path(&format!("{name}.pem")), path(&format!("{name}.key")));
        [flag("--cafile"), path("ca.pem"), flag("--cert"), cert, flag("--key"), key]
    }
}
