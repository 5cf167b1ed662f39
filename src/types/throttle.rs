//! A bound for what is told again and again: so much per second, and how much was left out.

use super::{Now, Span};

/// Lines per second.
const PER_SECOND: u32 = 20;
const SECOND: Span = Span::from_secs(1);

/// Counts what is told in the current second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttle {
    since: Now,
    told: u32,
    left_out: u64,
}

impl Throttle {
    /// When to call [`Throttle::settle`], if that is to say something.
    pub fn deadline(&self) -> Option<Now> {
        (self.left_out > 0).then(|| self.since + SECOND)
    }

    /// Begins a new second if it is time for one. Returns how much was left out of the last one, if anything was.
    pub fn settle(&mut self, now: Now) -> Option<u64> {
        if now - self.since < SECOND {
            return None;
        }
        let left_out = self.left_out;
        *self = Self { since: now, told: 0, left_out: 0 };
        (left_out > 0).then_some(left_out)
    }

    /// Whether something more fits into this second; what does not is counted. Call [`Throttle::settle`] before.
    pub fn admit(&mut self, now: Now) -> bool {
        debug_assert!(now - self.since < SECOND, "settled before");
        let fits = self.told < PER_SECOND;
        if fits {
            self.told += 1;
        } else {
            self.left_out += 1;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_so_much_and_the_rest_is_counted() {
        let (mut throttle, now) = (Throttle::default(), Now(5_000));
        assert_eq!(throttle.settle(now), None);
        let told = (0..PER_SECOND + 7).filter(|_| throttle.admit(now)).count();
        assert_eq!(told, PER_SECOND as usize);
        assert_eq!(throttle.deadline(), Some(Now(6_000)));
        assert_eq!(throttle.settle(Now(5_999)), None);
        assert_eq!(throttle.settle(Now(6_000)), Some(7));
        assert!(throttle.admit(Now(6_000)) && throttle.deadline().is_none());
    }
}
