//! Where passwords are checked: threads beside the cores, with a queue of a bounded length before them.
//!
//! A password costs tens of milliseconds, which is the time of ten thousand messages. The threads have a low priority, so
//! that where they share a processor with a core, messages go first.

use super::{Outbox, Policy, Said, Wrong};
use crate::auth::{Admitted, Proof};
use crate::types::{ConnKey, Span};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use tokio::sync::mpsc;

/// Added to the niceness of the threads, of which 19 is the highest.
const NICER: i32 = 10;

/// What a core is told.
#[derive(Debug)]
pub enum Mail {
    /// What became of a login.
    Login(Outcome),
    /// What it goes by from now on.
    Policy(Arc<Policy>),
}

/// What became of a login.
#[derive(Debug)]
pub struct Outcome {
    /// Whose.
    pub conn: ConnKey,
    /// As the core remembers it when it was right.
    pub proof: Proof,
    /// Under which policy.
    pub generation: u64,
    /// Who it is, and for how long that is good; or why it is not let in.
    pub answer: Result<(Admitted, Span), Wrong>,
}

/// A name and a password to be checked.
#[derive(Debug)]
pub struct Job {
    /// Whose.
    pub conn: ConnKey,
    /// As the core will remember it.
    pub proof: Proof,
    /// By what.
    pub policy: Arc<Policy>,
    /// From which of its back ends on.
    pub from: usize,
    /// When it was handed in, in seconds since 1970.
    pub now: u64,
    /// The client's id.
    pub client_id: Box<str>,
    /// Its address, if it has one.
    pub address: Option<IpAddr>,
    /// The URL of the listener that it came through.
    pub listener: Arc<str>,
    /// The name.
    pub user: Box<str>,
    /// The password, for as long as it takes.
    pub password: Box<[u8]>,
    /// Gone when the client no longer waits.
    pub waiting: Weak<()>,
    /// Who is told.
    pub reply: Outbox<Mail>,
}

impl Job {
    /// Whether nobody waits for it any more.
    pub fn is_idle(&self) -> bool {
        self.waiting.strong_count() == 0
    }

    /// Tells the core.
    pub fn answer(self, answer: Result<(Admitted, Span), Wrong>) {
        let Self { conn, proof, policy, reply, .. } = self;
        reply.send(Mail::Login(Outcome { conn, proof, generation: policy.generation(), answer }));
    }
}

/// Where jobs are handed in.
#[derive(Clone, Debug)]
pub struct Desk(Sender<Job>);

impl Desk {
    /// Hands in a job; returns it when as many wait as may.
    ///
    /// # Errors
    /// The job, with which nothing was done.
    pub fn submit(&self, job: Job) -> Result<(), Box<Job>> {
        self.0.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }
}

/// The threads.
#[derive(Debug)]
pub struct Checkers {
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Checkers {
    /// Starts so many threads, before which so many jobs can wait. What is a service's to say goes to `hooks`.
    ///
    /// # Errors
    /// Out of threads.
    pub fn start(threads: u16, waiting_max: u32, hooks: &mpsc::Sender<Job>) -> io::Result<(Desk, Self)> {
        let (sender, jobs) = bounded(waiting_max as usize);
        let mut checkers = Self { stopping: Arc::default(), threads: Vec::new() };
        for number in 0..threads {
            let (jobs, stopping, hooks) = (jobs.clone(), Arc::clone(&checkers.stopping), hooks.clone());
            let thread = thread::Builder::new().name(format!("login-{number}"));
            checkers.threads.push(thread.spawn(move || work(&jobs, &stopping, &hooks))?);
        }
        Ok((Desk(sender), checkers))
    }

    /// Waits until the threads have ended, which they do once every [`Desk`] is gone. What still waits is not done.
    pub fn stop(self) {
        // Nothing else is published by it.
        self.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A panic of the thread has been told of when it happened.
            let _ = thread.join();
        }
    }
}

fn work(jobs: &Receiver<Job>, stopping: &AtomicBool, hooks: &mpsc::Sender<Job>) {
    // Linux counts niceness by thread. Where it is refused, the kernel shares the processors evenly.
    let _ = rustix::process::nice(NICER);
    for mut job in jobs {
        // Who has given up would only make the others wait.
        if job.is_idle() || stopping.load(Ordering::Relaxed) {
            continue;
        }
        match job.policy.ask(job.from, &job.user, &job.password, job.now) {
            Said::Answer(answer) => job.answer(answer),
            Said::Ask(at) => {
                job.from = at;
                if let Err(refused) = hooks.try_send(job) {
                    refused.into_inner().answer(Err(Wrong::Full));
                }
            }
        }
    }
}

/// One for two processors: a flood of logins leaves the other half to messages whatever the kernel does.
pub fn threads_by_default() -> u16 {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(processors / 2).unwrap_or(u16::MAX).max(1)
}
