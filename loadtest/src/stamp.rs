//! What every payload begins with: who sent it, as which of its messages, and when.

/// Bytes of a stamp.
pub(crate) const STAMP: usize = 16;
const SEQUENCE_BITS: u32 = 48;

/// Publisher, number and time of a message, in the two words that go over the wire: taken apart into fields of different
/// sizes it would stall every processor that has to load together what was stored apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    head: u64,
    /// When it was sent or should have been, in nanoseconds of the run's clock.
    pub(crate) nanos: u64,
}

impl Stamp {
    /// Message `sequence` of a publisher, counted from 0; 2^48 are enough for a year at nine million per second.
    pub(crate) fn new(publisher: u16, sequence: u64, nanos: u64) -> Self {
        Self { head: u64::from(publisher) << SEQUENCE_BITS | sequence, nanos }
    }

    pub(crate) fn publisher(self) -> u16 {
        u16::try_from(self.head >> SEQUENCE_BITS).unwrap_or(u16::MAX)
    }

    pub(crate) fn sequence(self) -> u64 {
        self.head & ((1 << SEQUENCE_BITS) - 1)
    }

    pub(crate) fn to_bytes(self) -> [u8; STAMP] {
        (u128::from(self.head) << 64 | u128::from(self.nanos)).to_be_bytes()
    }

    /// `None` for a payload that is too short to be ours.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        let (head, rest) = payload.split_first_chunk()?;
        let (nanos, _) = rest.split_first_chunk()?;
        Some(Self { head: u64::from_be_bytes(*head), nanos: u64::from_be_bytes(*nanos) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_wire() {
        for (publisher, sequence, nanos) in [(65_535, (1 << 48) - 1, u64::MAX), (1, 2, 3), (0, 0, 0)] {
            let stamp = Stamp::new(publisher, sequence, nanos);
            let payload = [&stamp.to_bytes()[..], b"padding"].concat();
            let read = Stamp::of(&payload).unwrap();
            assert_eq!((read.publisher(), read.sequence(), read.nanos), (publisher, sequence, nanos));
            assert_eq!(Stamp::of(&payload[..15]), None);
        }
    }
}
