//! Messages that expire: they need not come when their time has run out, and must not begin to then. [MQTT-3.3.2-5]

use super::Ledger;
use crate::wire::Arrival;
use std::time::{Duration, Instant};

/// How far the clocks of a broker and its clients may be apart: it looks at its own once a turn.
const SLACK: Duration = Duration::from_millis(200);

/// A Message Expiry Interval, and when it began at the earliest and, once its message is acknowledged, at the latest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    seconds: u32,
    first: Instant,
    last: Option<Instant>,
}

impl Expiry {
    pub(super) fn begin(seconds: u32) -> Self {
        Self { seconds, first: Instant::now(), last: None }
    }

    pub(super) fn acknowledged(&mut self) {
        self.last = Some(Instant::now());
    }

    /// Whether it may have run out.
    pub(super) fn may_be_over(&self) -> bool {
        self.first.elapsed() + SLACK >= self.all()
    }

    fn all(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }

    /// What is wrong with a message that came with so many seconds `left`, on a connection of this age.
    fn check(&self, left: Option<u32>, since: Instant, is_v5: bool, dup: bool) -> Result<(), String> {
        // It waited for its client for that long, whenever that one read it.
        let waited = self.last.map_or(Duration::ZERO, |last| since.saturating_duration_since(last));
        let waited = waited.saturating_sub(SLACK);
        // What was sent before may be sent again, however late.
        if !dup && waited > self.all() {
            return Err(format!("{waited:?} after it was sent, to expire in {} s", self.seconds));
        }
        if !is_v5 {
            return Ok(());
        }
        let Some(left) = left.map(u64::from) else { return Err("without its expiry".to_owned()) };
        let whole = |left: Duration| left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let least = whole(self.all().saturating_sub(self.first.elapsed() + SLACK)).max(u64::from(!dup));
        let most = whole(self.all().saturating_sub(waited));
        if (least..=most).contains(&left) {
            return Ok(());
        }
        Err(format!("to expire in {left} s instead of {least} to {most}"))
    }
}

impl Ledger {
    /// A message arrived on a connection that began at this moment.
    pub(super) fn check_expiry(&mut self, who: usize, index: usize, arrival: &Arrival, since: Instant) {
        let wrong = match self.messages[index].expiry {
            Some(expiry) => expiry.check(arrival.expires, since, arrival.is_v5, arrival.dup).err(),
            None => arrival.expires.map(|_| "with an expiry that nobody gave it".to_owned()),
        };
        if let Some(text) = wrong {
            self.wrong(index, who, &text);
        }
    }

    /// Whether a message has to be there: it was acknowledged, and has not expired.
    pub(super) fn is_due(&self, index: usize) -> bool {
        let message = &self.messages[index];
        message.acknowledged_at.is_some() && !message.expiry.is_some_and(|expiry| expiry.may_be_over())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_longer_than_its_time_must_not_come() {
        let now = Instant::now();
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).expect("the machine is up");
        let expiry = Expiry { seconds: 10, first: ago(20), last: Some(ago(20)) };
        assert!(expiry.may_be_over());
        assert!(expiry.check(None, now, false, false).is_err());
        assert!(expiry.check(Some(0), now, true, true).is_ok(), "it was sent before");
        assert!(expiry.check(None, ago(15), false, false).is_ok(), "it may have been on its way since");
        let expiry = Expiry { seconds: 10, first: ago(4), last: Some(ago(4)) };
        assert!(!expiry.may_be_over());
        assert!(expiry.check(Some(6), now, true, false).is_ok());
        assert!(
            expiry.check(Some(9), now, true, false).is_err()
                && expiry.check(Some(2), now, true, false).is_err()
        );
        assert!(expiry.check(None, now, true, false).is_err());
        let expiry = Expiry { seconds: 10, first: ago(4), last: None };
        assert!(expiry.check(Some(10), now, true, false).is_ok(), "the broker may not have read it before");
        let expiry = Expiry { seconds: 1, first: ago(2), last: Some(now) };
        assert!(expiry.check(Some(0), now, true, false).is_err(), "it had run out");
    }
}
