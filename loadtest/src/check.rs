//! Whether each subscriber got each publisher's messages once and in order.

use std::collections::BTreeSet;

/// What was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Never came.
    pub(crate) lost: u64,
    /// Came more than once.
    pub(crate) duplicated: u64,
    /// Came after a later one.
    pub(crate) reordered: u64,
}

impl Faults {
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
    }
}

/// How a message stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// For the first time.
    First,
    /// Once more.
    Again,
}

/// The messages of one publisher as one subscriber gets them.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The number after the highest that came.
    next: u64,
    /// Numbers below it that did not come yet.
    missing: BTreeSet<u64>,
    faults: Faults,
}

impl Stream {
    /// Message `sequence` came.
    #[inline]
    pub(crate) fn arrived(&mut self, sequence: u64) -> Arrival {
        if sequence == self.next {
            self.next += 1;
            return Arrival::First;
        }
        self.out_of_turn(sequence)
    }

    #[cold]
    fn out_of_turn(&mut self, sequence: u64) -> Arrival {
        if sequence > self.next {
            self.missing.extend(self.next..sequence);
            self.next = sequence + 1;
            return Arrival::First;
        }
        if self.missing.remove(&sequence) {
            self.faults.reordered += 1;
            return Arrival::First;
        }
        self.faults.duplicated += 1;
        Arrival::Again
    }

    /// What was wrong, when the publisher has sent `sent` messages.
    pub(crate) fn faults(&self, sent: u64) -> Faults {
        let lost = self.missing.len() as u64 + sent.saturating_sub(self.next);
        Faults { lost, ..self.faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arrivals: &[u64], sent: u64) -> Faults {
        let mut stream = Stream::default();
        arrivals.iter().for_each(|&sequence| {
            stream.arrived(sequence);
        });
        stream.faults(sent)
    }

    #[test]
    fn every_fault_is_seen_and_counted() {
        let none = Faults::default();
        assert_eq!(check(&[0, 1, 2, 3], 4), none);
        assert_eq!(check(&[0, 1, 3], 4), Faults { lost: 1, ..none });
        assert_eq!(check(&[1, 2], 5), Faults { lost: 3, ..none });
        assert_eq!(check(&[0, 1, 1, 2, 0], 3), Faults { duplicated: 2, ..none });
        assert_eq!(check(&[0, 2, 1, 3], 4), Faults { reordered: 1, ..none });
        assert_eq!(check(&[0, 2, 1, 1], 3), Faults { reordered: 1, duplicated: 1, ..none });
        assert_eq!(check(&[], 2), Faults { lost: 2, ..none });
    }
}
