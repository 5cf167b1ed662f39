//! Files that are wrong: said before the listener opens, and harmless when they are read again.

use super::authority::{Authority, Folder, allow};
use super::memory::{MQTT, Pair, connect, settings, trusting};
use pantala::transport::settings::TlsSettings;
use pantala::transport::tls::Acceptor;
use rcgen::{KeyPair, date_time_ymd};
use std::process::Command;

/// A listener's files, all good.
struct Good {
    authority: Authority,
    folder: Folder,
    settings: TlsSettings,
}

impl Good {
    fn new() -> Self {
        let (authority, folder) = (Authority::new("authority"), Folder::new());
        folder.keep("server", &authority.server(&["broker.example"]));
        let mut settings = settings(&folder, &["server"]);
        settings.client_ca = Some(folder.write("ca.pem", authority.cert.pem()));
        settings.crl = Some(folder.write("crl.pem", authority.revokes(&[], 4000)));
        Self { authority, folder, settings }
    }

    /// What is said of them, without the folder's name.
    #[track_caller]
    fn refusal(&self) -> String {
        let error = Acceptor::load(&self.settings, &MQTT).expect_err("a file is wrong").to_string();
        error.replace(&self.folder.path("").display().to_string(), "")
    }

    /// Says this of one file when it has these contents.
    #[track_caller]
    fn says(&self, name: &str, contents: impl AsRef<[u8]>, expected: &str) {
        let path = self.folder.path(name);
        let good = std::fs::read(&path).expect("a file");
        self.folder.write(name, contents);
        let said = self.refusal();
        assert!(said.contains(expected), "{said}");
        assert!(said.contains(name), "{said}");
        std::fs::write(&path, good).expect("a file");
        Acceptor::load(&self.settings, &MQTT).expect("all are good again");
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path(name)).expect("a file")
    }
}

#[test]
fn a_missing_file_is_named() {
    for name in ["server.pem", "server.key", "ca.pem", "crl.pem"] {
        let good = Good::new();
        std::fs::remove_file(good.folder.path(name)).expect("a file");
        assert_eq!(good.refusal(), format!("{name}: there is no such file; correct the path"));
        std::fs::create_dir(good.folder.path(name)).expect("a folder");
        assert_eq!(good.refusal(), format!("{name}: is a folder; give the file in it"));
    }
}

#[test]
fn a_file_without_what_is_needed_says_what_it_has() {
    let good = Good::new();
    let (cert, key) = (good.text("server.pem"), good.text("server.key"));
    let no_cert = "has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----; ";
    let no_key = "has no private key in PEM, which begins with -----BEGIN PRIVATE KEY-----; ";
    let no_list = "has no revocation list in PEM, which begins with -----BEGIN X509 CRL-----; ";
    good.says("server.pem", &key, &format!("{no_cert}it has PRIVATE KEY: is this the right file?"));
    good.says("server.key", &cert, &format!("{no_key}it has CERTIFICATE: is this the right file?"));
    good.says("crl.pem", &cert, &format!("{no_list}it has CERTIFICATE: is this the right file?"));
    good.says("ca.pem", "", &format!("{no_cert}the file is empty"));
    good.says("ca.pem", "# none yet\n", &format!("{no_cert}is this the right file?"));
    let command = "openssl x509 -inform DER -in FILE -out PEM_FILE";
    good.says("server.pem", good.authority.cert.der(), command);
}

