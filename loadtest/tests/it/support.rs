//! Brokers to put load on, and what the load generator says of them.

use pantala::access::AccessSettings;
use pantala::broker::{Broker, Settings};
use pantala::transport::settings::{CertificateFiles, Framing, TlsSettings};
use pantala::transport::{Address, ListenerSettings};
use pantala::types::{Features, Limits};
use rustix::thread::{CpuSet, sched_getaffinity};
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a broker may take to start. A bound for what never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets everybody in, loses nothing that the load generator sends, and does not wait for more to send.
const SETTINGS: &str =
    "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n";

/// Pantala with two shards, in this process.
pub(crate) struct Pantala {
    /// `None` only while it is dropped.
    broker: Option<Broker>,
    pub(crate) address: SocketAddr,
    /// Where it listens for WebSockets.
    pub(crate) web: SocketAddr,
    /// The same over TLS.
    pub(crate) tls: SocketAddr,
    pub(crate) secure_web: SocketAddr,
    /// Its own certificate, for 127.0.0.1.
    pub(crate) certificate: PathBuf,
    _folder: TempDir,
}

impl Pantala {
    pub(crate) fn start() -> Self {
        let allowed = sched_getaffinity(None).expect("our own processors");
        let core = (0..CpuSet::MAX_CPU).find(|&core| allowed.is_set(core)).expect("one of them");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (certificate, key) = (folder.path().join("server.pem"), folder.path().join("server.key"));
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        fs::write(&certificate, own.cert.pem()).expect("a file");
        fs::write(&key, own.signing_key.serialize_pem()).expect("a file");
        let tls = TlsSettings::new(CertificateFiles { cert: certificate.clone(), key });
        let kinds = [None, Some(tls)].into_iter().flat_map(|tls| {
            [Framing::Mqtt, Framing::WebSocket].map(|framing| {
                let settings = ListenerSettings { framing, tls: tls.clone(), ..ListenerSettings::default() };
                (Address::Net(SocketAddr::from(([127, 0, 0, 1], 0))), settings)
            })
        });
        let broker = Broker::start(Settings {
            listeners: kinds.collect(),
            cores: vec![core, core],
            limits: Limits::default(),
            features: Features::default(),
            access: AccessSettings::default(),
            sys_interval: None,
            store: None,
            identity: None,
        });
        let broker = broker.expect("the broker starts");
        let [address, web, tls, secure_web] =
            [0, 1, 2, 3].map(|at| broker.listening()[at].address.port().expect("it is one"));
        Self { broker: Some(broker), address, web, tls, secure_web, certificate, _folder: folder }
    }
}

impl Drop for Pantala {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.stop();
        }
    }
}

/// Debian's mosquitto.
pub(crate) struct Mosquitto {
    process: Child,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

impl Mosquitto {
    /// `None`, and says so, where it is not installed: it brings a service on port 1883 with it, which nobody who only
    /// wants to run tests has asked for.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let deadline = Instant::now() + PATIENCE;
        // It cannot pick a port itself, so that another program may be faster.
        loop {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = free.local_addr().expect("it has one");
            drop(free);
            let config = folder.path().join("mosquitto.conf");
            let settings = format!("listener {} 127.0.0.1\n{SETTINGS}", address.port());
            fs::write(&config, settings).expect("a settings file");
            let mut process = match Self::command().arg("-c").arg(&config).spawn() {
                Ok(process) => process,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    eprintln!("SKIPPED: mosquitto is not installed (Debian: mosquitto)");
                    return None;
                }
                Err(error) => panic!("mosquitto: {error}"),
            };
            while process.try_wait().expect("our child").is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Some(Self { process, address, _folder: folder });
                }
                assert!(Instant::now() < deadline, "mosquitto does not listen");
                std::thread::yield_now();
            }
            assert!(Instant::now() < deadline, "mosquitto does not start");
        }
    }

    fn command() -> Command {
        // Debian keeps it where only root looks.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
        let mut command = Command::new("mosquitto");
        command.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What came of a run.
pub(crate) struct Result {
    pub(crate) exit_code: Option<i32>,
    json: String,
    pub(crate) error: String,
}

/// Runs the load generator against a broker.
pub(crate) fn load(broker: SocketAddr, arguments: &str) -> Result {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pantala-load"));
    // What has a name comes first.
    command.args(arguments.split_whitespace()).args(["--json", "--broker", &broker.to_string()]);
    let Output { status, stdout, stderr } = command.output().expect("the load generator starts");
    Result {
        exit_code: status.code(),
        json: String::from_utf8(stdout).expect("text"),
        error: String::from_utf8(stderr).expect("text"),
    }
}

impl Result {
    /// A number of the result.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> f64 {
        let value = self.json.split_once(&format!("\"{name}\":")).map(|(_, rest)| rest);
        let value = value.and_then(|rest| rest.split([',', '}']).next());
        let number = value.and_then(|value| value.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in {:?}; {}", self.json, self.error))
    }

    /// All faults that were found, such as `lost 1`.
    #[track_caller]
    pub(crate) fn faults(&self) -> Vec<String> {
        let names = ["lost", "duplicated", "reordered", "unacknowledged", "stray"];
        let counts = names.map(|name| (name, self.number(name)));
        counts
            .iter()
            .filter(|(_, count)| *count > 0.0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect()
    }

    /// Nothing was wrong, and so many messages were delivered.
    #[track_caller]
    pub(crate) fn is_well(&self, delivered: u32) {
        assert_eq!(self.faults(), Vec::<String>::new());
        assert_eq!(self.exit_code, Some(0), "{}", self.error);
        assert_eq!(self.number("delivered"), f64::from(delivered));
    }
}
