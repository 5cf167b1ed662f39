//! What is still there when the broker comes back, and what happens when its disk does not play along.
//!
//! Each test has a folder of its own and runs the program on it several times, killed or stopped in between, with other
//! numbers of shards.

mod bounds;
mod damage;
mod delivery;
mod expiry;
mod folder;
mod full;
mod long;
mod readonly;
mod sessions;
mod shares;
mod tools;

use crate::support::{Broker, Connect, Raw, connack};
use std::ops::Deref;
use std::path::PathBuf;
use tempfile::TempDir;

/// How a broker ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By SIGKILL, in the middle of whatever it does.
    Killed,
    /// By SIGTERM, in order.
    Stopped,
}

/// Ends, and the numbers of shards before and after.
const RESTARTS: [(End, u16, u16); 5] = [
    (End::Killed, 1, 1),
    (End::Killed, 2, 1),
    (End::Killed, 1, 3),
    (End::Stopped, 2, 2),
    (End::Stopped, 2, 3),
];

/// Short files, which are soon read in a build without optimizations. Further settings of the store follow at once.
const SMALL: &str = "[store]\nsegment_bytes = 1_048_576";

/// A store's folder and the broker that runs on it at present.
struct Life {
    folder: TempDir,
    settings: String,
    broker: Option<Broker>,
    end: End,
    shards_after: u16,
}

impl Life {
    /// One that is killed.
    fn begin(shards: u16, settings: &str) -> Self {
        Self::ending((End::Killed, shards, shards), settings)
    }

    fn ending((end, shards, shards_after): (End, u16, u16), settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = format!("{SMALL}\n{settings}");
        let broker = Some(Broker::over(&folder.path().join("store"), shards, &settings));
        Self { folder, settings, broker, end, shards_after }
    }

    /// The store's folder.
    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Ends the broker.
    fn end(&mut self) {
        let broker = self.broker.take().expect("it runs");
        match self.end {
            End::Killed => broker.kill(),
            End::Stopped => broker.stop(),
        }
    }

    /// Starts the broker again.
    fn resume(&mut self) {
        self.broker = Some(Broker::over(&self.path(), self.shards_after, &self.settings));
    }

    fn restart(&mut self) {
        self.end();
        self.resume();
    }
}

impl Deref for Life {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        self.broker.as_ref().expect("it runs")
    }
}

/// Runs a test for each way to end and to come back.
fn each_restart(test: impl Fn(&mut Life)) {
    each_restart_with("", test);
}

fn each_restart_with(settings: &str, test: impl Fn(&mut Life)) {
    for restart in RESTARTS {
        eprintln!("{restart:?}");
        test(&mut Life::ending(restart, settings));
    }
}

/// A client of 3.1.1 whose session stays.
#[track_caller]
fn persistent(broker: &Broker, id: &str, present: bool) -> Raw {
    let mut raw = broker.raw();
    raw.send(&Connect { clean: false, ..Connect::new(id) }.bytes());
    raw.expect(&connack(present, 0));
    raw
}

/// A client of 3.1.1 whose session does not.
#[track_caller]
fn clean(broker: &Broker, id: &str) -> Raw {
    let mut raw = broker.raw();
    raw.connect(id);
    raw
}

impl Raw {
    /// Publishes with QoS 1 by 3.1.1 and waits for the acknowledgement.
    #[track_caller]
    fn publishes_v3(&mut self, flags: u8, topic: &str, payload: &[u8]) {
        self.send(&crate::support::publish(flags | 2, topic, Some(0x7777), payload));
        self.expect(&[0x40, 2, 0x77, 0x77]);
    }

    /// Says goodbye by 3.1.1, and sees that it was heard.
    #[track_caller]
    fn leave_v3(mut self) {
        self.send(&[0xe0, 0]);
        self.expect_closed();
    }
}
