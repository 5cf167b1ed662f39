//! Whether each subscriber got each publisher's messages once and in order, and each publisher its acknowledgements.

use std::collections::BTreeSet;
use std::ops::Range;

/// What was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Messages that never came to a subscriber.
    pub(crate) lost: u64,
    /// Messages that came to a subscriber once more.
    pub(crate) duplicated: u64,
    /// Messages and acknowledgements that came after a later one.
    pub(crate) reordered: u64,
    /// Messages that the broker did not acknowledge.
    pub(crate) unacknowledged: u64,
    /// Messages that a subscriber did not ask for or that were altered, and acknowledgements of nothing.
    pub(crate) stray: u64,
}

impl Faults {
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }

    /// Names and counts.
    pub(crate) fn each(self) -> [(&'static str, u64); 5] {
        let Self { lost, duplicated, reordered, unacknowledged, stray } = self;
        [
            ("lost", lost),
            ("duplicated", duplicated),
            ("reordered", reordered),
            ("unacknowledged", unacknowledged),
            ("stray", stray),
        ]
    }

    /// Adds a subscriber's view of a publisher that has sent `sent` messages.
    pub(crate) fn add_deliveries(&mut self, stream: &Stream, sent: u64) {
        self.lost += stream.lacking(sent);
        self.duplicated += stream.again;
        self.reordered += stream.late;
    }

    /// Adds what a publisher of `sent` messages got as acknowledgements.
    pub(crate) fn add_acknowledgements(&mut self, stream: &Stream, sent: u64) {
        self.unacknowledged += stream.lacking(sent);
        self.stray += stream.again;
        self.reordered += stream.late;
    }
}

/// How a number stands to those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is the next one.
    InTurn,
    /// These before it were skipped.
    Skipped(Range<u64>),
    /// It had been skipped.
    Late,
    /// It had come already.
    Again,
}

/// The messages of one publisher as one subscriber gets them, or as they are acknowledged: numbers from 0 up.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The number after the highest that came.
    next: u64,
    /// Numbers below it that did not come yet.
    missing: BTreeSet<u64>,
    late: u64,
    again: u64,
}

impl Stream {
    /// A number came. The caller knows that it was sent: what is skipped is remembered.
    #[inline]
    pub(crate) fn arrived(&mut self, sequence: u64) -> Arrival {
        if sequence == self.next {
            self.next += 1;
            return Arrival::InTurn;
        }
        self.out_of_turn(sequence)
    }

    #[cold]
    fn out_of_turn(&mut self, sequence: u64) -> Arrival {
        if sequence > self.next {
            let skipped = self.next..sequence;
            self.missing.extend(skipped.clone());
            self.next = sequence + 1;
            return Arrival::Skipped(skipped);
        }
        if self.missing.remove(&sequence) {
            self.late += 1;
            return Arrival::Late;
        }
        self.again += 1;
        Arrival::Again
    }

    /// How many of `sent` numbers did not come.
    fn lacking(&self, sent: u64) -> u64 {
        self.missing.len() as u64 + sent.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Faults = Faults { lost: 0, duplicated: 0, reordered: 0, unacknowledged: 0, stray: 0 };

    fn stream(arrivals: &[u64]) -> Stream {
        let mut stream = Stream::default();
        arrivals.iter().for_each(|&sequence| {
            stream.arrived(sequence);
        });
        stream
    }

    fn deliveries(arrivals: &[u64], sent: u64) -> Faults {
        let mut faults = Faults::default();
        faults.add_deliveries(&stream(arrivals), sent);
        faults
    }

    #[test]
    fn every_fault_is_seen_and_counted() {
        assert_eq!(deliveries(&[0, 1, 2, 3], 4), NONE);
        assert_eq!(deliveries(&[0, 1, 3], 4), Faults { lost: 1, ..NONE });
        assert_eq!(deliveries(&[1, 2], 5), Faults { lost: 3, ..NONE });
        assert_eq!(deliveries(&[0, 1, 1, 2, 0], 3), Faults { duplicated: 2, ..NONE });
        assert_eq!(deliveries(&[0, 2, 1, 3], 4), Faults { reordered: 1, ..NONE });
        assert_eq!(deliveries(&[0, 2, 1, 1], 3), Faults { reordered: 1, duplicated: 1, ..NONE });
        assert_eq!(deliveries(&[], 2), Faults { lost: 2, ..NONE });
    }

    #[test]
    fn acknowledgements_have_faults_of_their_own() {
        let mut faults = Faults::default();
        faults.add_acknowledgements(&stream(&[0, 2, 1, 1, 4]), 6);
        assert_eq!(faults, Faults { unacknowledged: 2, reordered: 1, stray: 1, ..NONE });
        assert!(faults.any());
        assert!(!NONE.any());
    }

    #[test]
    fn each_arrival_is_told_from_the_others() {
        let mut stream = Stream::default();
        assert_eq!(stream.arrived(0), Arrival::InTurn);
        assert_eq!(stream.arrived(3), Arrival::Skipped(1..3));
        assert_eq!(stream.arrived(1), Arrival::Late);
        assert_eq!(stream.arrived(1), Arrival::Again);
        assert_eq!(stream.arrived(4), Arrival::InTurn);
    }

    /// What is found agrees with what was done, for every way to lose, double or swap messages of a short stream.
    #[test]
    fn faults_are_counted_exactly_wherever_they_are() {
        const SENT: u64 = 6;
        for at in 0..SENT {
            let mut order: Vec<u64> = (0..SENT).collect();
            let place = usize::try_from(at).unwrap();
            order.remove(place);
            assert_eq!(deliveries(&order, SENT), Faults { lost: 1, ..NONE });
            for later in place..=order.len() {
                let mut late = order.clone();
                late.insert(later, at);
                assert_eq!(deliveries(&late, SENT).reordered, u64::from(later > place), "{late:?}");
                late.push(at);
                let faults = deliveries(&late, SENT);
                assert_eq!((faults.lost, faults.duplicated), (0, 1), "{late:?}");
            }
        }
    }
}
