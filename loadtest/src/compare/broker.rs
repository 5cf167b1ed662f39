//! Brokers: how they are found, started and ended.

use super::options::Common;
use super::scratch::Scratch;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

macro_rules! brokers {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../brokers/", $name, ".toml")))),*]
    };
}

/// Those that are known by name.
const BROKERS: [(&str, &str); 5] =
    brokers!["pantala", "pantala-fsync", "mosquitto", "mosquitto-nodelay", "rumqttd"];
/// Another program may take a port between it being free and the broker listening.
const ATTEMPTS: u32 = 5;
/// How long a broker may take to listen.
const PATIENCE: u32 = 3_000;
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of what a broker has written that an error shows.
const SHOWN: usize = 2_000;

/// Why a broker is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    #[error(
        "there is no broker {0:?}: a known one ({known}), a .toml file, a program with a / in its path, NAME=COMMAND, or tcp://ADDRESS:PORT",
        known = BROKERS.map(|(name, _)| name).join(", ")
    )]
    Unknown(String),
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, String),
    #[error("{name} is not installed: {install}")]
    Missing { name: String, install: String },
    #[error("{0} cannot be started: {1}")]
    Start(String, io::Error),
    #[error("{name} does not listen; the end of what it says:\n{said}")]
    Silent { name: String, said: String },
}

/// How a broker is started.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) name: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// It runs already.
    There(SocketAddr),
    Started {
        program: PathBuf,
        recipe: Recipe,
    },
}

/// What a broker's file says. `{port}`, `{folder}` and `{core}` stand for what they are called.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// Names and paths of the program, of which the first that is there counts.
    program: Vec<String>,
    #[serde(default)]
    arguments: Vec<String>,
    /// How to get it.
    #[serde(default)]
    install: String,
    /// Files of the broker's folder.
    #[serde(default)]
    files: BTreeMap<String, String>,
}

impl Known {
    /// A broker by what the command line calls it.
    ///
    /// # Errors
    /// It is not known, or not installed.
    pub(super) fn find(text: &str) -> Result<Self, BrokerError> {
        if let Some(address) = text.strip_prefix("tcp://") {
            let address = address.parse().map_err(|_| BrokerError::Unknown(text.to_owned()))?;
            return Ok(Self { name: text.to_owned(), kind: Kind::There(address) });
        }
        if let Some((name, command)) = text.split_once('=') {
            let mut words = command.split_whitespace().map(str::to_owned);
            let recipe = Recipe {
                program: words.next().into_iter().collect(),
                arguments: words.collect(),
                install: format!("{command:?} is not there"),
                ..Recipe::default()
            };
            return Self::of(name, recipe);
        }
        if let Some((name, file)) = BROKERS.iter().find(|(name, _)| *name == text) {
            return Self::of(name, parse(Path::new(name), file)?);
        }
        let path = Path::new(text);
        if path.extension().is_some_and(|extension| extension == "toml") {
            let file = std::fs::read_to_string(path)
                .map_err(|error| BrokerError::File(path.to_owned(), error.to_string()))?;
            let name = path.file_stem().map_or_else(|| text.into(), |stem| stem.to_string_lossy());
            return Self::of(&name, parse(path, &file)?);
        }
        if text.contains('/') {
            return Self::build(text, path);
        }
        Err(BrokerError::Unknown(text.to_owned()))
    }

    /// A build of Pantala.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn build(name: &str, program: &Path) -> Result<Self, BrokerError> {
        let pantala = parse(Path::new("pantala"), BROKERS[0].1)?;
        let program = vec![program.to_string_lossy().into_owned()];
        Self::of(name, Recipe { program, install: "there is no such program".to_owned(), ..pantala })
    }

    fn of(name: &str, recipe: Recipe) -> Result<Self, BrokerError> {
        let program = recipe.program.iter().find_map(|program| locate(program));
        let missing = || BrokerError::Missing { name: name.to_owned(), install: recipe.install.clone() };
        let program = program.ok_or_else(missing)?;
        Ok(Self { name: name.to_owned(), kind: Kind::Started { program, recipe } })
    }
}

fn parse(path: &Path, file: &str) -> Result<Recipe, BrokerError> {
    toml::from_str(file).map_err(|error| BrokerError::File(path.to_owned(), error.to_string()))
}

/// A program by its path, or by its name: beside this one, or where the system has programs.
fn locate(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Path::new(program).is_file().then(|| PathBuf::from(program));
    }
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = beside.into_iter().chain(std::env::split_paths(&path));
    folders.find_map(|folder| Some(folder.join(program)).filter(|file| file.is_file()))
}

