//! Open loop: when each message is to be sent, whatever became of those before it.

/// Evenly spaced times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    interval: f64,
    start: u64,
    count: u64,
}

impl Schedule {
    /// So many per second, more than none, from a time on, in nanoseconds.
    pub(crate) fn new(rate: f64, start: u64) -> Self {
        Self { interval: 1e9 / rate, start, count: 0 }
    }

    /// The time of the next message.
    pub(crate) fn next(&self) -> u64 {
        self.time_of(self.count)
    }

    /// The next message was sent.
    pub(crate) fn advance(&mut self) {
        self.count += 1;
    }

    /// How many messages should have been sent before `end` and were not.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "exact for as long as a run can last"
    )]
    pub(crate) fn behind(&self, end: u64) -> u64 {
        let scheduled = (end.saturating_sub(self.start) as f64 / self.interval).ceil() as u64;
        scheduled.saturating_sub(self.count)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "exact to a microsecond for as long as a run can last"
    )]
    fn time_of(&self, message: u64) -> u64 {
        self.start.saturating_add((message as f64 * self.interval) as u64)
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

    #[test]
    fn what_was_not_sent_in_time_is_counted() {
        let mut schedule = Schedule::new(1_000.0, 1_000_000_000);
        assert_eq!(schedule.behind(0), 0);
        assert_eq!(schedule.behind(1_000_000_000), 0);
        assert_eq!(schedule.behind(1_000_000_001), 1, "the first message is due at the start");
        assert_eq!(schedule.behind(2_000_000_000), 1_000);
        (0..600).for_each(|_| schedule.advance());
        assert_eq!(schedule.behind(2_000_000_000), 400);
        (0..600).for_each(|_| schedule.advance());
        assert_eq!(schedule.behind(2_000_000_000), 0);
    }

    #[test]
    fn the_slowest_rate_does_not_overflow() {
        let mut schedule = Schedule::new(f64::MIN_POSITIVE, 5);
        assert_eq!(schedule.next(), 5);
        schedule.advance();
        assert_eq!(schedule.next(), u64::MAX);
    }
}