#[test]
fn a_damaged_file_is_refused() {
    let good = Good::new();
    let cut = |text: String| text[..text.len() / 2].to_owned();
    for name in ["server.pem", "server.key", "ca.pem", "crl.pem"] {
        good.says(name, cut(good.text(name)), "has PEM that is damaged");
        good.says(name, good.text(name).replacen("\nM", "\n*", 1), "has PEM that is damaged");
    }
    let label = |name: &str| format!("-----BEGIN {name}-----\naGVsbG8=\n-----END {name}-----\n");
    good.says("server.pem", label("CERTIFICATE"), "certificate 1 in it cannot be understood");
    good.says("ca.pem", label("CERTIFICATE"), "certificate 1 in it cannot be understood");
    good.says("crl.pem", label("X509 CRL"), "revocation list 1 in it cannot be understood");
    good.says("crl.pem", [0x30, 0x82, 0, 1, 0], "revocation list 1 in it cannot be understood");
    good.says("server.key", label("PRIVATE KEY"), "of a kind or size that is not supported");
    let second = good.text("server.pem") + &label("CERTIFICATE");
    good.says("server.pem", second, "certificate 2 in it cannot be understood");
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let good = Good::new();
    let other = KeyPair::generate().expect("a key").serialize_pem();
    good.says("server.key", other, "server.key does not belong to the certificate in ");
    let wrong_order = good.authority.cert.pem() + &good.text("server.pem");
    good.says("server.pem", wrong_order, "the listener's own certificate has to come first in its file");
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let good = Good::new();
    let ended = good.authority.sign("x", |params| params.not_after = date_time_ymd(2021, 3, 4));
    good.folder.keep("server", &ended);
    let said = good.refusal();
    assert_eq!(said, "server.pem: the certificate has expired, on Mar  4 00:00:00 2021 +00:00; renew it");
    let coming = good.authority.sign("x", |params| params.not_before = date_time_ymd(4000, 1, 1));
    good.folder.keep("server", &coming);
    let said = good.refusal();
    assert!(said.starts_with("server.pem: the certificate is not valid before "), "{said}");
    assert!(said.ends_with("; is the clock right?"), "{said}");
}

/// A key as the openssl command makes it.
fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl; run tests/run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn an_encrypted_key_is_refused_with_the_command_that_decrypts_it() {
    let good = Good::new();
    let key = good.folder.path("server.key").display().to_string();
    for arguments in [
        &["pkcs8", "-topk8", "-passout", "pass:x", "-in", &key][..],
        &["ec", "-aes256", "-passout", "pass:x", "-in", &key],
    ] {
        good.says("server.key", openssl(arguments), "(openssl pkey -in KEY -out PLAIN_KEY)");
    }
}

/// A list as the command makes it; it numbers its lists when it is told where.
fn list(good: &Good, numbered: bool) -> String {
    let (folder, authority) = (&good.folder, &good.authority);
    let path = |name: &str| folder.path(name).display().to_string();
    folder.write("index.txt", "");
    folder.write("number", "01\n");
    folder.write("authority.key", authority.key());
    let number = if numbered { format!("crlnumber = {}\n", path("number")) } else { String::new() };
    let own = format!("[own]\ndatabase = {}\n{number}", path("index.txt"));
    let rest = "default_md = sha256\ndefault_crl_days = 30\n";
    let config = folder.write("openssl.cnf", format!("[ca]\ndefault_ca = own\n{own}{rest}"));
    let (config, ca, key) = (config.display().to_string(), path("ca.pem"), path("authority.key"));
    openssl(&["ca", "-gencrl", "-config", &config, "-cert", &ca, "-keyfile", &key])
}

#[test]
fn lists_of_openssl_count_and_those_of_version_1_are_refused_with_what_helps() {
    let good = Good::new();
    good.says("crl.pem", list(&good, false), "is of version 1, which is not supported; crlnumber");
    good.folder.write("crl.pem", list(&good, true));
    Acceptor::load(&good.settings, &MQTT).expect("version 2");
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let good = Good::new();
    for arguments in [
        &["genpkey", "-algorithm", "ED448"][..],
        &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
        &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
    ] {
        good.says("server.key", openssl(arguments), "of a kind or size that is not supported; RSA with 2048");
    }
}

