//! The broker as a process: started on a folder, killed, started again.

use crate::PATIENCE;
use crate::power::Shim;
use pantala::types::Rng;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use tempfile::TempDir;

/// Where the broker keeps what outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// In a folder, with this durability.
    Store(&'static str),
    /// In memory.
    Nothing,
}

impl Keeps {
    /// The part of the configuration that says so. The bounds are the smallest ones, so that a short run crosses the
    /// ends of segments and many checkpoints.
    fn settings(self, data: &Path) -> String {
        match self {
            Self::Store(durability) => format!(
                "[store]\npath = {:?}\ndurability = \"{durability}\"\nreserve_bytes = 8_388_608\n\
                 segment_bytes = 1_048_576\ncheckpoint_bytes = 1_048_576\n",
                data.display().to_string()
            ),
            Self::Nothing => "[store]\nenabled = false\n".to_owned(),
        }
    }
}

/// The folder of one broker over all of its lives.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
    keeps: Keeps,
    shim: Option<Shim>,
}

impl Home {
    /// With a `shim`, what the broker does to its files is recorded.
    pub(crate) fn new(keeps: Keeps, shim: Option<Shim>) -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), keeps, shim }
    }

    /// What the broker keeps; it makes the folder itself.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What was done to the files in [`Self::data`] in this life.
    pub(crate) fn recording(&self) -> PathBuf {
        self.folder.path().join("recording")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The only place where a broker is started: on so many shards, which may be others than before.
    pub(crate) fn start(&self, shards: u64) -> Broker {
        let config = self.folder.path().join("pantala.toml");
        let settings = format!(
            "{}[session]\ninflight_max = 12\nqueue_memory_bytes = 4_096\n[sys]\ninterval_s = 0\n\
             [[listener]]\nurl = \"tcp://127.0.0.1:0\"\n",
            self.keeps.settings(&self.data())
        );
        std::fs::write(&config, settings).expect("a settings file");
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pantala"));
        command.arg("--config").arg(&config).args(["--shards", &shards.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        if let Some(shim) = &self.shim {
            shim.record(&mut command, &self.data(), &self.recording());
        }
        let mut process = command.spawn().expect("the program starts");
        let out = process.stdout.take().expect("is piped");
        // From here on it ends with the test, also when it never becomes ready.
        let mut broker = Broker { process, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = sender.send(line);
        });
        let ready = receiver.recv_timeout(PATIENCE).unwrap_or_default();
        let address =
            ready.trim().strip_prefix("listening on tcp://").and_then(|address| address.parse().ok());
        broker.address = address
            .unwrap_or_else(|| panic!("no ready line but {ready:?}; its log ends:\n{}", self.log_end()));
        broker
    }

    /// After a kill: where files are recorded, what was not synced may be lost with the power.
    pub(crate) fn cut_power(&self, rng: &mut Rng) {
        if let Some(shim) = &self.shim {
            println!("{:?}", shim.cut(&self.data(), &self.recording(), rng));
        }
    }

    /// The end of what all lives logged.
    pub(crate) fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// One life of a broker.
#[derive(Debug)]
pub(crate) struct Broker {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Broker {
    /// SIGKILL. It has ended when this returns.
    pub(crate) fn kill(mut self) {
        let status = self.end();
        // Had it ended before by itself, that would be a crash of another kind.
        assert!(status.code().is_none(), "the broker had ended before it was killed: {status}");
    }

    fn end(&mut self) -> std::process::ExitStatus {
        let _ = self.process.kill();
        self.process.wait().expect("it is our child")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}