/// A broker that runs. It is ended when this goes.
#[derive(Debug)]
pub(super) struct Running<'a> {
    pub(super) address: SocketAddr,
    process: Option<Child>,
    scratch: &'a Scratch,
}

impl<'a> Running<'a> {
    /// Starts a broker on its processor, and waits until it listens.
    ///
    /// # Errors
    /// It does not start or listen.
    pub(super) fn start(broker: &Known, common: &Common, scratch: &'a Scratch) -> Result<Self, BrokerError> {
        let (program, recipe) = match &broker.kind {
            Kind::There(address) => return Ok(Self { address: *address, process: None, scratch }),
            Kind::Started { program, recipe } => (program, recipe),
        };
        let failed = |error| BrokerError::Start(broker.name.clone(), error);
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir_in(scratch.path()).map_err(failed)?.keep();
            let port = free_port().map_err(failed)?;
            let mut command = command(program, recipe, &folder, port, common.core).map_err(failed)?;
            let spawn = || on_processor(common.core, || command.spawn());
            let child = scratch.start(spawn).map_err(failed)?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut running = Self { address, process: Some(child), scratch };
            if running.listens() {
                return Ok(running);
            }
            drop(running);
            said = std::fs::read_to_string(folder.join(SAID)).unwrap_or_default();
        }
        let end = said.len().saturating_sub(SHOWN);
        let end = (end..said.len()).find(|&at| said.is_char_boundary(at)).unwrap_or(0);
        Err(BrokerError::Silent { name: broker.name.clone(), said: said[end..].to_owned() })
    }

    /// Waits until it listens; false when it has ended, or says nothing for too long.
    #[expect(clippy::disallowed_methods, reason = "nothing says when another program listens")]
    fn listens(&mut self) -> bool {
        for _ in 0..PATIENCE {
            if self.process.as_mut().is_some_and(|process| !matches!(process.try_wait(), Ok(None))) {
                return false;
            }
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            std::thread::sleep(PAUSE);
        }
        false
    }

    /// Its process, where it was started for this.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        self.scratch.stop();
        let _ = process.wait();
    }
}

/// Where a broker writes what it says.
const SAID: &str = "said";

fn command(program: &Path, recipe: &Recipe, folder: &Path, port: u16, core: usize) -> io::Result<Command> {
    let filled = |text: &str| {
        let text = text.replace("{port}", &port.to_string()).replace("{core}", &core.to_string());
        text.replace("{folder}", &folder.to_string_lossy())
    };
    for (name, text) in &recipe.files {
        std::fs::write(folder.join(name), filled(text))?;
    }
    let said = std::fs::File::create(folder.join(SAID))?;
    let mut command = Command::new(program);
    command.args(recipe.arguments.iter().map(|argument| filled(argument)));
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    Ok(command)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Does something, and starts what it starts, on one processor only.
fn on_processor<T>(core: usize, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only)?;
    let done = what();
    sched_setaffinity(None, &before)?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_broker_can_be_read() {
        for (name, file) in BROKERS {
            let recipe = parse(Path::new(name), file).unwrap();
            assert!(!recipe.install.is_empty(), "{name}");
            let all = recipe.arguments.iter().chain(recipe.files.values());
            assert!(all.into_iter().any(|text| text.contains("{port}")), "{name}");
        }
    }

    #[test]
    fn brokers_are_found_by_whatever_they_are_called() {
        let there = Known::find("tcp://127.0.0.1:1883").unwrap();
        assert_eq!(there.kind, Kind::There(SocketAddr::from(([127, 0, 0, 1], 1883))));
        let shell = Known::find("own=sh -c {port}").unwrap();
        let Kind::Started { recipe, .. } = &shell.kind else { panic!("{shell:?}") };
        assert_eq!((shell.name.as_str(), recipe.arguments.len()), ("own", 2));
        assert!(Known::find("/bin/sh").is_ok(), "a build");
        for (text, why) in [
            ("nothing", "there is no broker"),
            ("tcp://localhost", "there is no broker"),
            ("/no/such/program", "no such program"),
            ("own=no-such-program-anywhere {port}", "not installed"),
            ("no-such-file.toml", "no-such-file.toml"),
        ] {
            let error = Known::find(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_with_a_mistake_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.toml");
        std::fs::write(&path, "program = [\"sh\"]\nargument = []").unwrap();
        let error = Known::find(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("own.toml") && error.contains("argument"), "{error}");
    }
}
