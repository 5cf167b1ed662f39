//! Where packets begin and end: the fixed header. [MQTT 2.1]

use super::text::varint;
use super::{DecodeError, PacketType};

/// One whole packet, borrowed from the buffer that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Packet type and flags.
    pub first: u8,
    /// What follows the fixed header.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// The packet type, if it exists.
    pub const fn packet_type(&self) -> Option<PacketType> {
        PacketType::from_first(self.first)
    }

    /// The flags of the fixed header.
    pub const fn flags(&self) -> u8 {
        self.first & 0x0f
    }
}

/// What stands at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// A whole packet, and how many bytes it takes.
    Whole {
        /// The packet.
        frame: Frame<'a>,
        /// Its bytes in all.
        len: usize,
    },
    /// Not a whole packet yet.
    Partial {
        /// How many bytes the packet has in all or, while that is not known, how many it takes to find out.
        need: usize,
    },
}

/// Finds the packet at the front of a buffer. Lengths are checked before bodies are waited for.
///
/// # Errors
/// A packet of more than `max` bytes, a malformed length, a packet type that does not exist.
#[inline]
pub fn split(bytes: &[u8], max: u32) -> Result<Split<'_>, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(Split::Partial { need: 2 }) };
    if first < 0x10 {
        return Err(DecodeError::PacketType(0));
    }
    let Some((remaining, digits)) = varint(rest)? else {
        return Ok(Split::Partial { need: bytes.len() + 1 });
    };
    let start = 1 + digits;
    let len = start + remaining as usize;
    if len > max as usize {
        return Err(DecodeError::TooLarge(len as u64, max));
    }
    Ok(match bytes.get(start..len) {
        Some(body) => Split::Whole { frame: Frame { first, body }, len },
        None => Split::Partial { need: len },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_found_once_it_is_whole() {
        let bytes = [0x30, 3, 0, 1, b'a', 0xc0, 0];
        for end in 0..5 {
            assert!(
                matches!(split(&bytes[..end], 100), Ok(Split::Partial { need }) if need > end && need <= 5)
            );
        }
        let frame = Frame { first: 0x30, body: &bytes[2..5] };
        assert_eq!(split(&bytes, 100), Ok(Split::Whole { frame, len: 5 }));
    }

    #[test]
    fn a_length_above_the_maximum_is_refused_before_the_body_comes() {
        assert_eq!(split(&[0x30, 0xff, 0x7f], 16_386), Ok(Split::Partial { need: 16_386 }));
        assert_eq!(split(&[0x30, 0xff, 0x7f], 16_385), Err(DecodeError::TooLarge(16_386, 16_385)));
        assert_eq!(split(&[0x30, 0xff, 0xff, 0xff, 0xff], 100), Err(DecodeError::VariableInteger));
        assert_eq!(split(&[0x0f], 100), Err(DecodeError::PacketType(0)));
    }
}
