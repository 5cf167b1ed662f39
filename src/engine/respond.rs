//! What the broker says to a client besides messages, with the reason for those who want to hear it.

use super::{Effects, Engine};
use crate::codec::{Ack, Packet, PropertiesBuf, Property, ReasonCode};
use crate::session::Session;
use crate::types::{ConnKey, PacketId, SessionKey};

impl Engine {
    /// Sends a packet that says all that there is to say.
    pub(super) fn respond(&mut self, key: SessionKey, packet: Packet<'_>, fx: &mut impl Effects) {
        self.respond_because(key, packet, "", fx);
    }

    /// Sends a packet with the reason for it, in words. An empty reason is none.
    pub(super) fn respond_because(
        &mut self,
        key: SessionKey,
        packet: Packet<'_>,
        why: &str,
        fx: &mut impl Effects,
    ) {
        if let Some(conn) = self.put_response(key, packet, why) {
            fx.send(conn, &self.response);
        }
    }

    /// Acknowledges a packet id, in words where that went wrong.
    pub(super) fn respond_ack(
        &mut self,
        key: SessionKey,
        make: impl FnOnce(Ack<'static>) -> Packet<'static>,
        id: PacketId,
        reason: ReasonCode,
        fx: &mut impl Effects,
    ) {
        self.respond_because(key, make(Ack::new(id, reason)), in_words(reason), fx);
    }

    /// Puts a packet together in `response`; the connection to send it on. The reason is left out for a client that asked
    /// for none, or that takes no packet of that size; what is too large without it as well is not sent at all.
    /// [MQTT-3.1.2-25], [MQTT-3.1.2-29], [MQTT-3.4.2-2] and its like
    pub(super) fn put_response(&mut self, key: SessionKey, packet: Packet<'_>, why: &str) -> Option<ConnKey> {
        let link = self.sessions.get(key).and_then(Session::link)?;
        let fits = |len| len <= link.packet_bytes_max as usize;
        if !why.is_empty() && link.wants_reasons() {
            let mut explained = PropertiesBuf::from(packet.properties());
            explained.push(Property::ReasonString(why));
            self.response.clear();
            packet.with_properties(explained.as_properties()).encode(link.version, &mut self.response);
            if fits(self.response.len()) {
                return Some(link.conn);
            }
        }
        self.response.clear();
        packet.encode(link.version, &mut self.response);
        if fits(self.response.len()) {
            return Some(link.conn);
        }
        self.counters.dropped.too_large += 1;
        None
    }
}

/// Why a message, or an acknowledgement, is answered with this code.
const fn in_words(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::NotAuthorized => {
            "this client may not publish to this topic; those below $SYS are the broker's own"
        }
        ReasonCode::QuotaExceeded => {
            "no room for it in the queues that it was for, or among the retained messages"
        }
        ReasonCode::PacketIdentifierNotFound => "no message waits for this packet identifier",
        _ => "",
    }
}
