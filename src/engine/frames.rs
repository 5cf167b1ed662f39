//! A message as it goes over the wire: encoded once per kind of subscriber, the packet id patched per subscriber.

use super::Effects;
use super::publish::Publication;
use crate::codec::{PublishHead, Version};
use crate::session::{Link, Naming, Queued};
use crate::types::limits::SHARE_FROM_BYTES;
use crate::types::{ConnKey, Now, PacketId, QoS};
use bytes::{Bytes, BytesMut};
use std::num::NonZeroU16;

/// Subscribers for whom a message is the same, but for the packet id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) version: Version,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

impl Kind {
    /// 3.1 and 3.1.1 do not differ in PUBLISH.
    fn index(self) -> usize {
        self.qos as usize + 3 * usize::from(self.retain) + 6 * usize::from(self.version.is_v5())
    }
}

const KINDS: usize = 12;

/// Where an encoded frame lies in the buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    start: usize,
    end: usize,
    packet_id_at: usize,
    /// Bytes on the wire, with a payload that is referenced.
    pub(super) len: usize,
}

/// The frames of the message in hand. The buffer stays from message to message, so that nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: BytesMut,
    slots: [Slot; KINDS],
    /// One bit for each slot that is filled.
    filled: u16,
    /// Where the frames in `slots` end; what follows is for one subscriber.
    kept: usize,
    /// The payload, where it is referenced instead of copied.
    payload: Option<Bytes>,
}

impl Frames {
    /// Begins another message.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.filled = 0;
        self.kept = 0;
        if self.payload.is_some() {
            self.payload = None;
        }
    }

    /// The frame of a message for a kind of subscriber, encoded on first use.
    #[inline]
    pub(super) fn of(&mut self, now: Now, publication: &Publication<'_>, kind: Kind, ids: &[u32]) -> Slot {
        let index = kind.index();
        if ids.is_empty() && self.filled & (1 << index) != 0 {
            return self.slots[index];
        }
        self.encode_for(now, publication, kind, ids, Naming::Topic)
    }

    /// The frame of a message for one subscriber alone, whose topics may be named by aliases.
    pub(super) fn named(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        kind: Kind,
        ids: &[u32],
        naming: Naming,
    ) -> Slot {
        match naming {
            Naming::Topic => self.of(now, publication, kind, ids),
            _ => self.encode_for(now, publication, kind, ids, naming),
        }
    }

    #[inline(never)]
    fn encode_for(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        kind: Kind,
        ids: &[u32],
        naming: Naming,
    ) -> Slot {
        let shared = ids.is_empty() && naming == Naming::Topic;
        if publication.payload.len() >= SHARE_FROM_BYTES && self.payload.is_none() {
            self.payload = Some(publication.payload_bytes());
        }
        self.buffer.truncate(if shared { self.buffer.len() } else { self.kept });
        let (topic, topic_alias) = on_the_wire(publication.topic.as_str(), naming);
        let head = PublishHead {
            dup: false,
            qos: kind.qos,
            retain: kind.retain,
            topic,
            packet_id: (kind.qos != QoS::AtMostOnce).then_some(PacketId::MAX),
            forward: publication.properties,
            message_expiry: publication.delivery.expiry_left_s(now),
            topic_alias,
            subscription_ids: ids,
            payload_len: publication.payload.len(),
        };
        let slot = self.put(&head, kind.version, publication.payload);
        if shared {
            self.slots[kind.index()] = slot;
            self.filled |= 1 << kind.index();
            self.kept = slot.end;
        }
        slot
    }

    /// Encodes a message that waited.
    pub(super) fn queued(
        &mut self,
        now: Now,
        queued: &Queued,
        version: Version,
        dup: bool,
        naming: Naming,
    ) -> Slot {
        self.clear();
        let message = &queued.message;
        if message.payload().len() >= SHARE_FROM_BYTES {
            self.payload = Some(message.payload_bytes());
        }
        let (topic, topic_alias) = on_the_wire(message.topic(), naming);
        let head = PublishHead {
            dup,
            qos: queued.qos,
            retain: queued.retain,
            topic,
            packet_id: (queued.qos != QoS::AtMostOnce).then_some(PacketId::MAX),
            forward: message.properties(),
            message_expiry: message.delivery.expiry_left_s(now),
            topic_alias,
            subscription_ids: queued.ids.as_deref().unwrap_or_default(),
            payload_len: message.payload().len(),
        };
        self.put(&head, version, message.payload())
    }

    fn put(&mut self, head: &PublishHead<'_>, version: Version, payload: &[u8]) -> Slot {
        let start = self.buffer.len();
        let packet_id_at = head.encode(version, &mut self.buffer).map_or(0, |offset| start + offset);
        if self.payload.is_none() {
            self.buffer.extend_from_slice(payload);
        }
        let end = self.buffer.len();
        let referenced = self.payload.as_ref().map_or(0, Bytes::len);
        Slot { start, end, packet_id_at, len: end - start + referenced }
    }

    /// Offers a frame to a client.
    #[inline]
    pub(super) fn offer(&self, slot: Slot, conn: ConnKey, fx: &mut impl Effects) -> bool {
        let frame = &self.buffer[slot.start..slot.end];
        match &self.payload {
            None => fx.offer(conn, frame),
            Some(payload) => fx.offer_shared(conn, frame, payload),
        }
    }

    /// Offers a frame to a client under its own packet id.
    #[inline]
    pub(super) fn offer_as(
        &mut self,
        slot: Slot,
        id: PacketId,
        conn: ConnKey,
        fx: &mut impl Effects,
    ) -> bool {
        self.buffer[slot.packet_id_at..slot.packet_id_at + 2].copy_from_slice(&id.get().to_be_bytes());
        self.offer(slot, conn, fx)
    }
}

/// The frame of a message to `topic`, named as briefly as the client's aliases allow, and how it is named. An alias is
/// introduced only where there is room for both in the largest packet that the client takes. [MQTT-3.1.2-25]
pub(super) fn fitting(link: &Link, topic: &str, mut frame: impl FnMut(Naming) -> Slot) -> (Slot, Naming) {
    let naming = link.name(topic);
    let slot = frame(naming);
    if slot.len > link.packet_bytes_max as usize && matches!(naming, Naming::Assign(_)) {
        return (frame(Naming::Topic), Naming::Topic);
    }
    (slot, naming)
}

/// The topic and the alias that a message carries.
fn on_the_wire(topic: &str, naming: Naming) -> (&str, Option<NonZeroU16>) {
    match naming {
        Naming::Topic => (topic, None),
        Naming::Alias(alias) => ("", Some(alias)),
        Naming::Assign(alias) => (topic, Some(alias)),
    }
}
