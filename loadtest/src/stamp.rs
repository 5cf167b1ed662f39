//! What every payload begins with: who sent it, as which of its messages, and when.

/// Bytes of a stamp.
pub(crate) const STAMP: usize = 16;
const SEQUENCE_BITS: u32 = 48;

/// Publisher, number and time of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) publisher: u16,
    /// Counts the publisher's messages from 0, up to 2^48.
    pub(crate) sequence: u64,
    /// When it was sent or should have been, in nanoseconds of the run's clock.
    pub(crate) nanos: u64,
}

impl Stamp {
    pub(crate) fn to_bytes(self) -> [u8; STAMP] {
        let head = u64::from(self.publisher) << SEQUENCE_BITS | self.sequence;
        let mut bytes = [0; STAMP];
        bytes[..8].copy_from_slice(&head.to_be_bytes());
        bytes[8..].copy_from_slice(&self.nanos.to_be_bytes());
        bytes
    }

    /// `None` for a payload that is too short to be ours.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        let (head, rest) = payload.split_first_chunk()?;
        let (nanos, _) = rest.split_first_chunk()?;
        let head = u64::from_be_bytes(*head);
        Some(Self {
            publisher: u16::try_from(head >> SEQUENCE_BITS).ok()?,
            sequence: head & ((1 << SEQUENCE_BITS) - 1),
            nanos: u64::from_be_bytes(*nanos),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_wire() {
        let stamp = Stamp { publisher: 65_535, sequence: (1 << 48) - 1, nanos: u64::MAX };
        let payload = [&stamp.to_bytes()[..], b"padding"].concat();
        assert_eq!(Stamp::of(&payload), Some(stamp));
        assert_eq!(Stamp::of(&payload[..15]), None);
    }
}
