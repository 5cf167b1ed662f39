//! PUBACK, PUBREC, PUBREL and PUBCOMP in both directions. [MQTT 3.4 to 3.7, 4.3]

use super::durable::{Asking, Waiter, size_of_entry};
use super::publish::Outcome;
use super::{Effects, Engine, PersistOp, Place};
use crate::codec::{Ack, Packet, ReasonCode, Version};
use crate::session::{AckKind, Awaiting, Owed, Session, Settled, Stored, Violation};
use crate::types::{ConnKey, Now, PacketId, SessionKey, ShardId};

impl Engine {
    /// Holds a client to the Receive Maximum that it was told before one more message of it is taken. [MQTT-3.3.4-7]
    /// Older clients were told nothing and are bounded by their 65,535 packet ids alone.
    pub(super) fn admit(&self, key: SessionKey) -> Result<(), Violation> {
        let Some(session) = self.sessions.get(key) else { return Ok(()) };
        let Some(link) = session.link() else { return Ok(()) };
        let bound = if link.version.is_v5() { self.setup.limits.receive_max } else { u16::MAX };
        let unacknowledged = session.unreleased.len() + link.acks.pubacks();
        if unacknowledged < usize::from(bound) { Ok(()) } else { Err(Violation::ReceiveMaximum) }
    }

    /// Acknowledges a PUBLISH: now, or when what the acknowledgement promises is true and all earlier ones have left.
    pub(super) fn acknowledge(
        &mut self,
        key: SessionKey,
        packet_id: PacketId,
        kind: AckKind,
        outcome: Outcome,
        fx: &mut impl Effects,
    ) {
        let Some(link) = self.sessions.get_mut(key).and_then(Session::link_mut) else { return };
        let owed = Owed { packet_id, kind, reason: outcome.reason };
        let (conn, number) = (link.conn, link.acks.next_number());
        let mut missing = u8::from(self.durable.wait_for(outcome.asking, Waiter::Ack(conn, number)));
        missing += u8::from(self.durable.wait_for(Asking::By(outcome.retained), Waiter::Ack(conn, number)));
        if let Some((keeper, stored)) = outcome.retained_by {
            missing += u8::from(self.retention.wait(keeper, stored, Waiter::Ack(conn, number)));
        }
        if link.acks.is_empty() && missing == 0 {
            self.send_owed(key, owed, fx);
        } else {
            link.acks.push(owed, missing);
        }
    }

    /// A core had no room for one of our retained messages: what acknowledges it, and waits, says so. [MQTT 3.4.2.1]
    pub(super) fn retained_refused(&mut self, keeper: ShardId, number: u64) {
        for (conn, ack) in self.retention.waiting_for(keeper, number) {
            self.amend(conn, ack);
        }
    }

    fn amend(&mut self, conn: ConnKey, ack: u64) {
        let Some(session) = self.session_of(conn).and_then(|key| self.sessions.get_mut(key)) else { return };
        let stored = session.stored;
        let Some(link) = session.link_mut() else { return };
        let Some(owed) = link.acks.amend(ack, ReasonCode::QuotaExceeded) else { return };
        if owed.kind != AckKind::PubRec {
            return;
        }
        let id = owed.packet_id;
        // The store has the id, with the message that others got: it has to forget it before the client uses it again.
        if let Some(stored) = stored {
            link.acks.wait_more(ack);
            let request = self.durable.ask(PersistOp::Released { session: stored, id });
            self.durable.wait(request, Waiter::Ack(conn, ack));
        }
        session.unreleased.released(id);
    }

    /// A core has stored so many of our retained messages: acknowledgements that waited for them may leave.
    pub(super) fn retained_stored(
        &mut self,
        keeper: ShardId,
        number: u64,
        durable: u64,
        fx: &mut impl Effects,
    ) {
        self.retention.stored(keeper, number, durable);
        while let Some(waiter) = self.retention.next_ready(keeper) {
            self.waited(waiter, fx);
        }
    }

    /// One of the things that an acknowledgement waits for is true.
    pub(super) fn complete(&mut self, conn: ConnKey, ack: u64, fx: &mut impl Effects) {
        let Some(key) = self.session_of(conn) else { return };
        if let Some(link) = self.sessions.get_mut(key).and_then(Session::link_mut) {
            link.acks.complete(ack);
        }
        while let Some(owed) =
            self.sessions.get_mut(key).and_then(Session::link_mut).and_then(|link| link.acks.pop())
        {
            self.send_owed(key, owed, fx);
        }
    }

