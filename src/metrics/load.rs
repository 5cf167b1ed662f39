//! Moving averages per minute over 1, 5 and 15 minutes, as Mosquitto and `uptime` show them.

use crate::types::Span;

/// The windows with their names in topics.
pub(super) const WINDOWS: [(&str, Span); 3] =
    [("1min", Span::from_secs(60)), ("5min", Span::from_secs(300)), ("15min", Span::from_secs(900))];

/// How often something happens per minute, smoothed over each window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Load {
    count: u64,
    /// One for each of [`WINDOWS`].
    pub(super) per_minute: [f64; WINDOWS.len()],
}

impl Load {
    /// Takes in that the count, which only grows, stands at `count`, `elapsed` after the update before.
    pub(super) fn update(&mut self, count: u64, elapsed: Span) {
        if elapsed == Span::default() {
            return;
        }
        let elapsed_ms = to_f64(elapsed.0);
        let rate = to_f64(count - self.count) * 60_000.0 / elapsed_ms;
        for (average, (_, window)) in self.per_minute.iter_mut().zip(WINDOWS) {
            // What was before counts for 1/e after a window's length, whatever the interval between updates.
            let weight = (-elapsed_ms / to_f64(window.0)).exp();
            *average = rate + weight * (*average - rate);
        }
        self.count = count;
    }
}

/// Exact below 2^53; an average shows two decimals.
fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Span = Span::from_secs(10);

    fn rounded(load: &Load) -> [u64; 3] {
        load.per_minute.map(|average| format!("{average:.0}").parse().unwrap())
    }

    #[test]
    fn a_steady_rate_is_reached_fast_by_the_short_window_and_slowly_by_the_long_one() {
        let mut load = Load::default();
        for tick in 1..=6 {
            load.update(tick * 1_000, INTERVAL);
        }
        // After a minute the windows hold 1-1/e, 1-1/e^(1/5) and 1-1/e^(1/15) of 6,000 per minute.
        assert_eq!(rounded(&load), [3_793, 1_088, 387]);
        for tick in 7..=1_000 {
            load.update(tick * 1_000, INTERVAL);
        }
        assert_eq!(rounded(&load), [6_000, 6_000, 6_000]);
    }

    #[test]
    fn silence_fades() {
        let mut load = Load { count: 5, per_minute: [100.0; 3] };
        load.update(5, Span::from_secs(60));
        assert_eq!(rounded(&load), [37, 82, 94]);
    }

    #[test]
    fn the_interval_between_updates_does_not_matter() {
        let (mut often, mut seldom) = (Load::default(), Load::default());
        (1..=60).for_each(|second| often.update(second * 50, Span::from_secs(1)));
        seldom.update(3_000, Span::from_secs(60));
        assert_eq!(rounded(&often), rounded(&seldom));
    }

    #[test]
    fn an_update_without_time_changes_nothing() {
        let mut load = Load::default();
        load.update(7, Span::default());
        assert_eq!(load, Load::default());
    }
}
