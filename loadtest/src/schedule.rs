//! Open loop: when each message is to be sent, whatever became of those before it.

/// Evenly spaced times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    interval: f64,
    start: u64,
    count: u64,
}

impl Schedule {
    /// So many per second from a time on, in nanoseconds.
    pub(crate) fn new(rate: f64, start: u64) -> Self {
        Self { interval: 1e9 / rate, start, count: 0 }
    }

    /// The time of the next message.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "exact to a microsecond for as long as a run can last"
    )]
    pub(crate) fn next(&self) -> u64 {
        self.start + (self.count as f64 * self.interval) as u64
    }

    /// The next message was sent.
    pub(crate) fn advance(&mut self) {
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_do_not_drift_and_do_not_depend_on_when_they_are_asked_for() {
        let mut schedule = Schedule::new(3_000.0, 500);
        (0..3_000).for_each(|_| schedule.advance());
        assert_eq!(schedule.next(), 500 + 1_000_000_000);
    }
}
