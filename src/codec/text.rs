//! The fields that packets are made of: integers, UTF-8 strings, binary data, variable byte integers. [MQTT 1.5]

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
pub(super) fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    if memchr::memchr(0, bytes).is_some() {
        return Err(DecodeError::Nul);
    }
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)
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
}
