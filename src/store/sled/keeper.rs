//! A thread on which something lives that may hang, fail or panic, and must then be neither used nor dropped.
//!
//! What it keeps is asked for with jobs, and each job has a time without progress after which it is given up. After the
//! first error the thread is parked for good with what it keeps, so that no destructor runs, and every later job is refused
//! at once. A panic on the thread counts as an error also where the program is built to abort on panics: there the process's
//! panic hook reports it and never returns. (Hence no other hook can be set after that: it would wait for this one.)

use std::cell::{OnceCell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

/// Twice what is needed without optimization. It is not taken before it is used.
const STACK_BYTES: usize = 16 << 20;

type Job<S> = Box<dyn FnOnce(&mut S) -> Fate + Send>;

/// What becomes of the thread after a job.
enum Fate {
    Serves,
    IsParked,
}

/// The thread, for as long as it serves.
#[derive(Debug)]
pub(super) struct Keeper<S> {
    jobs: Sender<Job<S>>,
    progress: Progress,
    /// Why it is not asked any more.
    broken: OnceCell<String>,
}

/// How a job tells that it does not hang.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Something has been done.
    pub(super) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn steps(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a job has no result. The thread is lost with what it kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The job's own error.
    #[error(transparent)]
    Failed(#[from] io::Error),
    /// The job panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// There was no progress.
    #[error("no progress for {} s", .0.as_secs())]
    Stalled(Duration),
    /// An earlier job has no result.
    #[error("failed before and was given up: {0}")]
    Broken(String),
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Failed(error) => error,
            Fault::Stalled(_) => Self::new(io::ErrorKind::TimedOut, fault),
            Fault::Panicked(_) | Fault::Broken(_) => Self::other(fault),
        }
    }
}

/// Takes what a panic says.
type LastWords = Box<dyn FnOnce(String)>;

thread_local! {
    /// Where a panic of this thread is reported.
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

impl<S: Send + 'static> Keeper<S> {
    /// Starts a thread that keeps `kept`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(name: &str, kept: S) -> io::Result<Self> {
        report_panics();
        let (jobs, queue) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || serve(kept, &queue))?;
        Ok(Self { jobs, progress: Progress::default(), broken: OnceCell::new() })
    }

    /// For the next job to tell with.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Whether jobs are refused.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    /// Has a job done, and waits as long as it shows progress at least every `limit`.
    ///
    /// # Errors
    /// See [`Fault`]. After the first one there is no other result.
    pub(super) fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        job: impl FnOnce(&mut S) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        if let Some(why) = self.broken.get() {
            return Err(Fault::Broken(why.clone()));
        }
        let (reply, result) = mpsc::channel();
        let job: Job<S> = Box::new(move |kept| {
            let last_words = reply.clone();
            LAST_WORDS.set(Some(Box::new(move |text| drop(last_words.send(Err(Fault::Panicked(text)))))));
            let done = job(kept);
            LAST_WORDS.set(None);
            let fate = if done.is_ok() { Fate::Serves } else { Fate::IsParked };
            // Nobody listens any more to one that was given up.
            let heard = reply.send(done.map_err(Fault::Failed)).is_ok();
            if heard { fate } else { Fate::IsParked }
        });
        // A thread that is gone has dropped the job and its reply with it.
        let _ = self.jobs.send(job);
        self.wait(&result, limit).inspect_err(|fault| {
            let _ = self.broken.set(fault.to_string());
        })
    }

    fn wait<T>(&self, result: &Receiver<Result<T, Fault>>, limit: Duration) -> Result<T, Fault> {
        let mut steps = self.progress.steps();
        loop {
            match result.recv_timeout(limit) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Fault::Panicked("its thread has ended".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = self.progress.steps();
                    if now == steps {
                        return Err(Fault::Stalled(limit));
                    }
                    steps = now;
                }
            }
        }
    }
}

fn serve<S>(kept: S, queue: &Receiver<Job<S>>) {
    // Not even a panic that unwinds drops it.
    let mut kept = ManuallyDrop::new(kept);
    while let Ok(job) = queue.recv() {
        match job(&mut kept) {
            Fate::Serves => {}
            Fate::IsParked => park(),
        }
    }
    drop(ManuallyDrop::into_inner(kept));
}

