//! The only clock. Read once per turn, so that all decisions of a turn agree on the time.

use crate::types::Now;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds of the wall's clock, as it stood when the broker started and went on evenly since: what is stored means the
/// same after a restart, and nobody who sets the machine's clock moves a deadline meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    shown: Now,
}

impl Clock {
    /// A clock that shows the wall's time, or `earliest` where that is later: it never goes back, though the wall's may have
    /// since the broker ran last.
    #[expect(clippy::disallowed_methods, reason = "this is where time enters")]
    pub fn start(earliest: Now) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Now(u64::try_from(wall.as_millis()).unwrap_or(0));
        Self { start: Instant::now(), shown: wall.max(earliest) }
    }

    /// The time.
    pub fn now(self) -> Now {
        Now(self.shown.0 + u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
