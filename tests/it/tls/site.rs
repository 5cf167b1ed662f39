//! A broker with an encrypted listener, and the files that its clients have.

use super::authority::{Authority, Folder, Signed};
use crate::support::{Broker, Connect, connack};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// An authority, what it has signed for a broker and its clients, and another authority of the same name.
pub(super) struct Site {
    pub(super) authority: Authority,
    pub(super) folder: Folder,
}

impl Site {
    /// Clients `good` and `lost`, of which the second one is revoked, and `stranger` from the other authority.
    pub(super) fn new() -> Self {
        let (authority, folder) = (Authority::new("authority"), Folder::new());
        folder.keep("server", &authority.server(&["localhost", "127.0.0.1"]));
        folder.write("ca.pem", authority.cert.pem());
        folder.write("crl.pem", authority.revokes(&["lost"], 4000));
        let other = Authority::new("authority");
        folder.write("other.pem", other.cert.pem());
        for client in ["good", "lost"] {
            folder.keep(client, &authority.client(client));
        }
        folder.keep("stranger", &other.client("stranger"));
        Self { authority, folder }
    }

    /// A listener's settings with the server's certificate.
    pub(super) fn listener(&self) -> String {
        let path = |name| self.folder.path(name);
        format!("cert = {:?}\nkey = {:?}\n", path("server.pem"), path("server.key"))
    }

    /// The same, and clients need certificates that are not revoked.
    pub(super) fn asking(&self) -> String {
        let (ca, crl) = (self.folder.path("ca.pem"), self.folder.path("crl.pem"));
        let asks = format!("client_ca = {ca:?}\ncrl = {crl:?}\nrequire_client_cert = true\n");
        self.listener() + &asks
    }

    /// Has the broker's certificate renewed. Returns the new one.
    pub(super) fn renew(&self) -> Signed {
        let renewed = self.authority.server(&["localhost", "127.0.0.1"]);
        self.folder.keep("server", &renewed);
        renewed
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }
}

/// A broker with such a listener beside a plain one.
pub(super) fn broker(listener: &str) -> Broker {
    Broker::beside("tls", 2, "", listener)
}

/// What came of a client that sends CONNECT and DISCONNECT.
pub(super) struct Outcome {
    /// What the broker said in MQTT.
    pub(super) said: Vec<u8>,
    /// What the program said.
    pub(super) errors: String,
}

impl Outcome {
    /// It was let in.
    #[track_caller]
    pub(super) fn is_served(&self) {
        assert_eq!(self.said, connack(false, 0), "{}", self.errors);
    }

    /// It got nowhere, and learned why.
    #[track_caller]
    pub(super) fn is_refused(&self, why: &str) {
        assert!(self.said.is_empty(), "{}", self.errors);
        assert!(self.errors.contains(why), "no {why:?} in\n{}", self.errors);
    }
}

/// `openssl s_client` with these arguments.
pub(super) fn s_client(broker: &Broker, arguments: &[&str]) -> Outcome {
    let mut command = Command::new("timeout");
    command.args(["30", "openssl", "s_client", "-quiet", "-verify_return_error", "-connect"]);
    command.arg(broker.beside.to_string()).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl; run tests/run, which installs it");
    let goodbye = [0xe0, 0];
    let said = [&Connect::new("openssl").bytes()[..], &goodbye].concat();
    // A client that is refused may be gone already.
    let _ = child.stdin.as_mut().expect("is piped").write_all(&said);
    let output = child.wait_with_output().expect("it ends");
    Outcome { said: output.stdout, errors: String::from_utf8_lossy(&output.stderr).into_owned() }
}
