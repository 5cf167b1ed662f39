//! The line on standard error that shows that something happens.

use std::io::{IsTerminal, Write};

const EVERY: u64 = 1_000_000_000;

/// Shown once per second, on a terminal only.
#[derive(Debug)]
pub(crate) struct Progress {
    on: bool,
    next: u64,
    published: u64,
    delivered: u64,
}

impl Progress {
    /// Of a run that begins at time 0.
    pub(crate) fn new(silent: bool) -> Self {
        Self { on: !silent && std::io::stderr().is_terminal(), next: EVERY, published: 0, delivered: 0 }
    }

    /// Whether it is time for the next line.
    pub(crate) fn due(&self, now: u64) -> bool {
        self.on && now >= self.next
    }

    /// Shows a line. Messages are counted since the beginning.
    pub(crate) fn show(&mut self, now: u64, published: u64, delivered: u64, on_their_way: usize) {
        self.next = now + EVERY;
        let second = now / EVERY;
        let (published_now, delivered_now) = (published - self.published, delivered - self.delivered);
        (self.published, self.delivered) = (published, delivered);
        let mut err = std::io::stderr();
        // A line that nobody can see is no reason to stop.
        let _ = write!(
            err,
            "\r{second:4} s  {published_now:>9} published/s  {delivered_now:>10} delivered/s  {on_their_way:>8} on their way "
        );
        let _ = err.flush();
    }
}

impl Drop for Progress {
    /// What is printed next, be it a result or a failure, has a line of its own.
    fn drop(&mut self) {
        if self.on && self.next > EVERY {
            eprintln!();
        }
    }
}
