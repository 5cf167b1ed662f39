//! Waking a core that sleeps: once per batch, and only when it does sleep.
//!
//! Two waits, one protocol. A receiver with nothing to do waits for arrivals; a sender whose link is full waits for
//! room. Either raises a [`Flag`], looks once more, and only then sleeps; the other side acts first, then takes the flag:
//!
//! ```text
//! the one that waits                  the one that acts
//! 1  flag = true                      1  act: note the arrival, or take a batch out of the link
//! 2  fence(SeqCst)                    2  fence(SeqCst)
//! 3  look: has the other acted?       3  was the flag raised? then lower it and wake the other
//! 4  sleep if not
//! ```
//!
//! All SeqCst fences have one order. If the left one comes first, the right side's look at the flag sees it raised and
//! wakes; if the right one comes first, the left side's look sees the act and does not sleep. With anything weaker each
//! side's store may still be in its core's store buffer while it looks at the other's, and both look too early: the
//! sleeper sleeps for ever. The flag's accesses are relaxed because the fences carry the order.
//!
//! An arrival's bit is set with Release after the batch is in the link and taken with Acquire before the link is looked
//! at, so whoever sees the bit finds the batch. If it were relaxed, a receiver could clear the bit, find nothing, and
//! leave the batch there for ever.
//!
//! `RUSTFLAGS="--cfg pantala_loom" cargo test --lib --target-dir target/loom mesh::doorbell` tries every way
//! in which the threads can interrupt each other three times, with every value that the standard's memory model lets a
//! load see. It fails when a fence goes or becomes AcqRel, when an ordering of the bits is relaxed, and when the second
//! look goes or comes before the flag is raised; each was tried. (Not the usual `--cfg loom`: tokio has no sockets under
//! that.)

use super::ENDS_MAX;
use crate::types::ShardId;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[cfg(all(test, pantala_loom))]
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
#[cfg(not(all(test, pantala_loom)))]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// Words of 64 ends; the fewer there are, the less loom has to try.
const WORDS: usize = if cfg!(all(test, pantala_loom)) { 1 } else { ENDS_MAX.div_ceil(64) };

/// "I am about to wait." On a cache line of its own, which the other side looks at once per batch and which changes
/// only around a wait.
#[repr(align(64))]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Before the last look and the wait.
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// When there is no need to wait, or no more.
    pub(super) fn lower(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// After the act: whether the other side has to be woken, which only the first one is told.
    pub(super) fn take(&self) -> bool {
        fence(Ordering::SeqCst);
        // Nearly always it is not raised, and then the line stays where it is.
        self.0.load(Ordering::Relaxed)
            && self.0.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// A flag, and one bit for each shard that has something for the one that waits. What wakes it is the caller's.
struct Bell {
    sleeping: Flag,
    arrivals: [AtomicU64; WORDS],
}

impl Bell {
    fn new() -> Self {
        Self { sleeping: Flag::new(), arrivals: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    fn ring(&self, from: ShardId, wake: impl FnOnce()) {
        let bit = 1 << (from.index() % 64);
        self.arrivals[from.index() / 64].fetch_or(bit, Ordering::Release);
        if self.sleeping.take() {
            wake();
        }
    }

    fn arrivals(&self, mut visit: impl FnMut(ShardId)) {
        for (first, word) in (0u16..).step_by(64).zip(&self.arrivals) {
            // Mostly nothing has arrived, and reading does not take the line away from those that ring.
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::Acquire);
            while bits != 0 {
                let bit = u16::try_from(bits.trailing_zeros()).expect("below 64");
                bits &= bits - 1;
                visit(ShardId(first + bit));
            }
        }
    }

    fn prepare_sleep(&self) -> bool {
        self.sleeping.raise();
        let quiet = self.arrivals.iter().all(|word| word.load(Ordering::Relaxed) == 0);
        if !quiet {
            self.sleeping.lower();
        }
        quiet
    }

    fn awake(&self) {
        self.sleeping.lower();
    }
}

/// What a shard sleeps on and the others ring.
pub(super) struct Doorbell {
    bell: Bell,
    fd: OwnedFd,
}

impl Doorbell {
    pub(super) fn new() -> Result<Self, Errno> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { bell: Bell::new(), fd })
    }

    /// Says that `from` has put something into its link, or made room in the link towards it. Costs a system call only
    /// when the shard sleeps and nobody rang since it went to sleep.
    pub(super) fn ring(&self, from: ShardId) {
        self.bell.ring(from, || {
            // It fails only when the counter is full, and then the sleeper has been woken already.
            _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        });
    }

    /// Takes the notes of who rang.
    pub(super) fn arrivals(&self, visit: impl FnMut(ShardId)) {
        self.bell.arrivals(visit);
    }

    /// Whether to sleep: nobody rang since the notes were taken last. From here on rings wake.
    pub(super) fn prepare_sleep(&self) -> bool {
        self.bell.prepare_sleep()
    }

    /// From here on rings need not wake.
    pub(super) fn awake(&self) {
        self.bell.awake();
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(all(test, not(pantala_loom)))]
mod tests {
    use super::*;
    use rustix::event::epoll;

    /// Whether the sleeper would be woken.
    fn woken(bell: &Doorbell) -> bool {
        let mut buffer = [0; 8];
        rustix::io::read(bell, &mut buffer).is_ok()
    }

    fn arrivals(bell: &Doorbell) -> Vec<u16> {
        let mut shards = Vec::new();
        bell.arrivals(|shard| shards.push(shard.0));
        shards
    }

    #[test]
    fn only_the_first_ring_of_a_sleep_costs_a_wake_up() {
        let bell = Doorbell::new().unwrap();
        bell.ring(ShardId(1));
        assert!(!woken(&bell), "it is awake");
        assert_eq!(arrivals(&bell), [1]);
        assert!(bell.prepare_sleep());
        bell.ring(ShardId(2));
        assert!(woken(&bell));
        bell.ring(ShardId(0));
        assert!(!woken(&bell), "somebody rang before");
        bell.awake();
        assert_eq!((arrivals(&bell), arrivals(&bell)), (vec![0, 2], vec![]));
    }

    #[test]
    fn who_has_an_arrival_to_look_at_does_not_sleep() {
        let bell = Doorbell::new().unwrap();
        bell.ring(ShardId(255));
        assert!(!bell.prepare_sleep());
        bell.ring(ShardId(64));
        assert!(!woken(&bell), "it did not go to sleep");
        assert_eq!(arrivals(&bell), [64, 255]);
        assert!(bell.prepare_sleep());
    }

    #[test]
    fn each_wake_up_is_an_edge_although_nobody_reads_the_descriptor() {
        let bell = Doorbell::new().unwrap();
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&set, &bell, epoll::EventData::new_u64(0), edge).unwrap();
        let mut events = Vec::with_capacity(4);
        for _ in 0..3 {
            assert!(bell.prepare_sleep());
            bell.ring(ShardId(1));
            assert_eq!(epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None), Ok(1));
            bell.awake();
            events.clear();
            bell.arrivals(|_| ());
        }
    }
}

