//! The thread that settles what the journal has, and reads it back.

use crate::engine::{Expired, Fetched};
use crate::store::{Checkpoint, PageRead, Reading, Settled, SledSettled, Spent, Sweep, answer, export_to};
use crate::types::{Now, ShardId};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustix::io::{Errno, write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info, warn};

/// The exit code when the store fails: EX_IOERR of sysexits.
const EXIT_FAILED: i32 = 74;
/// Messages whose memory is freed before the next pause: some 50 us.
const FREED_AT_ONCE: usize = 512;
const PAUSE: Duration = Duration::from_micros(200);

/// Something for the thread that owns the settled state.
pub(super) enum Job {
    Settle(Checkpoint),
    /// Its memory is to be freed, which nobody waits for.
    Free(Spent),
    /// Everything that is settled goes to this file.
    Export(PathBuf),
    /// Looks at some of what is settled for what has expired by now.
    Sweep(Now),
    /// What the settled state does not need of the disk is to be free.
    GiveBack,
    Read(ShardId, PageRead),
}

/// What became of it.
pub(super) enum Done {
    /// What the settled state takes on disk; nothing when there was no room.
    Settled(Option<u64>),
    /// Has expired, as far as the settled state knows.
    Expired(Vec<Expired>),
    /// What it takes now.
    GivenBack(u64),
    Read(ShardId, Fetched),
}

/// The thread that owns the settled state.
pub(super) struct Settler {
    pub(super) path: PathBuf,
    pub(super) settled: SledSettled,
    pub(super) jobs: Receiver<Job>,
    pub(super) done: Sender<Done>,
    pub(super) bell: Arc<OwnedFd>,
    pub(super) reading: Reading,
    pub(super) sweep: Sweep,
    /// What is freed while there is nothing to do.
    pub(super) spent: Vec<Spent>,
}

impl Settler {
    pub(super) fn run(mut self) {
        while let Some(job) = self.next() {
            let done = match job {
                Job::Settle(checkpoint) => match checkpoint.run_and_sweep(&mut self.settled, &mut self.sweep)
                {
                    Ok(()) => Done::Settled(Some(self.settled.bytes_on_disk().unwrap_or(0))),
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Done::Settled(None),
                    Err(error) => leave(&error),
                },
                Job::Free(spent) => {
                    self.spent.push(spent);
                    continue;
                }
                Job::Read(to, read) => match read.run(&self.settled, &mut self.reading) {
                    Ok(fetched) => Done::Read(to, fetched),
                    Err(error) => unreadable(&self.path, &error),
                },
                Job::Sweep(now) => match self.sweep.step(&self.settled, now) {
                    Ok(expired) if expired.is_empty() => continue,
                    Ok(expired) => Done::Expired(expired),
                    Err(error) => unreadable(&self.path, &error),
                },
                Job::GiveBack => match self.settled.give_back() {
                    Ok(()) => Done::GivenBack(self.settled.bytes_on_disk().unwrap_or(0)),
                    // With less than its reserve it is left alone.
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => continue,
                    Err(error) => leave(&error),
                },
                Job::Export(file) => {
                    let exported = export_to(&self.settled, &file);
                    match &exported {
                        Ok(()) => info!(file = %file.display(), "exported"),
                        Err(error) => warn!(file = %file.display(), %error, "not exported"),
                    }
                    if let Err(error) = answer(&self.path, &exported) {
                        warn!(%error, "who asked for an export cannot be answered");
                    }
                    continue;
                }
            };
            // Nobody listens any more when the broker stops.
            let _ = self.done.send(done);
            ring(&self.bell);
        }
        if let Err(error) = self.settled.close() {
            warn!(%error, "the settled state was not closed in order");
        }
    }
}

impl Settler {
    /// The next job; none when the broker ends. While it waits, memory is freed, with pauses in which the shards get at theirs.
    fn next(&mut self) -> Option<Job> {
        while let Some(spent) = self.spent.last_mut() {
            if !spent.free(FREED_AT_ONCE) {
                self.spent.pop();
            }
            match self.jobs.recv_timeout(PAUSE) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        self.jobs.recv().ok()
    }
}

fn ring(bell: &OwnedFd) {
    // It fails only when the counter is full, and then it is rung.
    let _: Result<usize, Errno> = write(bell, &1u64.to_ne_bytes());
}

/// Ends the process at once because what is settled is damaged, or its disk is: to go on would be to serve a part of it.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> ! {
    error!(
        path = %path.display(),
        %error,
        "the settled state cannot be read and the broker ends; restore the store's folder from a backup or import an export"
    );
    std::process::exit(EXIT_FAILED)
}

/// Ends the process at once, without destructors: one of a database that has failed may wait for ever. What was
/// acknowledged is in the journal.
pub(super) fn leave(error: &std::io::Error) -> ! {
    error!(%error, "the store has failed and the broker ends; what was acknowledged is kept and will be there at the next start");
    std::process::exit(EXIT_FAILED)
}
