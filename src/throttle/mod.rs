//! How much of something may happen in a while: publishes and bytes of one client ([`Bucket`]), connections from one address
//! ([`PenaltyBox`]).
//!
//! Sans-IO and without a clock: every call is told the time. Runs on: any core; nothing here allocates after it was made.

mod bucket;
mod penalty;

pub use bucket::{Bucket, Rate};
pub use penalty::{PenaltyBox, Rules, Verdict};