#[cfg(all(test, pantala_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// Every way in which the threads can interrupt each other three times.
    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    /// A bell with something in place of the eventfd.
    struct Sleeper {
        bell: Bell,
        woken: Mutex<bool>,
        wakes: Condvar,
    }

    impl Sleeper {
        fn new() -> Arc<Self> {
            Arc::new(Self { bell: Bell::new(), woken: Mutex::new(false), wakes: Condvar::new() })
        }

        fn ring(&self, from: u16) {
            self.bell.ring(ShardId(from), || {
                *self.woken.lock().unwrap() = true;
                self.wakes.notify_one();
            });
        }

        /// Loom reports a deadlock when nobody ever wakes it.
        fn sleep_if_quiet(&self) {
            if self.bell.prepare_sleep() {
                let mut woken = self.woken.lock().unwrap();
                while !*woken {
                    woken = self.wakes.wait(woken).unwrap();
                }
                *woken = false;
            }
            self.bell.awake();
        }
    }

    /// One direction between two shards, with room for `ROOM` items. What a channel orders by itself is ordered here
    /// too, and no more: an item is seen when its number is.
    #[derive(Default)]
    struct Link {
        sent: AtomicUsize,
        taken: AtomicUsize,
    }

    const ROOM: usize = 1;

    impl Link {
        fn try_send(&self) -> bool {
            let sent = self.sent.load(Ordering::Relaxed);
            let room = sent - self.taken.load(Ordering::Acquire) < ROOM;
            if room {
                self.sent.store(sent + 1, Ordering::Release);
            }
            room
        }

        fn try_take(&self) -> bool {
            let taken = self.taken.load(Ordering::Relaxed);
            let any = self.sent.load(Ordering::Acquire) > taken;
            if any {
                self.taken.store(taken + 1, Ordering::Release);
            }
            any
        }
    }

    #[test]
    fn no_arrival_is_slept_through() {
        check(|| {
            let sleeper = Sleeper::new();
            let links = Arc::new([Link::default(), Link::default()]);
            for from in [0, 1] {
                let (sleeper, links) = (sleeper.clone(), links.clone());
                thread::spawn(move || {
                    assert!(links[usize::from(from)].try_send());
                    sleeper.ring(from);
                });
            }
            let mut received = 0;
            while received < 2 {
                sleeper.bell.arrivals(|from| {
                    assert!(links[from.index()].try_take(), "whoever sees the bit finds the item");
                    received += 1;
                });
                if received < 2 {
                    sleeper.sleep_if_quiet();
                }
            }
        });
    }

    #[test]
    fn no_room_in_a_full_link_is_slept_through() {
        const ITEMS: usize = 2;
        check(|| {
            let (sender, receiver) = (Sleeper::new(), Sleeper::new());
            let (link, starved) = (Arc::new(Link::default()), Arc::new(Flag::new()));
            let other = {
                let (sender, receiver, link, starved) =
                    (sender.clone(), receiver.clone(), link.clone(), starved.clone());
                thread::spawn(move || {
                    let mut received = 0;
                    while received < ITEMS {
                        receiver.bell.arrivals(|_| ());
                        let before = received;
                        while link.try_take() {
                            received += 1;
                        }
                        if received > before && starved.take() {
                            sender.ring(1);
                        }
                        if received < ITEMS {
                            receiver.sleep_if_quiet();
                        }
                    }
                })
            };
            let mut sent = 0;
            while sent < ITEMS {
                sender.bell.arrivals(|_| ());
                let mut done = link.try_send();
                if !done {
                    starved.raise();
                    done = link.try_send();
                }
                if done {
                    sent += 1;
                    receiver.ring(0);
                } else {
                    sender.sleep_if_quiet();
                }
            }
            other.join().unwrap();
        });
    }
}
