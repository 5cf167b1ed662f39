//! Clients that are programs of their own.

use super::{first_line, until};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A program that is on the PATH.
pub(crate) fn program(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists());
    Command::new(found.unwrap_or_else(|| missing(name)))
}

/// The folder that cargo builds into: target/debug/pantala leads there.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pantala")).ancestors().nth(2).expect("a target folder")
}

/// What `tests/run` put there.
pub(crate) fn installed(name: &str) -> PathBuf {
    let path = target().join(name);
    if !path.exists() {
        missing(&path.display().to_string());
    }
    path
}

fn missing(what: &str) -> ! {
    panic!("{what} is missing; run tests/run, which installs it")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A script of tests/clients, with the packages of tests/clients/requirements.txt.
pub(crate) fn python(name: &str) -> Command {
    let mut command = Command::new(installed("venv/bin/python3"));
    command.arg(script(name));
    command
}

/// A script of tests/clients, with the packages of tests/clients/package.json.
pub(crate) fn node(name: &str) -> Command {
    let mut command = program("node");
    command.arg(script(name)).env("NODE_PATH", installed("node/node_modules"));
    command
}

/// A program of tests/clients in C, compiled for one test.
pub(crate) struct Compiled {
    path: PathBuf,
    _folder: TempDir,
}

impl Compiled {
    /// Compiles the files in `tests/clients/<name>`, and links a library that `tests/run` installs.
    pub(crate) fn new(name: &str, library: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(name);
        let files =
            std::fs::read_dir(script(name)).expect("a folder").map(|file| file.expect("a file").path());
        let output = program("cc")
            .args(["-std=gnu11", "-Wall", "-Wextra", "-pthread", "-o"])
            .arg(&path)
            .args(files.filter(|file| file.extension().is_some_and(|extension| extension == "c")))
            .arg(format!("-l{library}"))
            .output()
            .expect("a C compiler");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}\nif lib{library} is missing, tests/run installs it");
        Self { path, _folder: folder }
    }

    pub(crate) fn command(&self) -> Command {
        Command::new(&self.path)
    }
}

/// A client that runs beside the test, at most as long as the test.
pub(crate) struct Beside(pub(crate) Child);

impl Beside {
    /// Starts it, and waits until it has printed that it is ready.
    pub(crate) fn ready(mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the client starts");
        let mut beside = Self(child);
        assert_eq!(first_line(beside.0.stdout.take().expect("is piped")).trim(), "ready", "{command:?}");
        beside
    }

    /// Waits until it ends by itself, and expects success.
    pub(crate) fn ends(mut self) {
        let mut status = None;
        until("the client ends", || {
            status = self.0.try_wait().expect("it is our child");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }

    /// Stops it without ending it: its sockets stay open, and it says nothing more.
    pub(crate) fn freeze(&self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::STOP).expect("it runs");
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
