//! A token bucket: so many a second on average, so many at once.

use crate::types::{Now, Span};

/// Thousandths of a token, so that what a millisecond brings is a whole number at any rate.
const UNIT: i64 = 1_000;
/// More a second than any network carries; products of it and of milliseconds fit an `i64`.
const RATE_MAX: u32 = u32::MAX;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens a second. With 0, what is in the bucket is all that there will be.
    pub per_second: u32,
    /// Tokens in a full bucket: what may come at once after a pause.
    pub burst: u32,
}

const _: () = assert!(
    RATE_MAX as i64 * UNIT < i64::MAX / 1_000_000,
    "a full bucket is far from the end of the numbers"
);

/// A bucket of tokens. It may owe some, because what was read from a socket cannot be put back: then the next ones wait.
///
/// Invariant: never more than a full bucket's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// In thousandths; below 0 is owed.
    level: i64,
    /// When the level was that.
    at: Now,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate, now: Now) -> Self {
        Self { level: full(rate), at: now }
    }

    /// Takes tokens, if all of them are there. Whether they were.
    pub fn take(&mut self, rate: Rate, now: Now, tokens: u32) -> bool {
        self.fill(rate, now);
        let price = i64::from(tokens) * UNIT;
        let enough = self.level >= price;
        if enough {
            self.level -= price;
        }
        enough
    }

    /// Takes tokens for what has happened already, and says how long to hold back what comes next: until nothing is owed.
    /// `None` is for ever, which a rate of 0 comes to.
    pub fn charge(&mut self, rate: Rate, now: Now, tokens: u32) -> Option<Span> {
        self.fill(rate, now);
        self.level = self.level.saturating_sub(i64::from(tokens) * UNIT);
        self.wait(rate)
    }

    /// How long until nothing is owed.
    fn wait(&self, rate: Rate) -> Option<Span> {
        let owed = u64::try_from(-self.level).unwrap_or_default();
        match u64::from(rate.per_second) {
            _ if owed == 0 => Some(Span(0)),
            0 => None,
            per_second => Some(Span(owed.div_ceil(per_second))),
        }
    }

    /// Whether it is as full as it can be: nothing is lost when it is forgotten.
    pub fn is_full(&self, rate: Rate, now: Now) -> bool {
        let mut later = *self;
        later.fill(rate, now);
        later.level == full(rate)
    }

    fn fill(&mut self, rate: Rate, now: Now) {
        // A thousandth of a token a millisecond for each token a second.
        let passed = i64::try_from((now - self.at).0).unwrap_or(i64::MAX);
        let brought = passed.saturating_mul(i64::from(rate.per_second));
        self.level = self.level.saturating_add(brought).min(full(rate));
        self.at = self.at.max(now);
    }
}

fn full(rate: Rate) -> i64 {
    i64::from(rate.burst) * UNIT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Rng;

    const TEN: Rate = Rate { per_second: 10, burst: 5 };

    #[test]
    fn a_full_bucket_lets_a_burst_through_and_then_the_rate() {
        let mut bucket = Bucket::new(TEN, Now(0));
        assert!((0..5).all(|_| bucket.take(TEN, Now(0), 1)) && !bucket.take(TEN, Now(0), 1));
        assert!(
            !bucket.take(TEN, Now(99), 1) && bucket.take(TEN, Now(100), 1) && !bucket.take(TEN, Now(100), 1)
        );
        assert!(bucket.take(TEN, Now(1_000_000), 5), "however long the pause, a burst is a burst");
        assert!(!bucket.take(TEN, Now(1_000_000), 1) && bucket.is_full(TEN, Now(1_000_500)));
    }

    #[test]
    fn what_was_too_much_is_waited_for() {
        let mut bucket = Bucket::new(TEN, Now(0));
        assert_eq!(bucket.charge(TEN, Now(0), 5), Some(Span(0)));
        assert_eq!(bucket.charge(TEN, Now(0), 20), Some(Span(2_000)));
        assert_eq!(bucket.charge(TEN, Now(500), 0), Some(Span(1_500)));
        assert_eq!(bucket.charge(TEN, Now(2_000), 0), Some(Span(0)));
        let none = Rate { per_second: 0, burst: 1 };
        let mut bucket = Bucket::new(none, Now(0));
        assert_eq!((bucket.charge(none, Now(0), 1), bucket.charge(none, Now(9), 1)), (Some(Span(0)), None));
    }

    #[test]
    fn time_that_stands_still_or_numbers_that_are_large_do_no_harm() {
        let most = Rate { per_second: u32::MAX, burst: u32::MAX };
        let mut bucket = Bucket::new(most, Now(10));
        assert_eq!(bucket.charge(most, Now(5), u32::MAX), Some(Span(0)), "the past brings nothing");
        assert_eq!(bucket.charge(most, Now(10), u32::MAX), Some(Span(1_000)));
        assert!(bucket.take(most, Now(u64::MAX), u32::MAX));
    }

    #[test]
    fn no_window_of_time_has_more_than_the_burst_and_what_its_length_brings() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let rate = Rate {
                per_second: u32::try_from(rng.below(50)).expect("small"),
                burst: u32::try_from(1 + rng.below(20)).expect("small"),
            };
            let (mut bucket, mut now, mut taken) = (Bucket::new(rate, Now(0)), 0, Vec::new());
            for _ in 0..300 {
                now += rng.below(200);
                let tokens = u32::try_from(rng.below(6)).expect("small");
                if bucket.take(rate, Now(now), tokens) {
                    taken.push((now, u64::from(tokens)));
                }
            }
            for (from, (start, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (end, tokens) in &taken[from..] {
                    sum += tokens;
                    let brought = (end - start) * u64::from(rate.per_second);
                    assert!(
                        sum * 1_000 <= u64::from(rate.burst) * 1_000 + brought,
                        "seed {seed}: {sum} in {start}..{end}"
                    );
                }
            }
        }
    }
}
