//! What must be gone at the end, however it comes: the broker that runs, and its folder.

#![expect(
    clippy::disallowed_types,
    reason = "an interruption has to wait for a broker that is just starting"
)]

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// A folder for brokers, and the one that runs. When the program is interrupted, both go before it does.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: TempDir,
    /// Its process. Locked while one starts, so that none does behind an interruption.
    running: Arc<Mutex<Option<Pid>>>,
    handle: Handle,
    watch: Option<JoinHandle<()>>,
}

impl Scratch {
    /// # Errors
    /// No folder can be made, or signals cannot be waited for.
    pub(super) fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pantala-load-").tempdir()?;
        let running = Arc::new(Mutex::new(None));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let (interrupted, path) = (Arc::clone(&running), folder.path().to_owned());
        let watch = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let running = interrupted.lock().unwrap_or_else(PoisonError::into_inner);
                // What cannot be ended or removed is not ours any more.
                if let Some(pid) = *running {
                    let _ = kill_process(pid, Signal::KILL);
                }
                let _ = std::fs::remove_dir_all(path);
                std::process::exit(128 + signal);
            }
        })?;
        Ok(Self { folder, running, handle, watch: Some(watch) })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a broker, which runs from now on.
    pub(super) fn start(&self, start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let child = start()?;
        *running = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(child)
    }

    /// Tells the broker that runs to end.
    pub(super) fn stop(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = running.take() {
            // One that has ended cannot be told to.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(watch) = self.watch.take() {
            // It does not panic.
            let _ = watch.join();
        }
    }
}
