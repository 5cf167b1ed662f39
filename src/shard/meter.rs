//! How much one client may publish in a second: what is more waits, and with it whatever the client sends behind it.

use super::Shard;
use crate::throttle::{Bucket, Rate};
use crate::types::limits::Exceeded;
use crate::types::{ConnKey, Limits, Now, Span};

/// What all clients may publish.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    messages: Option<Rate>,
    bytes: Option<Rate>,
    exceeded: Exceeded,
}

/// What one client has published lately.
#[derive(Debug)]
pub(super) struct Meter {
    messages: Bucket,
    bytes: Bucket,
    /// It is not read until then.
    until: Now,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        // After a pause, a second's worth at once.
        let rate = |per_second: Option<u32>| per_second.map(|n| Rate { per_second: n, burst: n });
        let (messages, bytes) = (rate(limits.publishes_per_s), rate(limits.publish_bytes_per_s));
        Self { messages, bytes, exceeded: limits.exceeded }
    }

    /// Whether there is anything to be measured.
    pub(super) fn bounded(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }

    /// Charges one message, and says for how long to hold back what comes next.
    fn charge(&self, meter: &mut Meter, now: Now, bytes: usize) -> Span {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let of = |bucket: &mut Bucket, rate: Option<Rate>, tokens| {
            // The settings know no rate of 0, which alone would be for ever.
            rate.and_then(|rate| bucket.charge(rate, now, tokens)).unwrap_or(Span(0))
        };
        of(&mut meter.messages, self.messages, 1).max(of(&mut meter.bytes, self.bytes, bytes))
    }

    fn meter(&self, now: Now) -> Meter {
        let full = |rate: Option<Rate>| Bucket::new(rate.unwrap_or(Rate { per_second: 0, burst: 0 }), now);
        Meter { messages: full(self.messages), bytes: full(self.bytes), until: now }
    }
}

impl Shard {
    /// A client has published a packet of so many bytes.
    #[cold]
    pub(super) fn published(&mut self, key: ConnKey, bytes: usize) {
        let (now, rates) = (self.world.now, self.rates);
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        let meter = conn.meter.get_or_insert_with(|| Box::new(rates.meter(now)));
        let wait = rates.charge(meter, now, bytes);
        if wait == Span(0) {
            return;
        }
        if rates.exceeded == Exceeded::Disconnect {
            return self.engine.published_too_much(now, key, &mut self.world);
        }
        meter.until = now + wait;
        conn.flags.throttled = true;
        self.world.holding = true;
        self.world.traffic.held_back += 1;
        self.world.deadlines.arm(now + wait, key);
        self.engine.not_read(now, key, true);
    }

    /// Reads on what a client sends that had published too much, if it has waited for long enough.
    pub(super) fn read_on(&mut self, key: ConnKey) {
        let now = self.world.now;
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        let until = conn.meter.as_ref().map(|meter| meter.until);
        if !conn.flags.throttled || until.is_none_or(|until| until > now) {
            return;
        }
        conn.flags.throttled = false;
        self.world.released.push(key);
        self.engine.not_read(now, key, false);
    }
}