#[test]
fn keys_may_be_in_any_of_their_formats() {
    let good = Good::new();
    let key = good.folder.path("server.key").display().to_string();
    // SEC 1, and behind parameters, as older commands write them.
    let sec1 = openssl(&["ec", "-in", &key]);
    let parameters = openssl(&["ecparam", "-name", "prime256v1"]);
    for text in [sec1.clone(), parameters + &sec1, good.text("server.pem") + &sec1] {
        good.folder.write("server.key", text);
        Acceptor::load(&good.settings, &MQTT).expect("a good key");
    }
    let rsa = Good::new();
    let pkcs1 = openssl(&["genrsa", "-traditional", "2048"]);
    rsa.folder.write("server.key", &pkcs1);
    let request = ["req", "-x509", "-subj", "/CN=broker.example", "-key"];
    let key = rsa.folder.path("server.key").display().to_string();
    rsa.folder.write("server.pem", openssl(&[&request[..], &[&key]].concat()));
    Acceptor::load(&rsa.settings, &MQTT).expect("a good key");
}

#[test]
fn a_certificate_of_x509_version_1_is_served() {
    let good = Good::new();
    let key = good.folder.path("server.key").display().to_string();
    let request = openssl(&["req", "-new", "-subj", "/CN=broker.example", "-key", &key]);
    let request = good.folder.write("request.pem", request).display().to_string();
    // Without extensions the command makes version 1.
    let signed = openssl(&["x509", "-req", "-in", &request, "-signkey", &key, "-days", "30"]);
    good.folder.write("server.pem", signed);
    Acceptor::load(&good.settings, &MQTT).expect("clients may trust it");
}

/// What a new client is shown.
fn shown(good: &Good, acceptor: &Acceptor) -> Pair {
    connect(trusting(&good.authority), acceptor).expect("both can")
}

#[test]
fn new_clients_see_a_new_certificate_and_old_sessions_go_on() {
    let good = Good::new();
    let acceptor = Acceptor::load(&good.settings, &MQTT).expect("good files");
    let mut old = shown(&good, &acceptor);
    let renewed = good.authority.server(&["broker.example"]);
    good.folder.keep("server", &renewed);
    assert_ne!(shown(&good, &acceptor).shown(), renewed.cert.der(), "before it is told");
    acceptor.reload().expect("good files");
    assert_eq!(shown(&good, &acceptor).shown(), renewed.cert.der());
    old.speaks();
}

#[test]
fn a_bad_file_leaves_all_as_it_was() {
    let good = Good::new();
    let acceptor = Acceptor::load(&good.settings, &MQTT).expect("good files");
    let before = shown(&good, &acceptor).shown().clone();
    // The certificate is renewed, and its key not there yet.
    let renewed = good.authority.server(&["broker.example"]);
    good.folder.write("server.pem", renewed.cert.pem());
    acceptor.reload().expect_err("the key is the old one's");
    assert_eq!(*shown(&good, &acceptor).shown(), before);
    for name in ["crl.pem", "ca.pem", "server.key"] {
        good.folder.keep("server", &renewed);
        let text = good.text(name);
        good.folder.write(name, "");
        acceptor.reload().expect_err(name);
        assert_eq!(*shown(&good, &acceptor).shown(), before, "{name}");
        good.folder.write(name, text);
    }
    let ended = good.authority.sign("x", |params| params.not_after = date_time_ymd(2021, 3, 4));
    good.folder.keep("server", &ended);
    acceptor.reload().expect_err("it has expired");
    assert_eq!(*shown(&good, &acceptor).shown(), before);
    good.folder.keep("server", &renewed);
    acceptor.reload().expect("good files");
    assert_eq!(shown(&good, &acceptor).shown(), renewed.cert.der());
}

#[test]
fn an_unreadable_file_is_told_from_a_missing_one() {
    let good = Good::new();
    let key = good.folder.path("server.key");
    allow(&key, 0);
    // Nothing is unreadable for root.
    if std::fs::read(&key).is_err() {
        assert_eq!(good.refusal(), "server.key: the broker's user may not read it; let it");
    }
}
