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
    /// When each of them should have been sent, where that is kept.
    intended: Option<VecDeque<u64>>,
}

impl Window {
    /// One that keeps when its messages should have been sent.
    pub(crate) fn timed() -> Self {
        Self { intended: Some(VecDeque::new()), ..Self::default() }
    }

    /// Messages on their way, and those that wait for an earlier one.
    pub(crate) fn len(&self) -> usize {
        self.lacking.len()
    }

    /// Messages sent.
    pub(crate) fn sent(&self) -> u64 {
        self.base + self.lacking.len() as u64
    }

    /// Sends a message that lacks so many deliveries and acknowledgements. Returns its number.
    pub(crate) fn send(&mut self, lacks: u16, intended: u64) -> u64 {
        self.lacking.push_back(lacks);
        if let Some(times) = &mut self.intended {
            times.push_back(intended);
        }
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
            if let Some(times) = &mut self.intended {
                times.pop_front();
            }
        }
    }

    /// When a message that is on its way should have been sent.
    pub(crate) fn intended(&self, sequence: u64) -> Option<u64> {
        let at = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        self.intended.as_ref()?.get(at).copied()
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
        (0..3).for_each(|n| assert_eq!(window.send(2, 0), n));
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
    fn a_message_has_its_time_while_it_is_on_its_way() {
        let mut window = Window::timed();
        (0..3).for_each(|n| assert_eq!(window.send(1, 100 + n), n));
        window.progress(1);
        assert_eq!(
            (0..4).map(|n| window.intended(n)).collect::<Vec<_>>(),
            [Some(100), Some(101), Some(102), None]
        );
        window.progress(0);
        assert_eq!((0..4).map(|n| window.intended(n)).collect::<Vec<_>>(), [None, None, Some(102), None]);
        let mut plain = Window::default();
        plain.send(1, 100);
        assert_eq!(plain.intended(0), None);
    }

    #[test]
    fn packet_identifiers_wrap_and_lead_back() {
        let mut window = Window::default();
        for n in 0..200_000u64 {
            assert_eq!(window.send(1, 0), n);
            let id = Window::packet_id(n);
            assert!(id > 0);
            assert_eq!(window.sequence_of(id), n);
            if n >= 100 {
                window.progress(n - 100);
            }
        }
    }
}
