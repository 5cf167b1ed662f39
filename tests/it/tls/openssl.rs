//! `openssl s_client`, let in and refused.

use super::site::{Outcome, Site, broker, s_client};
use crate::support::{Broker, connack, until};
use rcgen::DnType;

/// What a client with these arguments comes to, that trusts the authority and shows a certificate.
fn showing(broker: &Broker, site: &Site, client: &str, more: &[&str]) -> Outcome {
    let path = |name: &str| site.path(name).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path(&format!("{client}.pem")), path(&format!("{client}.key")));
    let arguments = ["-CAfile", &ca, "-cert", &cert, "-key", &key];
    s_client(broker, &[&arguments[..], more].concat())
}

/// The same without certificate.
fn anonymous(broker: &Broker, site: &Site, more: &[&str]) -> Outcome {
    let ca = site.path("ca.pem").display().to_string();
    s_client(broker, &[&["-CAfile", &ca][..], more].concat())
}

/// The log says so, and of whom.
fn logged(broker: &Broker, why: &str) {
    until("it is logged", || {
        broker.log().lines().any(|line| line.contains(why) && line.contains("peer=127.0.0.1:"))
    });
}

#[test]
fn it_is_served_in_1_2_and_1_3() {
    let site = Site::new();
    let broker = broker(&site.listener());
    for version in ["-tls1_2", "-tls1_3"] {
        anonymous(&broker, &site, &[version]).is_served();
        anonymous(&broker, &site, &[version, "-alpn", "h2,mqtt"]).is_served();
    }
    // Half a kilobyte to a record is what small devices ask for.
    anonymous(&broker, &site, &["-maxfraglen", "512"]).is_served();
}

#[test]
fn versions_before_1_2_are_refused() {
    let site = Site::new();
    let broker = broker(&site.listener());
    for version in ["-tls1", "-tls1_1"] {
        // Without this the client would not even try.
        let outcome = anonymous(&broker, &site, &[version, "-cipher", "DEFAULT@SECLEVEL=0"]);
        outcome.is_refused("alert handshake failure");
    }
    logged(&broker, "closed before CONNECT: TLS: ");
    broker.serves();
}

#[test]
fn a_listener_for_1_3_refuses_1_2() {
    let site = Site::new();
    let broker = broker(&(site.listener() + "min_tls = \"1.3\"\n"));
    anonymous(&broker, &site, &["-tls1_3"]).is_served();
    anonymous(&broker, &site, &["-tls1_2"]).is_refused("alert protocol version");
}

#[test]
fn another_protocol_is_refused() {
    let site = Site::new();
    let broker = broker(&site.listener());
    anonymous(&broker, &site, &["-alpn", "h2"]).is_refused("alert no application protocol");
}

#[test]
fn a_client_that_trusts_another_authority_leaves() {
    let site = Site::new();
    let broker = broker(&site.listener());
    let other = site.path("other.pem").display().to_string();
    let outcome = s_client(&broker, &["-CAfile", &other]);
    outcome.is_refused("certificate verify failed");
    logged(&broker, "closed before CONNECT: TLS: received fatal alert");
}

#[test]
fn a_client_certificate_of_the_authority_is_let_in() {
    let site = Site::new();
    let broker = broker(&site.asking());
    for version in ["-tls1_2", "-tls1_3"] {
        showing(&broker, &site, "good", &[version]).is_served();
    }
}

#[test]
fn client_certificates_that_do_not_count_are_refused_with_their_reason() {
    let site = Site::new();
    let broker = broker(&site.asking());
    for version in ["-tls1_2", "-tls1_3"] {
        showing(&broker, &site, "lost", &[version]).is_refused("alert certificate revoked");
        let wrong = showing(&broker, &site, "stranger", &[version]);
        wrong.is_refused("alert");
    }
    anonymous(&broker, &site, &["-tls1_3"]).is_refused("alert certificate required");
    anonymous(&broker, &site, &["-tls1_2"]).is_refused("alert");
    logged(&broker, "Revoked");
    logged(&broker, "peer sent no certificates");
    showing(&broker, &site, "good", &[]).is_served();
}

#[test]
fn a_certificate_without_the_name_that_makes_the_user_is_refused() {
    let site = Site::new();
    let nameless = site.authority.sign("x", |params| {
        params.distinguished_name.remove(DnType::CommonName);
    });
    site.folder.keep("nameless", &nameless);
    let settings = site.asking().replace("require_client_cert = true", "username_from_cert = \"cn\"");
    let broker = broker(&settings);
    let refused = showing(&broker, &site, "nameless", &[]);
    assert_eq!(refused.said, connack(false, 5), "{}", refused.errors);
    logged(
        &broker,
        "its certificate has no name of the kind that username_from_cert of its listener asks for",
    );
    showing(&broker, &site, "good", &[]).is_served();
    // Whoever shows none is who its CONNECT says, if that can be proved.
    anonymous(&broker, &site, &[]).is_served();
}

#[test]
fn sessions_are_resumed_on_whichever_core() {
    let site = Site::new();
    let broker = Broker::beside("tls", 4, "", &site.listener());
    let kept = site.path("session").display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        anonymous(&broker, &site, &[version, "-sess_out", &kept]).is_served();
        for _ in 0..8 {
            let again = resumed(&broker, &site, version, &kept);
            assert!(again.contains("Reused, "), "{again}");
        }
    }
}

/// What a client prints about a connection that it tries to resume.
fn resumed(broker: &Broker, site: &Site, version: &str, kept: &str) -> String {
    use std::process::{Command, Stdio};
    let mut command = Command::new("timeout");
    command.args(["30", "openssl", "s_client", version, "-sess_in", kept, "-CAfile"]);
    command.arg(site.path("ca.pem")).arg("-connect").arg(broker.beside.to_string());
    let output = command.stdin(Stdio::null()).output().expect("openssl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
