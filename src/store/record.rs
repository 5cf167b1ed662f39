//! The bytes of what is kept: little-endian, with numbers in as many bytes as they need. The same words are used in the
//! journal and in the settled state; a layout's number stands at the head of either.
//!
//! Reading is total: whatever the bytes are, they are a value or an error, and nothing is reserved for a length that is not
//! there.

use crate::codec::{RetainHandling, SubscriptionOptions};
use crate::engine::StoredSession;
use crate::session::Subscription;
use crate::session::connect::Will;
use crate::types::{Delivery, Message, Now, PacketId, QoS, SessionId, Span};

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged record: {0}")]
pub struct BadRecord(pub &'static str);

/// Puts values one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push((number & 0x7f) as u8);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A number that may be absent.
    pub(super) fn option(&mut self, number: Option<u64>) {
        match number {
            None => self.byte(0),
            Some(number) => {
                self.byte(1);
                self.number(number);
            }
        }
    }

    pub(super) fn message(&mut self, message: &Message) {
        let Delivery { qos, retain, received, expiry } = message.delivery;
        self.byte(qos as u8 | u8::from(retain) << 2 | u8::from(expiry.is_some()) << 3);
        self.number(received.0);
        if let Some(expiry) = expiry {
            self.number(expiry.0);
        }
        self.bytes(message.topic_bytes());
        self.bytes(message.properties());
        self.bytes(message.payload());
    }

    pub(super) fn subscription(&mut self, subscription: &Subscription) {
        let Subscription { options, id } = subscription;
        let handling = match options.retain_handling {
            RetainHandling::Always => 0,
            RetainHandling::IfNew => 1,
            RetainHandling::Never => 2,
        };
        let (no_local, as_published) = (u8::from(options.no_local), u8::from(options.retain_as_published));
        self.byte(options.qos as u8 | no_local << 2 | as_published << 3 | handling << 4);
        self.number(u64::from(*id));
    }

    /// Everything but the session's number.
    pub(super) fn session(&mut self, session: &StoredSession) {
        self.bytes(session.client_id.as_bytes());
        self.option(session.expiry.map(|span| span.0));
        self.option(session.away.map(|now| now.0));
        match &session.will {
            None => self.byte(0),
            Some((will, due)) => {
                self.byte(1);
                self.message(&will.message);
                self.number(will.delay.0);
                self.option(due.map(|due| due.0));
            }
        }
        self.number(session.next_seq);
        self.option(session.unsent_from);
    }
}

/// Takes them out again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, BadRecord> {
        let (&byte, rest) = self.0.split_first().ok_or(BadRecord("cut short"))?;
        self.0 = rest;
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, BadRecord> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(BadRecord("a number too large"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BadRecord("a number too long"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], BadRecord> {
        let len = usize::try_from(self.number()?).map_err(|_| BadRecord("a length too large"))?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(BadRecord("cut short"))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, BadRecord> {
        std::str::from_utf8(self.bytes()?).map_err(|_| BadRecord("a text that is no UTF-8"))
    }

    pub(super) fn option(&mut self) -> Result<Option<u64>, BadRecord> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.number().map(Some),
            _ => Err(BadRecord("neither there nor absent")),
        }
    }

    pub(super) fn session_id(&mut self) -> Result<SessionId, BadRecord> {
        self.number().map(SessionId)
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, BadRecord> {
        let id = u16::try_from(self.number()?).ok().and_then(PacketId::new);
        id.ok_or(BadRecord("no packet identifier"))
    }

    pub(super) fn small(&mut self) -> Result<u32, BadRecord> {
        u32::try_from(self.number()?).map_err(|_| BadRecord("a number too large"))
    }

    pub(super) fn message(&mut self) -> Result<Message, BadRecord> {
        let (delivery, topic) = self.message_head()?;
        let (properties, payload) = (self.bytes()?, self.bytes()?);
        Ok(Message::new(topic, properties, payload, delivery))
    }

    /// Passes over a message without a copy of it.
    pub(super) fn skip_message(&mut self) -> Result<(), BadRecord> {
        self.message_head()?;
        self.bytes()?;
        self.bytes().map(|_| ())
    }

    fn message_head(&mut self) -> Result<(Delivery, &'a str), BadRecord> {
        let flags = self.byte()?;
        let qos = QoS::from_bits(flags & 3).ok_or(BadRecord("no QoS"))?;
        if flags & !0xf != 0 {
            return Err(BadRecord("unknown flags of a message"));
        }
        let received = Now(self.number()?);
        let expiry = if flags & 8 == 0 { None } else { Some(Span(self.number()?)) };
        Ok((Delivery { qos, retain: flags & 4 != 0, received, expiry }, self.text()?))
    }

    pub(super) fn subscription(&mut self) -> Result<Subscription, BadRecord> {
        let flags = self.byte()?;
        let retain_handling = match flags >> 4 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(BadRecord("unknown flags of a subscription")),
        };
        let qos = QoS::from_bits(flags & 3).ok_or(BadRecord("no QoS"))?;
        let (no_local, retain_as_published) = (flags & 4 != 0, flags & 8 != 0);
        let options = SubscriptionOptions { qos, no_local, retain_as_published, retain_handling };
        Ok(Subscription { options, id: self.small()? })
    }

    pub(super) fn session(&mut self, id: SessionId) -> Result<StoredSession, BadRecord> {
        let client_id = self.text()?.into();
        let expiry = self.option()?.map(Span);
        let away = self.option()?.map(Now);
        let will = match self.byte()? {
            0 => None,
            1 => {
                let (message, delay) = (self.message()?, Span(self.number()?));
                Some((Box::new(Will { message, delay }), self.option()?.map(Now)))
            }
            _ => return Err(BadRecord("neither there nor absent")),
        };
        let (next_seq, unsent_from) = (self.number()?, self.option()?);
        Ok(StoredSession { id, client_id, expiry, away, will, next_seq, unsent_from })
    }
}
