//! The fields that packets are made of: integers, UTF-8 strings, binary data, variable byte integers. [MQTT 1.5]
//!
//! Unsafe: [`text`] takes plain ASCII for UTF-8 on the word of its own check, which reads eight bytes at a time. With the
//! standard library's check after it, a topic costs four times as much, and that was half of reading a PUBLISH.

#![expect(unsafe_code, reason = "what this file's own check found to be ASCII is UTF-8")]

use super::{DecodeError, PacketType};
use crate::types::PacketId;
use bytes::{BufMut, BytesMut};

/// Reads fields off the front of a packet's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    packet: PacketType,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(rest: &'a [u8], packet: PacketType) -> Self {
        Self { rest, packet }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Short(self.packet))?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Short(self.packet))?;
        self.rest = rest;
        Ok(byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Short(self.packet))?;
        self.rest = rest;
        Ok(u16::from_be_bytes(bytes))
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Short(self.packet))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(bytes))
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::PacketIdZero)
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        text(self.binary()?)
    }

    pub(super) fn varint(&mut self) -> Result<u32, DecodeError> {
        match varint(self.rest)? {
            Some((value, len)) => {
                self.rest = &self.rest[len..];
                Ok(value)
            }
            None => Err(DecodeError::Short(self.packet)),
        }
    }

    /// All fields were read.
    pub(super) const fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes(self.packet)) }
    }
}

/// Checks a string. U+0000 is refused; other control characters and non-characters may pass. [MQTT-1.5.4-1],
/// [MQTT-1.5.4-2]
#[inline]
pub(super) fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    if is_plain(bytes) {
        // SAFETY: every byte is in 0x01..=0x7f, and ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    foreign_text(bytes)
}

/// The same for strings that are not plain ASCII.
#[inline(never)]
fn foreign_text(bytes: &[u8]) -> Result<&str, DecodeError> {
    if memchr::memchr(0, bytes).is_some() {
        return Err(DecodeError::Nul);
    }
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)
}

/// Whether all bytes are in 0x01..=0x7f. That is when neither a byte nor the byte less one has its highest bit set. The
/// subtraction borrows across bytes only from a zero, which has its bit set already.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x8080_8080_8080_8080;
    let mark = |word: u64| (word | word.wrapping_sub(ONES)) & HIGHEST;
    let (words, rest) = bytes.as_chunks();
    let found = words.iter().fold(0, |found, &word| found | mark(u64::from_ne_bytes(word)));
    // The last word overlaps the one before it, so that no bytes are left over.
    found == 0
        && match bytes.last_chunk() {
            Some(&last) => mark(u64::from_ne_bytes(last)) == 0,
            None => rest.iter().all(|byte| matches!(byte, 0x01..0x80)),
        }
}

/// Reads a variable byte integer and its length; `None` while it is not all there. [MQTT 1.5.5]
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let shortest = byte != 0 || at == 0;
            return if shortest { Ok(Some((value, at + 1))) } else { Err(DecodeError::VariableInteger) };
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(DecodeError::VariableInteger) }
}

/// How many bytes a variable byte integer takes.
pub(super) const fn varint_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer.
///
/// # Panics
/// Above 268,435,455.
pub(super) fn put_varint(out: &mut BytesMut, value: usize) {
    assert!(value < 1 << 28, "no MQTT packet is that large");
    let mut rest = value;
    loop {
        let [digit, ..] = (rest & 0x7f).to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            return out.put_u8(digit);
        }
        out.put_u8(digit | 0x80);
    }
}

/// Writes binary data or a string with its length before it.
///
/// # Panics
/// Above 65,535 bytes.
pub(super) fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).expect("a field of at most 65,535 bytes"));
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_hold_28_bits_in_their_shortest_form_mqtt_1_5_5_1() {
        for value in [0usize, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, (1 << 28) - 1] {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(varint(&out), Ok(Some((u32::try_from(value).unwrap(), out.len()))));
            assert_eq!(varint(&out[..out.len() - 1]), Ok(None));
        }
        assert_eq!(varint(&[0x80, 0x00]), Err(DecodeError::VariableInteger));
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0x01]), Err(DecodeError::VariableInteger));
    }

    #[test]
    fn strings_are_utf_8_without_u_0000_mqtt_1_5_4_1_and_2() {
        assert_eq!(text("größe/€/𝄞".as_bytes()), Ok("größe/€/𝄞"));
        assert_eq!(text(b"a\0b"), Err(DecodeError::Nul));
        for bad in [&b"\xed\xa0\x80"[..], b"\xc0\x80a", b"\xff", b"\xe2\x82"] {
            assert_eq!(text(bad), Err(DecodeError::Utf8), "{bad:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_part_of_the_string_mqtt_1_5_4_3() {
        assert_eq!(text(b"\xef\xbb\xbfa"), Ok("\u{feff}a"));
    }

    #[test]
    fn control_characters_and_non_characters_may_pass() {
        assert_eq!(text("\u{1}\u{7f}\u{9f}\u{fffe}\u{10ffff}".as_bytes()).map(str::len), Ok(11));
    }

    #[test]
    fn the_quick_check_agrees_with_the_thorough_one_wherever_a_byte_stands() {
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'a'; len];
                    bytes[at] = byte;
                    assert_eq!(is_plain(&bytes), matches!(byte, 0x01..0x80), "{byte:#04x} at {at} of {len}");
                    assert_eq!(text(&bytes), foreign_text(&bytes), "{byte:#04x} at {at} of {len}");
                }
            }
        }
        for pair in 0..=u16::MAX {
            // Two neighbours at the seam of two words: a borrow from the first must not hide the second.
            let mut bytes = [0x01; 16];
            bytes[7..9].copy_from_slice(&pair.to_be_bytes());
            assert_eq!(is_plain(&bytes), bytes.iter().all(|byte| matches!(byte, 0x01..0x80)), "{pair:#06x}");
        }
    }
}
