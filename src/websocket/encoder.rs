//! From the bytes of MQTT to frames: whatever waits for a connection when it is written goes out as one frame.

use super::CloseCode;
use super::header::{CONTROL_BYTES_MAX, Opcode, Sender, UNMASKED_BYTES_MAX, Written};
use super::mask::Mask;

/// Control frames that wait for a peer at most, in bytes; beyond, a pong takes the place of all that were not begun, since
/// only the latest ping has to be answered. [RFC 6455 5.5.3]
const WAITING_BYTES_MAX: usize = 2_048;

/// The sending half of one connection: where its output stands between frames.
///
/// The bytes of MQTT stay where they are. Whoever writes asks [`Encoder::next`] what goes in front of them, writes both
/// together, and tells [`Encoder::advance`] how much the socket took. Frames begin when they are written, so that all
/// packets that a turn produced share one header of 2 to 10 bytes.
///
/// ```
/// use pantala::websocket::Encoder;
///
/// let (mut encoder, mut output, mut socket) = (Encoder::server(), b"MQTT".to_vec(), vec![]);
/// while let Some(next) = encoder.next(output.len()) {
///     socket.extend_from_slice(next.head);
///     socket.extend_from_slice(&output[..next.payload]);
///     let count = next.head.len() + next.payload;
///     output.drain(..encoder.advance(count));
/// }
/// assert_eq!(socket, b"\x82\x04MQTT");
/// ```
#[derive(Debug)]
pub struct Encoder {
    sender: Sender,
    close: Close,
    /// The header of the open frame.
    head: Written,
    head_sent: u8,
    /// Payload of the open frame that is not sent.
    left: u32,
    /// Whole control frames, which go out as soon as no frame is open.
    control: Vec<u8>,
    control_sent: usize,
}

/// How far the end is.
#[derive(Debug)]
enum Close {
    No,
    /// This frame goes out when nothing else is left.
    Asked(Vec<u8>),
    /// It is sent or being sent: nothing comes after it. [RFC 6455 5.5.1]
    Done,
}

/// What is to be written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next<'a> {
    /// These bytes,
    pub head: &'a [u8],
    /// and after them so many of those that wait.
    pub payload: usize,
}

impl Encoder {
    /// Writes frames of a server.
    pub fn server() -> Self {
        Self::new(Sender::Server)
    }

    /// Writes frames of a client, masked with zeros, which change nothing. Masks keep pages from talking to caches through
    /// a browser; a tool that runs no pages has nothing to hide, and the server's work is the same.
    pub fn client() -> Self {
        Self::new(Sender::Client)
    }

    fn new(sender: Sender) -> Self {
        Self {
            sender,
            close: Close::No,
            head: Written::default(),
            head_sent: 0,
            left: 0,
            control: Vec::new(),
            control_sent: 0,
        }
    }

