//! How long each bench runs: the whole suite has hundreds, and is to be done in minutes. Options on the command line win.

use criterion::Criterion;
use std::time::Duration;

pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}