fn park() -> ! {
    loop {
        thread::park();
    }
}

/// Makes panics of threads that keep something end in their [`LAST_WORDS`]; those of others are what they were.
fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let last_words = LAST_WORDS.try_with(|words| words.try_borrow_mut().ok()?.take());
            match last_words.ok().flatten() {
                Some(last_words) => {
                    last_words(described(info));
                    if cfg!(panic = "abort") {
                        park();
                    }
                }
                None => others(info),
            }
        }));
    });
}

fn described(info: &PanicHookInfo<'_>) -> String {
    let what = info.payload_as_str().unwrap_or("without a word");
    info.location().map_or_else(|| what.to_owned(), |at| format!("{what} ({}:{})", at.file(), at.line()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::SyncSender;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    /// Tells when it is dropped.
    struct Kept(SyncSender<()>);

    impl Drop for Kept {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    fn keeper() -> (Keeper<Kept>, Receiver<()>) {
        let (dropped, drops) = mpsc::sync_channel(1);
        (Keeper::start("keeper", Kept(dropped)).expect("a thread"), drops)
    }

    /// It stays broken, and what it kept is never dropped: its end of the channel is still there.
    fn is_given_up(keeper: Keeper<Kept>, drops: &Receiver<()>) {
        assert!(keeper.is_broken());
        assert!(matches!(keeper.call(LONG, |_| Ok(())), Err(Fault::Broken(_))));
        drop(keeper);
        assert_eq!(drops.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
    }

    #[test]
    fn jobs_are_done_in_order_and_what_is_kept_is_dropped_in_the_end() {
        let (keeper, drops) = keeper();
        for number in 0..3 {
            assert_eq!(keeper.call(LONG, move |_| Ok(number)).expect("done"), number);
        }
        drop(keeper);
        assert_eq!(drops.recv_timeout(LONG), Ok(()));
    }

    #[test]
    fn after_an_error_nothing_is_asked_or_dropped() {
        let (keeper, drops) = keeper();
        let failed = keeper.call(LONG, |_| Err::<(), _>(io::ErrorKind::InvalidData.into()));
        assert!(matches!(failed, Err(Fault::Failed(error)) if error.kind() == io::ErrorKind::InvalidData));
        is_given_up(keeper, &drops);
    }

    #[test]
    fn a_panic_is_an_error_that_says_where() {
        let (keeper, drops) = keeper();
        let failed =
            keeper.call(LONG, |_| -> io::Result<()> { panic!("no {}", "luck") }).expect_err("a panic");
        assert!(failed.to_string().starts_with("panicked: no luck (src/"), "{failed}");
        is_given_up(keeper, &drops);
    }

    #[test]
    fn a_panic_passed_on_from_another_thread_is_an_error_too() {
        let (keeper, drops) = keeper();
        let failed = keeper.call(LONG, |_| -> io::Result<()> { panic::resume_unwind(Box::new("luck")) });
        assert!(matches!(failed, Err(Fault::Panicked(_))), "{failed:?}");
        is_given_up(keeper, &drops);
    }

    #[test]
    fn a_job_that_hangs_is_given_up() {
        let (keeper, drops) = keeper();
        let stalled = keeper.call(SHORT, |_| -> io::Result<()> { park() }).expect_err("it hangs");
        assert_eq!(io::Error::from(stalled).kind(), io::ErrorKind::TimedOut);
        is_given_up(keeper, &drops);
    }

    #[test]
    fn a_job_that_makes_progress_may_take_longer_than_the_limit() {
        let (keeper, _drops) = keeper();
        let (progress, limit) = (keeper.progress(), SHORT * 10);
        // Waits for times that nobody measures: they only have to be longer together than the limit.
        let (_never, pause) = mpsc::channel::<()>();
        let done = keeper.call(limit, move |_| {
            for _ in 0..25 {
                let _ = pause.recv_timeout(SHORT);
                progress.step();
            }
            Ok(())
        });
        done.expect("done");
    }
}
