//! Messages of one publisher that are on their way.

use std::collections::VecDeque;

/// How many packet identifiers there are.
const PACKET_IDS: u64 = 65_535;

/// For each message from the oldest one that is on its way: how many deliveries and acknowledgements it still lacks.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Number of the first message in `lacking`.
    base: u64,
    lacking: VecDeque<u16>,
}

impl Window {
    /// Messages on their way, and those that wait for an earlier one.
    pub(crate) fn len(&self) -> usize {
        self.lacking.len()
    }

    /// Messages sent.
    pub(crate) fn sent(&self) -> u64 {
        self.base + self.lacking.len() as u64
    }

    /// Sends a message that lacks so many deliveries and acknowledgements. Returns its number.
    pub(crate) fn send(&mut self, lacks: u16) -> u64 {
        self.lacking.push_back(lacks);
        let sequence = self.sent() - 1;
        self.slide();
        sequence
    }

    /// One more delivery or acknowledgement of a message.
    #[inline]
    pub(crate) fn progress(&mut self, sequence: u64) {
        let at = sequence.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        if let Some(lacks) = at.and_then(|at| self.lacking.get_mut(at)) {
            *lacks = lacks.saturating_sub(1);
            if sequence == self.base {
                self.slide();
            }
        }
    }

    fn slide(&mut self) {
        while self.lacking.front() == Some(&0) {
            self.lacking.pop_front();
            self.base += 1;
        }
    }

    /// The packet identifier of a message.
    pub(crate) fn packet_id(sequence: u64) -> u16 {
        u16::try_from(sequence % PACKET_IDS).unwrap_or(0) + 1
    }

    /// The message on its way that has a packet identifier.
    pub(crate) fn sequence_of(&self, packet_id: u16) -> u64 {
        let first = u64::from(Self::packet_id(self.base));
        self.base + (u64::from(packet_id) + PACKET_IDS - first) % PACKET_IDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_on_its_way_until_it_lacks_nothing_and_none_before_it_does() {
        let mut window = Window::default();
        (0..3).for_each(|n| assert_eq!(window.send(2), n));
        window.progress(1);
        window.progress(1);
        assert_eq!(window.len(), 3);
        window.progress(0);
        window.progress(0);
        assert_eq!((window.len(), window.sent()), (1, 3));
        window.progress(0);
        assert_eq!(window.len(), 1, "what comes too late changes nothing");
    }

    #[test]
    fn packet_identifiers_wrap_and_lead_back() {
        let mut window = Window::default();
        for n in 0..200_000u64 {
            assert_eq!(window.send(1), n);
            let id = Window::packet_id(n);
            assert!(id > 0);
            assert_eq!(window.sequence_of(id), n);
            if n >= 100 {
                window.progress(n - 100);
            }
        }
    }
}
