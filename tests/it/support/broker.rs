use super::{Certificates, PATIENCE, Raw, Transport, lines_with, pause, relay};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// A broker of this test's own; it ends with the test. On failure its log is shown.
pub(crate) struct Broker {
    process: Child,
    pub(crate) address: SocketAddr,
    /// Where its last listener listens.
    pub(crate) beside: SocketAddr,
    log: PathBuf,
    folder: TempDir,
}

/// A broker that ended before it was ready.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

impl Broker {
    /// With two shards.
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// With two shards and these settings.
    pub(crate) fn with(settings: &str) -> Self {
        Self::sharded(2, settings)
    }

    /// With two shards, and these settings of its listener.
    pub(crate) fn with_listener(settings: &str) -> Self {
        Self::run(2, "", settings)
    }

    /// With so many shards and these settings, for clients that know only TCP and reach it through a transport.
    pub(crate) fn through(transport: Transport, shards: u16, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificates = Certificates::new(folder.path());
        let listener = if transport.is_encrypted() { certificates.listener() } else { String::new() };
        let broker = Self::launch(
            folder,
            &[OsStr::new("--no-store")],
            (shards, settings),
            (transport.scheme(), &listener),
        );
        let mut broker =
            broker.unwrap_or_else(|refused| panic!("{}; its log:\n{}", refused.status, refused.log));
        if transport != Transport::Tcp {
            broker.address = relay(broker.address, transport, &certificates);
        }
        broker
    }

    /// With so many shards, and beside the plain listener another one of this scheme: `broker.beside` is its address.
    pub(crate) fn beside(scheme: &str, shards: u16, settings: &str, listener: &str) -> Self {
        Self::run(shards, settings, &format!("[[listener]]\nurl = \"{scheme}://127.0.0.1:0\"\n{listener}"))
    }

    /// With so many shards.
    pub(crate) fn sharded(shards: u16, settings: &str) -> Self {
        Self::run(shards, settings, "")
    }

    /// With so many shards, and its store in this folder.
    pub(crate) fn over(store: &Path, shards: u16, settings: &str) -> Self {
        let broker = Self::try_over(store, shards, settings);
        broker.unwrap_or_else(|refused| panic!("{}; its log:\n{}", refused.status, refused.log))
    }

    /// The same, or how it ended instead of becoming ready.
    pub(crate) fn try_over(store: &Path, shards: u16, settings: &str) -> Result<Self, Refused> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::launch(folder, &[OsStr::new("--data"), store.as_os_str()], (shards, settings), ("tcp", ""))
    }

    fn run(shards: u16, settings: &str, listener: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let broker = Self::launch(folder, &[OsStr::new("--no-store")], (shards, settings), ("tcp", listener));
        broker.unwrap_or_else(|refused| panic!("{}; its log:\n{}", refused.status, refused.log))
    }

    fn launch(
        folder: TempDir,
        store: &[&OsStr],
        (shards, settings): (u16, &str),
        (scheme, listener): (&str, &str),
    ) -> Result<Self, Refused> {
        let (config, log) = (folder.path().join("pantala.toml"), folder.path().join("log"));
        let listener = format!("[[listener]]\nurl = \"{scheme}://127.0.0.1:0\"\n{listener}\n");
        std::fs::write(&config, format!("{settings}\n{listener}")).expect("a settings file");
        let mut process = Command::new(env!("CARGO_BIN_EXE_pantala"))
            .arg("--config")
            .arg(&config)
            .args(store)
            .args(["--log", "debug", "--shards", &shards.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a log file"))
            .spawn()
            .expect("the program starts");
        let out = process.stdout.take().expect("is piped");
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        // From here on it ends with the test, also when it never becomes ready.
        let mut broker = Self { process, address: nowhere, beside: nowhere, log, folder };
        // A damaged store is told of by others as well.
        let ready = lines_with("listening on", listener.matches("url = ").count(), out);
        let (Some(first), Some(last)) = (ready.first(), ready.last()) else {
            return Err(Refused { status: broker.wait(), log: broker.log() });
        };
        (broker.address, broker.beside) = (address(first), address(last));
        Ok(broker)
    }

    /// The file of its settings.
    pub(crate) fn settings_file(&self) -> PathBuf {
        self.folder.path().join("pantala.toml")
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// A connection without a word on it.
    pub(crate) fn raw(&self) -> Raw {
        Raw::open(self.address)
    }

    /// What was logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is readable")
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).expect("it runs");
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("it runs");
        self.wait();
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) {
        self.terminate();
        assert!(self.wait().success(), "it stops in order");
    }

    /// Lets it do nothing, while its sockets go on receiving.
    pub(crate) fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).expect("it runs");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).expect("it is stopped");
    }

    /// Waits until it has stopped.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.process.try_wait().expect("it is our child") {
                Some(status) => return status,
                None => assert!(Instant::now() < deadline, "the broker does not stop"),
            }
            pause();
        }
    }

    /// Shows that a well-behaved pair of clients still gets its messages.
    pub(crate) fn serves(&self) {
        let mut subscriber = self.raw();
        subscriber.connect("still-served-subscriber");
        subscriber.subscribe("still/served", 1);
        let mut publisher = self.raw();
        publisher.connect("still-served-publisher");
        publisher.send(&super::publish(2, "still/served", Some(7), b"yes"));
        publisher.expect(&[0x40, 2, 0, 7]);
        subscriber.expect(&super::publish(2, "still/served", Some(1), b"yes"));
    }
}

/// Where a listener listens, from the line that says so.
fn address(line: &str) -> SocketAddr {
    let address = line.trim().split_once("://").and_then(|(_, address)| address.parse().ok());
    address.unwrap_or_else(|| panic!("no ready line but {line:?}"))
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{}", self.log());
        }
    }
}
