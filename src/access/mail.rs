//! What a core is told by threads that do slow things for it, or that change what it goes by.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

/// A core's end.
#[derive(Debug)]
pub struct Inbox<T> {
    bell: Arc<OwnedFd>,
    receiver: Receiver<T>,
}

/// Everybody else's end. No more is ever on its way than was asked for, so that it needs no bound of its own.
#[derive(Debug)]
pub struct Outbox<T> {
    bell: Arc<OwnedFd>,
    sender: Sender<T>,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { bell: Arc::clone(&self.bell), sender: self.sender.clone() }
    }
}

/// Both ends.
///
/// # Errors
/// Out of descriptors.
pub fn mailbox<T>() -> Result<(Outbox<T>, Inbox<T>), Errno> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, receiver) = unbounded();
    Ok((Outbox { bell: Arc::clone(&bell), sender }, Inbox { bell, receiver }))
}

impl<T> Outbox<T> {
    /// Tells the core something, and wakes it.
    pub fn send(&self, item: T) {
        // A core that has stopped wants to hear nothing more.
        if self.sender.send(item).is_ok() {
            // It fails only when the counter is full, and then the core is awake.
            let _ = write(&self.bell, &1u64.to_ne_bytes());
        }
    }
}

impl<T> Inbox<T> {
    /// What came since the last call.
    pub fn take(&self) -> impl Iterator<Item = T> + '_ {
        // Before the items, so that one which comes now rings again.
        let _ = read(&*self.bell, &mut [0; 8]);
        self.receiver.try_iter()
    }
}

impl<T> AsFd for Inbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
