//! What stands in front of a frame's payload. [RFC 6455 5.2]

use super::Violation;
use super::mask::Mask;

/// The longest header: two bytes, a length of eight, a masking key.
pub(super) const HEADER_BYTES_MAX: usize = 14;
/// The longest header without a masking key.
pub(super) const UNMASKED_BYTES_MAX: usize = 10;
/// Payload of a control frame at most.
pub(super) const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Which end of a connection sends frames that are read or written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// Masks them.
    Client,
    /// Does not.
    Server,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Opcode {
    const fn new(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// Bytes of payload.
    pub(super) payload: u32,
    pub(super) mask: Mask,
    /// Bytes of the header itself.
    pub(super) len: usize,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None` while it is not whole. What is wrong is found with the first byte
    /// that shows it.
    #[inline]
    pub(super) fn read(bytes: &[u8], sender: Sender, payload_max: u32) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(Violation::Reserved);
        }
        let opcode = Opcode::new(first & 0x0f).ok_or(Violation::Opcode(first & 0x0f))?;
        let fin = first & FIN != 0;
        if opcode == Opcode::Text {
            return Err(Violation::Text);
        }
        if opcode.is_control() && !fin {
            return Err(Violation::FragmentedControl);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        match (sender, second & MASKED != 0) {
            (Sender::Client, false) => return Err(Violation::Unmasked),
            (Sender::Server, true) => return Err(Violation::Masked),
            _ => {}
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(Violation::LongControl);
        }
        let Some((payload, at)) = length(bytes, short)? else { return Ok(None) };
        let payload = match u32::try_from(payload) {
            Ok(payload) if payload <= payload_max || opcode.is_control() => payload,
            _ => return Err(Violation::TooLarge(payload, payload_max)),
        };
        let (mask, len) = match sender {
            Sender::Server => (Mask::default(), at),
            Sender::Client => match bytes.get(at..at + 4) {
                Some(key) => (Mask::new([key[0], key[1], key[2], key[3]]), at + 4),
                None => return Ok(None),
            },
        };
        Ok(Some(Self { fin, opcode, payload, mask, len }))
    }
}

/// The payload's length, and where it ends; `None` while it is not whole.
#[inline]
fn length(bytes: &[u8], short: u8) -> Result<Option<(u64, usize)>, Violation> {
    let (length, end, least) = match short {
        126 => match bytes.get(2..4) {
            Some(two) => (u64::from(u16::from_be_bytes([two[0], two[1]])), 4, 126),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|eight| eight.try_into().ok()) {
            Some(eight) => (u64::from_be_bytes(eight), 10, 1 << 16),
            None => return Ok(None),
        },
        _ => return Ok(Some((u64::from(short), 2))),
    };
    if length < least || length > i64::MAX as u64 {
        return Err(Violation::Length);
    }
    Ok(Some((length, end)))
}

/// A header as bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl Written {
    /// The header of a frame that is a whole message.
    #[inline]
    pub(super) fn new(opcode: Opcode, payload: u32, mask: Option<[u8; 4]>) -> Self {
        let mut bytes = [0; HEADER_BYTES_MAX];
        bytes[0] = FIN | opcode as u8;
        let [_, _, high, low] = payload.to_be_bytes();
        let mut len = match payload {
            0..126 => {
                bytes[1] = low;
                2
            }
            126..0x1_0000 => {
                bytes[1..4].copy_from_slice(&[126, high, low]);
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&u64::from(payload).to_be_bytes());
                10
            }
        };
        if let Some(key) = mask {
            bytes[1] |= MASKED;
            bytes[usize::from(len)..][..4].copy_from_slice(&key);
            len += 4;
        }
        Self { bytes, len }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}