    /// What is to be written while so many bytes of MQTT wait; `None` when nothing is. A frame that has begun is gone on
    /// with; otherwise control frames come first, and then a frame of all that waits.
    ///
    /// Bytes that an open frame has promised must not go away.
    #[inline]
    pub fn next(&mut self, waiting: usize) -> Option<Next<'_>> {
        if !self.is_open() {
            if !self.control.is_empty() || waiting == 0 || matches!(self.close, Close::Done) {
                return self.next_control();
            }
            self.left = u32::try_from(waiting).unwrap_or(u32::MAX);
            self.head = Written::new(Opcode::Binary, self.left, self.mask());
            self.head_sent = 0;
        }
        debug_assert!(self.left as usize <= waiting, "{} bytes are promised, {waiting} wait", self.left);
        Some(Next { head: &self.head.bytes()[usize::from(self.head_sent)..], payload: self.left as usize })
    }

    /// Takes note that so many bytes of what [`Encoder::next`] said are written, head first. Returns how many of them were
    /// MQTT's.
    #[inline]
    pub fn advance(&mut self, written: usize) -> usize {
        if !self.is_open() {
            self.control_sent += written;
            if self.control_sent == self.control.len() {
                self.control_sent = 0;
                self.control = Vec::new();
            }
            return 0;
        }
        let head = written.min(self.head.bytes().len() - usize::from(self.head_sent));
        let payload = written - head;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "both are at most what next() said, which is less"
        )]
        {
            self.head_sent += head as u8;
            self.left -= payload as u32;
        }
        payload
    }

    /// Whether there is something to write though no byte of MQTT waits.
    #[inline]
    pub fn has_control(&self) -> bool {
        !self.control.is_empty() || matches!(self.close, Close::Asked(_))
    }

    /// Answers a ping.
    pub fn pong(&mut self, payload: &[u8]) {
        if matches!(self.close, Close::No) {
            self.make_room(payload.len());
            let frame = self.control_frame(Opcode::Pong, payload);
            self.control.extend_from_slice(&frame);
        }
    }

    /// Asks the peer for a sign of life.
    pub fn ping(&mut self, payload: &[u8]) {
        if matches!(self.close, Close::No) {
            let frame = self.control_frame(Opcode::Ping, payload);
            self.control.extend_from_slice(&frame);
        }
    }

    /// Says goodbye after all that waits, with a code and a reason if there is something to say. Of a reason that does
    /// not fit only the beginning is sent. The first close counts.
    pub fn close(&mut self, code: Option<CloseCode>, reason: &str) {
        if !matches!(self.close, Close::No) {
            return;
        }
        let mut payload = Vec::new();
        if let Some(code) = code {
            payload.extend_from_slice(&code.number().to_be_bytes());
            let fits = reason.floor_char_boundary(CONTROL_BYTES_MAX - payload.len());
            payload.extend_from_slice(&reason.as_bytes()[..fits]);
        }
        self.close = Close::Asked(self.control_frame(Opcode::Close, &payload));
    }

    /// Whether a frame has begun that is not sent wholly.
    #[inline]
    fn is_open(&self) -> bool {
        self.left > 0 || usize::from(self.head_sent) < self.head.bytes().len()
    }

    /// No frame is open, and there are control frames or no MQTT that may be sent.
    #[cold]
    fn next_control(&mut self) -> Option<Next<'_>> {
        if self.control.is_empty()
            && let Close::Asked(frame) = &mut self.close
        {
            self.control = std::mem::take(frame);
            self.close = Close::Done;
        }
        let head = &self.control[self.control_sent..];
        (!head.is_empty()).then_some(Next { head, payload: 0 })
    }

    fn control_frame(&self, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
        let len = u32::try_from(payload.len()).unwrap_or_default();
        let mut frame = Written::new(opcode, len, self.mask()).bytes().to_vec();
        frame.extend_from_slice(payload);
        frame
    }

    /// Drops the control frames that were not begun if one more of so many bytes would be too much.
    fn make_room(&mut self, payload: usize) {
        if self.control.len() - self.control_sent + UNMASKED_BYTES_MAX + payload <= WAITING_BYTES_MAX {
            return;
        }
        let header = Written::new(Opcode::Pong, 0, self.mask()).bytes().len();
        let mut end = 0;
        while end < self.control_sent {
            end += header + usize::from(self.control[end + 1] & 0x7f);
        }
        self.control.truncate(end);
    }

    fn mask(&self) -> Option<[u8; 4]> {
        (self.sender == Sender::Client).then_some([0; 4])
    }
}

/// Appends one frame of a client, masked with a key.
///
/// # Panics
/// With a payload of 4 GiB or more.
pub fn masked(payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    let len = u32::try_from(payload.len()).expect("a frame of less than 4 GiB");
    out.extend_from_slice(Written::new(Opcode::Binary, len, Some(key)).bytes());
    let start = out.len();
    out.extend_from_slice(payload);
    Mask::new(key).apply(&mut out[start..]);
}
