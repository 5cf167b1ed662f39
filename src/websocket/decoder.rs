//! From frames to the bytes of MQTT. Frames mean nothing to MQTT: a packet may lie across many, and many in one.
//! [MQTT-6.0.0-2]

use super::header::{HEADER_BYTES_MAX, Header, Opcode, Sender};
use super::mask::Mask;
use super::{CloseCode, Encoder, Violation};

/// The receiving half of one connection.
///
/// It works in the buffer that was read into and keeps nothing of it but, at most, the beginning of a header or of a control
/// frame: a frame need not be whole to be handed on, so that even an endless one costs no memory.
#[derive(Debug)]
pub struct Decoder {
    sender: Sender,
    payload_max: u32,
    /// Payload of the current frame that is still to come.
    left: u32,
    /// Its masking key.
    mask: Mask,
    at: At,
    /// Whether the last data frame was not the last one of its message.
    fragmented: bool,
    /// The beginning of a header that is not whole.
    partial: [u8; HEADER_BYTES_MAX],
    partial_len: u8,
    /// Payload of a control frame.
    control: Vec<u8>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Header,
    Data,
    Control(Opcode),
    /// Nothing: what comes after the end is not looked at.
    End,
}

/// What became of the bytes of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// So many bytes of MQTT are at the front of the buffer; the rest of it is of no use any more.
    pub len: usize,
    /// The peer sends no more, or nothing that is wanted. The close frame for it is in the encoder.
    pub end: Option<End>,
}

/// How a WebSocket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer has closed, with its code if it gave one. To MQTT this is the end of the network connection, and nothing
    /// more: without a DISCONNECT before, the will is published.
    Closed(Option<CloseCode>),
    /// The peer broke a rule.
    Violation(Violation),
}

impl Decoder {
    /// Reads what a client sends. A frame that announces more than `payload_max` bytes is refused with 1009 before any of
    /// them is taken.
    pub fn server(payload_max: u32) -> Self {
        Self::new(Sender::Client, payload_max)
    }

    /// Reads what a server sends.
    pub fn client(payload_max: u32) -> Self {
        Self::new(Sender::Server, payload_max)
    }

    fn new(sender: Sender, payload_max: u32) -> Self {
        Self {
            sender,
            payload_max,
            left: 0,
            mask: Mask::default(),
            at: At::Header,
            fragmented: false,
            partial: [0; HEADER_BYTES_MAX],
            partial_len: 0,
            control: Vec::new(),
        }
    }

    /// Turns what was read into MQTT, in place: payloads are unmasked and moved together to the front of `bytes`, in one
    /// pass. All of `bytes` is taken. Pongs and the answer to a close are left to `replies`.
    ///
    /// Bytes of MQTT before the end are good, whatever ended it.
    #[inline]
    pub fn decode(&mut self, bytes: &mut [u8], replies: &mut Encoder) -> Decoded {
        let (mut read, mut len) = (0, 0);
        loop {
            let rest = &mut bytes[read..];
            let step = match self.at {
                At::Header => match self.header(rest) {
                    Ok(Some(count)) => Ok(count),
                    Ok(None) => return Decoded { len, end: None },
                    Err(violation) => Err(End::Violation(violation)),
                },
                At::Data => {
                    let count = self.take(rest.len());
                    self.mask.shift(&mut bytes[len..read + count], read - len);
                    len += count;
                    Ok(count)
                }
                At::Control(opcode) => {
                    let count = self.take(rest.len());
                    self.mask = self.mask.apply(&mut rest[..count]);
                    self.control.extend_from_slice(&rest[..count]);
                    if self.left == 0 { self.controlled(opcode, replies).map(|()| count) } else { Ok(count) }
                }
                At::End => return Decoded { len, end: None },
            };
            match step {
                Ok(count) => read += count,
                Err(end) => {
                    self.at = At::End;
                    match end {
                        End::Closed(code) => replies.close(code, ""),
                        End::Violation(violation) => {
                            replies.close(Some(violation.code()), &violation.to_string())
                        }
                    }
                    return Decoded { len, end: Some(end) };
                }
            }
            if self.left > 0 && read == bytes.len() {
                return Decoded { len, end: None };
            }
        }
    }

    /// Whether the end has come.
    pub fn is_ended(&self) -> bool {
        self.at == At::End
    }

    /// How many bytes of so many are the current frame's; its end leads to the next header.
    #[inline]
    fn take(&mut self, available: usize) -> usize {
        let count = u32::try_from(available).unwrap_or(u32::MAX).min(self.left);
        self.left -= count;
        if self.left == 0 {
            self.at = At::Header;
        }
        count as usize
    }

    /// Reads a header and says how many bytes of `rest` it took; `None` when it is not whole yet.
    #[inline]
    fn header(&mut self, rest: &[u8]) -> Result<Option<usize>, Violation> {
        let (header, count) = if self.partial_len == 0 {
            match Header::read(rest, self.sender, self.payload_max)? {
                Some(header) => (header, header.len),
                None => {
                    self.keep(rest);
                    return Ok(None);
                }
            }
        } else {
            let kept = usize::from(self.partial_len);
            self.keep(&rest[..rest.len().min(HEADER_BYTES_MAX - kept)]);
            let partial = &self.partial[..usize::from(self.partial_len)];
            let Some(header) = Header::read(partial, self.sender, self.payload_max)? else { return Ok(None) };
            self.partial_len = 0;
            (header, header.len - kept)
        };
        self.at = match header.opcode {
            Opcode::Binary if self.fragmented => return Err(Violation::Interleaved),
            Opcode::Continuation if !self.fragmented => return Err(Violation::Continuation),
            Opcode::Binary | Opcode::Continuation => {
                self.fragmented = !header.fin;
                At::Data
            }
            control => At::Control(control),
        };
        self.left = header.payload;
        self.mask = header.mask;
        Ok(Some(count))
    }

    /// Appends to the beginning of a header.
    #[cold]
    fn keep(&mut self, bytes: &[u8]) {
        let start = usize::from(self.partial_len);
        self.partial[start..start + bytes.len()].copy_from_slice(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "a header has at most 14 bytes")]
        {
            self.partial_len += bytes.len() as u8;
        }
    }

    /// A whole control frame.
    #[cold]
    fn controlled(&mut self, opcode: Opcode, replies: &mut Encoder) -> Result<(), End> {
        let payload = std::mem::take(&mut self.control);
        match opcode {
            Opcode::Ping => replies.pong(&payload),
            Opcode::Close => {
                return Err(closed(&payload).map_or_else(End::Violation, End::Closed));
            }
            // Nobody asked for it. [RFC 6455 5.5.3]
            _ => {}
        }
        Ok(())
    }
}

/// The status code of a close frame. [RFC 6455 5.5.1]
fn closed(payload: &[u8]) -> Result<Option<CloseCode>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::ShortClose) };
    };
    let code = u16::from_be_bytes(*code);
    let known = CloseCode::new(code).ok_or(Violation::Code(code))?;
    std::str::from_utf8(reason).map_err(|_| Violation::Reason)?;
    Ok(Some(known))
}