    fn send_owed(&mut self, key: SessionKey, owed: Owed<ReasonCode>, fx: &mut impl Effects) {
        let make = match owed.kind {
            AckKind::PubAck => Packet::PubAck,
            AckKind::PubRec => Packet::PubRec,
            AckKind::PubComp => Packet::PubComp,
        };
        self.respond_ack(key, make, owed.packet_id, owed.reason, fx);
    }

    pub(super) fn on_puback(&mut self, now: Now, key: SessionKey, ack: Ack<'_>, fx: &mut impl Effects) {
        self.settled(now, key, ack.packet_id, Awaiting::PubAck, fx);
    }

    pub(super) fn on_pubcomp(&mut self, now: Now, key: SessionKey, ack: Ack<'_>, fx: &mut impl Effects) {
        self.settled(now, key, ack.packet_id, Awaiting::PubComp, fx);
    }

    fn settled(&mut self, now: Now, key: SessionKey, id: PacketId, by: Awaiting, fx: &mut impl Effects) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(Settled { seq, kept }) = session.outbound.acknowledged(id, by) else { return };
        if let Some(session) = session.stored {
            match kept {
                Some(kept) => self.durable.done(session, &kept, fx),
                None => self.durable.leave(Place { session, seq, size: 0 }),
            }
        }
        self.pump_if_waiting(now, key, fx);
    }

    pub(super) fn on_pubrec(&mut self, now: Now, key: SessionKey, ack: Ack<'_>, fx: &mut impl Effects) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if ack.reason.is_error() {
            // The client does not want the message; that is the end of it. [MQTT 4.3.3]
            return self.settled(now, key, ack.packet_id, Awaiting::PubRec, fx);
        }
        let id = ack.packet_id;
        let Some(Settled { seq, kept }) = session.outbound.received(id) else {
            return self.respond_ack(key, Packet::PubRel, id, ReasonCode::PacketIdentifierNotFound, fx);
        };
        // Once PUBREL has left, the message must never be sent again, whatever happens.
        if let (Some(stored), Some(kept), Some(link)) = (session.stored, &kept, session.link())
            && kept.stored != Stored::Never
        {
            let place = Place { session: stored, seq, size: size_of_entry(kept) };
            let (conn, request) = (link.conn, self.durable.ask(PersistOp::Received(place)));
            session.outbound.release_after(id, request);
            self.durable.wait(request, Waiter::PubRel(conn, id));
        } else if self.durable.has(session.outbound.releases_after(id)) {
            self.respond_ack(key, Packet::PubRel, id, ReasonCode::Success, fx);
        }
    }

    /// The store knows that a client has received a message.
    pub(super) fn release(&mut self, conn: ConnKey, id: PacketId, fx: &mut impl Effects) {
        let Some(key) = self.session_of(conn) else { return };
        let awaiting = self.sessions.get(key).and_then(|session| session.outbound.awaiting(id));
        if awaiting == Some(Awaiting::PubComp) {
            self.respond_ack(key, Packet::PubRel, id, ReasonCode::Success, fx);
        }
    }

    pub(super) fn on_pubrel(&mut self, key: SessionKey, ack: Ack<'_>, fx: &mut impl Effects) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let id = ack.packet_id;
        let known = session.unreleased.released(id);
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        let Some(session) = session.stored else {
            return self.respond_ack(key, Packet::PubComp, id, reason, fx);
        };
        // The store has to know before the client does: else a message that takes this id next might be taken for the old
        // one. An id that is not known any more may have been released on an earlier connection, a moment ago.
        let request =
            if known { self.durable.ask(PersistOp::Released { session, id }) } else { self.durable.last() };
        let asking = Asking::By(request);
        let outcome = Outcome { asking, ..Outcome::at_once(reason) };
        self.acknowledge(key, id, AckKind::PubComp, outcome, fx);
    }

    /// Whether a session's client speaks 5.0.
    pub(super) fn version_of(&self, key: SessionKey) -> Option<Version> {
        self.sessions.get(key)?.link().map(|link| link.version)
    }
}
