//! Packet identifiers towards one client, handed out and taken back in constant time, without scanning.

use crate::types::PacketId;
use std::collections::VecDeque;

/// A returned identifier rests until this many others were returned after it, so that a late acknowledgement of the
/// old message is not taken for one of the new.
const REST: usize = 16;

/// The identifiers that are free. Low ones are reused first, so that what is indexed by them stays small.
#[derive(Debug, Default)]
pub struct PacketIds {
    /// Identifiers up to this one were handed out at some time.
    highest: u16,
    returned: VecDeque<PacketId>,
}

impl PacketIds {
    /// Takes an identifier; `None` when all 65,535 are in use.
    pub fn take(&mut self) -> Option<PacketId> {
        if self.returned.len() < REST
            && let Some(fresh) = self.highest.checked_add(1).and_then(PacketId::new)
        {
            self.highest = fresh.get();
            return Some(fresh);
        }
        self.returned.pop_front()
    }

    /// Takes an identifier back that [`PacketIds::take`] gave.
    pub fn give_back(&mut self, id: PacketId) {
        debug_assert!(id.get() <= self.highest && self.in_use() > 0, "{id} was not handed out");
        self.returned.push_back(id);
    }

    /// How many identifiers are handed out.
    pub fn in_use(&self) -> usize {
        usize::from(self.highest) - self.returned.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn identifiers_are_unique_while_in_use_and_all_65535_can_be() {
        let mut ids = PacketIds::default();
        let taken: BTreeSet<_> = std::iter::from_fn(|| ids.take()).collect();
        assert_eq!((taken.len(), ids.in_use()), (65_535, 65_535));
        ids.give_back(PacketId::new(7).unwrap());
        assert_eq!(ids.take(), PacketId::new(7));
        assert_eq!(ids.take(), None);
    }

    #[test]
    fn a_small_window_uses_small_identifiers_and_lets_each_rest() {
        let mut ids = PacketIds::default();
        let mut last = None;
        for _ in 0..1_000 {
            let id = ids.take().unwrap();
            assert!(usize::from(id.get()) <= REST + 1);
            assert_ne!(Some(id), last);
            ids.give_back(id);
            last = Some(id);
        }
    }
}
