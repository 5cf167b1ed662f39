//! Authorities of a test's own, and what they sign.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Whoever signs.
pub(super) struct Authority {
    pub(super) cert: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(super) struct Signed {
    pub(super) cert: Certificate,
    pub(super) key: KeyPair,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().expect("a key"));
        let cert = params.self_signed(&key).expect("a certificate");
        Self { cert, issuer: Issuer::new(params, key) }
    }

    pub(super) fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// One that this one has signed.
    pub(super) fn below(&self, name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().expect("a key"));
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Self { cert, issuer: Issuer::new(params, key) }
    }

    /// A server's certificate for these hosts.
    pub(super) fn server(&self, hosts: &[&str]) -> Signed {
        self.sign("server", |params| params.subject_alt_names = hosts.iter().map(|host| name(host)).collect())
    }

    /// A client's certificate with this common name.
    pub(super) fn client(&self, name: &str) -> Signed {
        self.sign(name, |_| {})
    }

    /// A certificate for a key of this test's own making.
    pub(super) fn sign(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Signed {
        self.sign_key(KeyPair::generate().expect("a key"), name, edit)
    }

    pub(super) fn sign_key(
        &self,
        key: KeyPair,
        name: &str,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Signed {
        let mut params = named(name);
        edit(&mut params);
        Signed { cert: params.signed_by(&key, &self.issuer).expect("a certificate"), key }
    }

    /// The list of clients, by the names they were signed with, that have been revoked; to be replaced in this year.
    pub(super) fn revokes(&self, clients: &[&str], next_year: i32) -> String {
        let revoked = clients.iter().map(|name| RevokedCertParams {
            serial_number: serial(name),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(next_year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).expect("a list")
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial(name));
    params
}

/// Each name's own number.
fn serial(name: &str) -> SerialNumber {
    SerialNumber::from_slice(&[b"\x01", name.as_bytes()].concat())
}

/// An address or a name.
fn name(host: &str) -> SanType {
    host.parse().map_or_else(|_| dns(host), SanType::IpAddress)
}

pub(super) fn dns(host: &str) -> SanType {
    SanType::DnsName(host.try_into().expect("a name"))
}

/// A folder with what a listener reads.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).expect("a file");
        path
    }

    /// `<name>.pem` and `<name>.key`, which nobody else can read.
    pub(super) fn keep(&self, name: &str, signed: &Signed) {
        self.write(&format!("{name}.pem"), signed.cert.pem());
        let key = self.write(&format!("{name}.key"), signed.key.serialize_pem());
        allow(&key, 0o600);
    }
}

/// Sets who may do what with a file.
pub(super) fn allow(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}
