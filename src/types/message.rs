//! A message that outlives the turn it came in: queued, in flight, retained, or on its way to another core.

use super::{Now, Span};
use bytes::Bytes;
use std::fmt;

/// Quality of service. [MQTT 4.3]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// From its two bits on the wire; 3 means nothing. [MQTT-3.3.1-4]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// What is known of a message besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What the publisher asked for.
    pub qos: QoS,
    /// RETAIN as the publisher set it.
    pub retain: bool,
    /// When the broker received it.
    pub received: Now,
    /// Message Expiry Interval, counted from then on [MQTT-3.3.2-5]; `None` lives for ever.
    pub expiry: Option<Span>,
}

impl Delivery {
    /// Whether the Message Expiry Interval is over.
    pub fn expired(&self, now: Now) -> bool {
        self.expiry.is_some_and(|expiry| self.received + expiry <= now)
    }

    /// The Message Expiry Interval in seconds to forward: what is left of it. [MQTT-3.3.2-6]
    pub fn expiry_left_s(&self, now: Now) -> Option<u32> {
        let left = Span(self.expiry?.0.saturating_sub((now - self.received).0));
        Some(u32::try_from(left.0.div_ceil(1_000)).unwrap_or(u32::MAX))
    }
}

/// An application message that owns its memory: one allocation, never a slice of a buffer with other packets in it,
/// so that ten bytes do not pin sixteen thousand. Clones share that memory.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    topic: (u32, u32),
    properties: (u32, u32),
    payload: (u32, u32),
    /// QoS, RETAIN, and how long it lives.
    pub delivery: Delivery,
}

impl Message {
    /// A message with a copy of its bytes. `topic` is a valid topic name; `properties` are those 5.0 properties that are
    /// passed on unaltered, encoded, without their length.
    ///
    /// # Panics
    /// Above 4 GiB in all: sixteen times what one MQTT packet can hold.
    pub fn new(topic: &str, properties: &[u8], payload: &[u8], delivery: Delivery) -> Self {
        let mut bytes = Vec::with_capacity(topic.len() + properties.len() + payload.len());
        let mut put = |piece: &[u8]| {
            let at = bytes.len();
            bytes.extend_from_slice(piece);
            range(at, piece.len())
        };
        let (topic, properties, payload) = (put(topic.as_bytes()), put(properties), put(payload));
        Self { bytes: Bytes::from(bytes), topic, properties, payload, delivery }
    }

    /// The same without a copy, where all three pieces lie in `frame`, the memory of one packet of its own; with a copy
    /// where one does not.
    pub fn within(frame: &Bytes, topic: &str, properties: &[u8], payload: &[u8], delivery: Delivery) -> Self {
        match (inside(frame, topic.as_bytes()), inside(frame, properties), inside(frame, payload)) {
            (Some(topic), Some(properties), Some(payload)) => {
                Self { bytes: frame.clone(), topic, properties, payload, delivery }
            }
            _ => Self::new(topic, properties, payload, delivery),
        }
    }

    /// The topic name.
    ///
    /// # Panics
    /// Never: it was a `&str` when the message was made.
    pub fn topic(&self) -> &str {
        std::str::from_utf8(self.topic_bytes()).expect("was a &str")
    }

    /// The topic name's bytes.
    pub fn topic_bytes(&self) -> &[u8] {
        self.piece(self.topic)
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.piece(self.payload)
    }

    /// The payload, sharing the message's memory.
    pub fn payload_bytes(&self) -> Bytes {
        self.bytes.slice(self.payload.0 as usize..(self.payload.0 + self.payload.1) as usize)
    }

    /// The 5.0 properties that are passed on unaltered, encoded, without their length: payload format, content type,
    /// response topic, correlation data, user properties. Empty for messages of older clients.
    pub fn properties(&self) -> &[u8] {
        self.piece(self.properties)
    }

    /// The memory that all of it lies in.
    pub fn memory(&self) -> &Bytes {
        &self.bytes
    }

    /// Bytes that count towards the bounds of queues and of the retained index.
    pub fn size(&self) -> usize {
        (self.topic.1 + self.payload.1 + self.properties.1) as usize
    }

    fn piece(&self, (at, len): (u32, u32)) -> &[u8] {
        &self.bytes[at as usize..(at + len) as usize]
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.topic_bytes() == other.topic_bytes()
            && self.payload() == other.payload()
            && self.properties() == other.properties()
            && self.delivery == other.delivery
    }
}

impl Eq for Message {}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} bytes, {:?})", self.topic(), self.payload().len(), self.delivery)
    }
}

/// Where `piece` lies in `frame`, if it does. An empty piece lies anywhere.
fn inside(frame: &Bytes, piece: &[u8]) -> Option<(u32, u32)> {
    if piece.is_empty() {
        return Some((0, 0));
    }
    let at = piece.as_ptr().addr().checked_sub(frame.as_ptr().addr())?;
    (at + piece.len() <= frame.len()).then(|| range(at, piece.len()))
}

fn range(at: usize, len: usize) -> (u32, u32) {
    (u32::try_from(at).expect("below 4 GiB"), u32::try_from(len).expect("below 4 GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIVERY: Delivery = Delivery {
        qos: QoS::AtLeastOnce,
        retain: false,
        received: Now(500),
        expiry: Some(Span::from_secs(2)),
    };

    #[test]
    fn a_message_of_its_own_frame_is_not_copied() {
        let frame = Bytes::from_static(b"\0\x03a/bpayload");
        let topic = std::str::from_utf8(&frame[2..5]).unwrap();
        let shared = Message::within(&frame, topic, &[], &frame[5..], DELIVERY);
        assert_eq!(shared.payload().as_ptr(), frame[5..].as_ptr());
        assert_eq!((shared.topic(), shared.payload(), shared.size()), ("a/b", &b"payload"[..], 10));
        let alias = Message::within(&frame, "from/an/alias", &[], &frame[5..], DELIVERY);
        assert_ne!(alias.payload().as_ptr(), frame[5..].as_ptr());
        assert_eq!((alias.topic(), alias.payload_bytes()), ("from/an/alias", frame.slice(5..)));
        assert_eq!(shared, Message::new("a/b", &[], b"payload", DELIVERY));
    }

    #[test]
    fn expiry_counts_from_reception_mqtt_3_3_2_6() {
        assert_eq!((DELIVERY.expired(Now(2_499)), DELIVERY.expired(Now(2_500))), (false, true));
        assert_eq!(DELIVERY.expiry_left_s(Now(500)), Some(2));
        assert_eq!(DELIVERY.expiry_left_s(Now(1_600)), Some(1));
        assert_eq!(DELIVERY.expiry_left_s(Now(9_000)), Some(0));
    }
}
