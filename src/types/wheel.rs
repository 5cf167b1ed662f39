//! A timer wheel: any number of deadlines, constant time each, and one earliest moment for the shard to sleep until.
//!
//! Deadlines are never cancelled. Their owner checks, when one fires, whether it still means something, and arms
//! it again where it came early: a keep-alive that moved on with every packet costs nothing per packet.

use super::{Now, Span};

/// How fine the wheel is. A timer fires at most this much late, never early.
pub const TICK: Span = Span::from_millis(64);

const SLOTS: usize = 64;
const LEVELS: usize = 5;
/// What the highest level reaches: 64^5 ticks, about two years. Later deadlines wait there and are placed anew.
const REACH: u64 = 1 << (6 * LEVELS);

/// Deadlines with a payload each. Level `n` has 64 slots of 64^n ticks.
#[derive(Debug)]
pub struct Wheel<T> {
    levels: [[Vec<(u64, T)>; SLOTS]; LEVELS],
    /// One bit for each slot that has an entry.
    used: [u64; LEVELS],
    /// All ticks before this one have fired.
    tick: u64,
    len: usize,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self {
            levels: std::array::from_fn(|_| std::array::from_fn(|_| Vec::new())),
            used: [0; LEVELS],
            tick: 0,
            len: 0,
        }
    }
}

impl<T> Wheel<T> {
    /// How many deadlines are waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no deadline is waiting.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hands `what` to a later [`Wheel::advance`], once `deadline` has passed.
    pub fn arm(&mut self, deadline: Now, what: T) {
        self.len += 1;
        self.place(deadline.0.div_ceil(TICK.0).max(self.tick), what);
    }

    /// Moves everything whose deadline has passed into `due`, at most about `limit` entries: the rest comes with
    /// the next call. Order within a tick is not promised.
    pub fn advance(&mut self, now: Now, limit: usize, due: &mut Vec<T>) {
        let target = now.0 / TICK.0;
        let limit = due.len() + limit;
        while self.tick <= target {
            if self.len == 0 {
                self.tick = target + 1;
                return;
            }
            let slot = slot_of(self.tick, 0);
            let entries = &mut self.levels[0][slot];
            let take = entries.len().min(limit.saturating_sub(due.len()));
            self.len -= take;
            due.extend(entries.drain(..take).map(|(_, what)| what));
            if !entries.is_empty() {
                return;
            }
            entries.shrink_to(SLOTS);
            self.used[0] &= !(1 << slot);
            self.tick = self.next_used_tick().min(target + 1).max(self.tick + 1);
            self.cascade();
        }
    }

    /// The earliest moment at which [`Wheel::advance`] may have something to do; a moment too early is possible
    /// for deadlines far away.
    pub fn next(&self) -> Option<Now> {
        (self.len > 0).then(|| Now(self.next_used_tick() * TICK.0))
    }

    /// The first tick from `self.tick` on at which a slot of some level comes up.
    fn next_used_tick(&self) -> u64 {
        (0..LEVELS)
            .filter(|&level| self.used[level] != 0)
            .map(|level| {
                let here = self.tick >> (6 * level);
                // Above level 0 the slot under the hand was emptied when the hand came to it, so what is there
                // is a whole turn away.
                let from = here + u64::from(level > 0);
                let ahead = self.used[level].rotate_right(slot_bits(from)).trailing_zeros();
                (from + u64::from(ahead)) << (6 * level)
            })
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Brings entries of higher levels down when the hand reaches the start of their slot.
    fn cascade(&mut self) {
        for level in (1..LEVELS).rev() {
            if !self.tick.is_multiple_of(1 << (6 * level)) {
                continue;
            }
            let slot = slot_of(self.tick, level);
            self.used[level] &= !(1 << slot);
            for (tick, what) in std::mem::take(&mut self.levels[level][slot]) {
                self.place(tick, what);
            }
        }
    }

    fn place(&mut self, tick: u64, what: T) {
        let distance = tick.saturating_sub(self.tick);
        let level =
            (1..LEVELS).find(|&level| distance < 1 << (6 * level)).map_or(LEVELS - 1, |level| level - 1);
        let shown = tick.min(self.tick + REACH - (1 << (6 * (LEVELS - 1))));
        let slot = slot_of(shown, level);
        self.used[level] |= 1 << slot;
        self.levels[level][slot].push((tick, what));
    }
}

fn slot_of(tick: u64, level: usize) -> usize {
    slot_bits(tick >> (6 * level)) as usize
}

/// The low six bits: the slot among 64.
fn slot_bits(turn: u64) -> u32 {
    u32::try_from(turn % SLOTS as u64).expect("six bits")
}

#[cfg(test)]
mod tests {
    use super::super::Rng;
    use super::*;

    #[test]
    fn timers_fire_once_never_early_and_at_most_a_tick_late() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let mut wheel = Wheel::default();
            let (mut now, mut waiting, mut due) = (Now(rng.below(1 << 30)), Vec::new(), Vec::new());
            for id in 0..2_000u64 {
                if rng.chance(1, 2) {
                    let reach = 1 << rng.below(34);
                    let deadline = now + Span(rng.below(reach));
                    wheel.arm(deadline, id);
                    waiting.push((deadline, id));
                }
                if rng.chance(1, 3) {
                    let step = match wheel.next() {
                        Some(next) if rng.chance(1, 2) => Span(next.0.saturating_sub(now.0)),
                        _ => {
                            let reach = 1 << rng.below(30);
                            Span(rng.below(reach))
                        }
                    };
                    now = now + step;
                    wheel.advance(now, usize::MAX / 2, &mut due);
                    for id in due.drain(..) {
                        let at = waiting.iter().position(|&(_, w)| w == id).expect("fires once");
                        assert!(waiting.swap_remove(at).0 <= now, "seed {seed}: early");
                    }
                    let late = waiting.iter().find(|(deadline, _)| *deadline + TICK <= now);
                    assert_eq!(late, None, "seed {seed}: late at {now:?}");
                }
            }
            assert_eq!(wheel.len(), waiting.len());
        }
    }

    #[test]
    fn a_limit_leaves_the_rest_for_the_next_call() {
        let (mut wheel, mut due) = (Wheel::default(), Vec::new());
        (0..10).for_each(|id| wheel.arm(Now(100), id));
        wheel.advance(Now(1_000), 4, &mut due);
        assert_eq!(due.len(), 4);
        assert!(wheel.next().is_some_and(|next| next <= Now(1_000)));
        wheel.advance(Now(1_000), 40, &mut due);
        assert_eq!((due.len(), wheel.next()), (10, None));
    }

    #[test]
    fn sleeping_until_next_is_few_wakes_for_a_far_deadline() {
        let (mut wheel, mut due, mut wakes) = (Wheel::default(), Vec::new(), 0);
        wheel.arm(Now(0) + Span::from_secs(86_400), ());
        while let Some(next) = wheel.next() {
            wheel.advance(next, 1, &mut due);
            wakes += 1;
        }
        assert_eq!(due.len(), 1);
        assert!(wakes <= LEVELS * 2, "{wakes} wakes");
    }
}
