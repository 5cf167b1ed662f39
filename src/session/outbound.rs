//! QoS 1 and 2 messages on their way to one client: what was sent and is not acknowledged yet. [MQTT 4.3, 4.4, 4.6]

use super::PacketIds;
use super::queue::Queued;
use crate::types::{PacketId, QoS};
use std::collections::VecDeque;

/// What the client still owes for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaiting {
    /// PUBACK, for QoS 1.
    PubAck,
    /// PUBREC, for QoS 2.
    PubRec,
    /// PUBCOMP: the client has the message, PUBREL was sent.
    PubComp,
}

#[derive(Debug)]
struct Sent {
    awaiting: Awaiting,
    /// Whether it takes one of the client's Receive Maximum on this connection.
    counted: bool,
    /// Order of first sending, for the order of sending again. [MQTT-4.6.0-1]
    order: u64,
    /// What to send again after a reconnect, or to have another member of a group deliver; `None` where the session ends
    /// with its connection and nobody else is to get it.
    kept: Option<Queued>,
}

/// A step of resuming a session.
#[derive(Debug)]
pub enum Resend<'a> {
    /// Send the message again, with DUP.
    Publish(PacketId, &'a Queued),
    /// Send PUBREL again.
    PubRel(PacketId),
}

/// The window of unacknowledged messages. Lookups by packet id take constant time.
///
/// Invariant: `in_flight` is the number of entries with `counted` set, and at most `receive_maximum`.
#[derive(Debug, Default)]
pub struct Outbound {
    ids: PacketIds,
    /// By packet id minus 1.
    sent: Vec<Option<Sent>>,
    next_order: u64,
    in_flight: u16,
    receive_maximum: u16,
    /// What is to be sent again on this connection, in order; ends where new messages may go out.
    resend: VecDeque<PacketId>,
}

impl Outbound {
    /// Begins a connection whose client takes `receive_maximum` unacknowledged messages: everything that is in flight
    /// is to be sent again, in its order, before anything new. [MQTT-4.4.0-1], [MQTT-4.6.0-1]
    pub fn resume(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
        self.in_flight = 0;
        let mut order = Vec::with_capacity(self.ids.in_use());
        for (id, entry) in (1..).zip(&mut self.sent) {
            if let (Some(sent), Some(id)) = (entry, PacketId::new(id)) {
                sent.counted = false;
                order.push((sent.order, id));
            }
        }
        order.sort_unstable();
        self.resend = order.into_iter().map(|(_, id)| id).collect();
    }

    /// Whether a new message may be sent now. [MQTT-3.3.4-9]
    pub fn ready(&self) -> bool {
        self.in_flight < self.receive_maximum && self.resend.is_empty()
    }

    /// Takes a place in the window; `None` when the client's Receive Maximum is used up or a resend comes first.
    /// `kept` is what to send again after a reconnect, if the session outlives its connection.
    pub fn take(&mut self, qos: QoS, kept: impl FnOnce() -> Option<Queued>) -> Option<PacketId> {
        if !self.ready() {
            return None;
        }
        let id = self.ids.take()?;
        let index = usize::from(id.get()) - 1;
        if index >= self.sent.len() {
            self.sent.resize_with(index + 1, || None);
        }
        let awaiting = if qos == QoS::ExactlyOnce { Awaiting::PubRec } else { Awaiting::PubAck };
        self.sent[index] = Some(Sent { awaiting, counted: true, order: self.next_order, kept: kept() });
        self.next_order += 1;
        self.in_flight += 1;
        Some(id)
    }

    /// Takes a place back whose message did not go out.
    pub fn cancel(&mut self, id: PacketId) {
        if let Some(Some(_)) = self.sent.get_mut(usize::from(id.get()) - 1).map(Option::take) {
            self.in_flight -= 1;
            self.ids.give_back(id);
        }
    }

    /// Whether something is to be sent again.
    pub fn resending(&self) -> bool {
        !self.resend.is_empty()
    }

    /// The next thing to send again, unless the Receive Maximum is used up. [`Outbound::resent`] moves on.
    pub fn next_resend(&mut self) -> Option<Resend<'_>> {
        while let Some(&id) = self.resend.front() {
            match &self.sent[usize::from(id.get()) - 1] {
                Some(Sent { awaiting: Awaiting::PubComp, .. }) => return Some(Resend::PubRel(id)),
                Some(Sent { kept: Some(_), .. }) if self.in_flight >= self.receive_maximum => return None,
                // Looked up again below: the borrow checker does not let this branch return what it matched.
                Some(Sent { kept: Some(_), .. }) => break,
                // Acknowledged since, or nothing was kept.
                _ => drop(self.resend.pop_front()),
            }
        }
        let id = *self.resend.front()?;
        let kept = self.sent[usize::from(id.get()) - 1].as_ref()?.kept.as_ref()?;
        Some(Resend::Publish(id, kept))
    }

    /// The message that [`Outbound::next_resend`] named is given up. The client may have got it before: with QoS 2 it is
    /// asked by PUBREL to let go of the packet id, which would else make it take the next message for this one.
    pub fn cancel_resend(&mut self) {
        let Some(&id) = self.resend.front() else { return };
        match &mut self.sent[usize::from(id.get()) - 1] {
            Some(sent) if sent.awaiting == Awaiting::PubRec => {
                sent.awaiting = Awaiting::PubComp;
                sent.kept = None;
            }
            entry => {
                *entry = None;
                self.resend.pop_front();
                self.ids.give_back(id);
            }
        }
    }

    /// The thing that [`Outbound::next_resend`] named went out.
    pub fn resent(&mut self) {
        if let Some(id) = self.resend.pop_front()
            && let Some(sent) = &mut self.sent[usize::from(id.get()) - 1]
            && sent.awaiting != Awaiting::PubComp
            && !sent.counted
        {
            sent.counted = true;
            self.in_flight += 1;
        }
    }

    /// What the client owes for this packet id.
    pub fn awaiting(&self, id: PacketId) -> Option<Awaiting> {
        self.sent.get(usize::from(id.get()) - 1)?.as_ref().map(|sent| sent.awaiting)
    }

    /// PUBREC came: the message is the client's, its content is let go, PUBCOMP is owed. False for an id that did not wait
    /// for it; a repeated PUBREC is answered by PUBREL again.
    pub fn received(&mut self, id: PacketId) -> bool {
        match self.sent.get_mut(usize::from(id.get()) - 1) {
            Some(Some(sent)) if sent.awaiting != Awaiting::PubAck => {
                sent.awaiting = Awaiting::PubComp;
                sent.kept = None;
                true
            }
            _ => false,
        }
    }

    /// Frees the packet id when the client owed what just came. False for an id that did not wait for it.
    pub fn acknowledged(&mut self, id: PacketId, by: Awaiting) -> bool {
        let Some(entry) = self.sent.get_mut(usize::from(id.get()) - 1) else { return false };
        if !entry.as_ref().is_some_and(|sent| sent.awaiting == by) {
            return false;
        }
        if entry.take().is_some_and(|sent| sent.counted) {
            self.in_flight -= 1;
        }
        self.ids.give_back(id);
        true
    }

    /// Takes out what another member of its group may still deliver, in the order of sending: QoS 1 messages that the client
    /// has not acknowledged. One of QoS 2 may be with the client already and goes to nobody else. [MQTT-4.8.2-5]
    pub fn take_shared(&mut self) -> Vec<Queued> {
        let shared = |sent: &Sent| {
            sent.awaiting == Awaiting::PubAck && sent.kept.as_ref().is_some_and(|kept| kept.share.is_some())
        };
        let mut taken: Vec<_> = self
            .sent
            .iter_mut()
            .flatten()
            .filter(|sent| shared(sent))
            .filter_map(|sent| Some((sent.order, sent.kept.take()?)))
            .collect();
        taken.sort_unstable_by_key(|(order, _)| *order);
        taken.into_iter().map(|(_, kept)| kept).collect()
    }

    /// Messages sent and not acknowledged.
    pub fn len(&self) -> usize {
        self.ids.in_use()
    }

    /// Whether everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Delivery, Message, Now};
    use std::sync::Arc;

    fn message(topic: &str, qos: QoS) -> Queued {
        let delivery = Delivery { qos, retain: false, received: Now(0), expiry: None };
        Queued {
            message: Arc::new(Message::new(topic, &[], b"", delivery)),
            qos,
            retain: false,
            ids: None,
            share: None,
        }
    }

    fn send(out: &mut Outbound, topic: &str, qos: QoS) -> PacketId {
        out.take(qos, || Some(message(topic, qos))).expect("a place in the window")
    }

    fn resends(out: &mut Outbound) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(step) = out.next_resend() {
            all.push(match step {
                Resend::Publish(_, queued) => queued.message.topic().to_owned(),
                Resend::PubRel(_) => "pubrel".to_owned(),
            });
            out.resent();
        }
        all
    }

    #[test]
    fn the_receive_maximum_bounds_the_window_mqtt_3_3_4_9() {
        let mut out = Outbound::default();
        out.resume(2);
        let first = send(&mut out, "a", QoS::AtLeastOnce);
        send(&mut out, "b", QoS::ExactlyOnce);
        assert_eq!(out.take(QoS::AtLeastOnce, || None), None);
        assert!(out.acknowledged(first, Awaiting::PubAck));
        assert!(!out.acknowledged(first, Awaiting::PubAck), "once");
        assert!(out.ready());
    }

    #[test]
    fn pubrec_keeps_its_place_until_pubcomp() {
        let mut out = Outbound::default();
        out.resume(1);
        let id = send(&mut out, "a", QoS::ExactlyOnce);
        assert!(!out.acknowledged(id, Awaiting::PubAck) && !out.acknowledged(id, Awaiting::PubComp));
        assert!(out.received(id) && out.received(id), "a repeated PUBREC is answered again");
        assert!(!out.ready());
        assert!(out.acknowledged(id, Awaiting::PubComp));
        assert!(out.ready() && out.is_empty());
    }

    #[test]
    fn a_resumed_session_sends_again_in_the_first_order_mqtt_4_6_0_1() {
        let mut out = Outbound::default();
        out.resume(100);
        // Identifiers rest and return, so that their numbers do not give the order away.
        let early: Vec<_> = (0..40).map(|_| send(&mut out, "early", QoS::AtLeastOnce)).collect();
        early.into_iter().for_each(|id| assert!(out.acknowledged(id, Awaiting::PubAck)));
        send(&mut out, "1", QoS::AtLeastOnce);
        let second = send(&mut out, "2", QoS::ExactlyOnce);
        send(&mut out, "3", QoS::ExactlyOnce);
        assert!(out.received(second));
        out.resume(100);
        assert!(!out.ready(), "new messages wait");
        assert_eq!(resends(&mut out), ["1", "pubrel", "3"]);
        assert!(out.ready());
    }

    #[test]
    fn a_packet_id_that_the_client_may_hold_is_released_before_it_is_used_again() {
        let mut out = Outbound::default();
        out.resume(10);
        send(&mut out, "too large by now", QoS::AtLeastOnce);
        let held = send(&mut out, "too large by now, and perhaps received", QoS::ExactlyOnce);
        out.resume(10);
        out.next_resend();
        out.cancel_resend();
        out.next_resend();
        out.cancel_resend();
        assert_eq!((resends(&mut out), out.len()), (vec!["pubrel".to_owned()], 1));
        assert!(out.acknowledged(held, Awaiting::PubComp) && out.is_empty());
    }

    #[test]
    fn resending_honours_a_smaller_receive_maximum() {
        let mut out = Outbound::default();
        out.resume(10);
        let ids: Vec<_> = (0..3).map(|n| send(&mut out, &n.to_string(), QoS::AtLeastOnce)).collect();
        out.resume(1);
        assert_eq!(resends(&mut out), ["0"]);
        assert!(out.acknowledged(ids[0], Awaiting::PubAck));
        assert_eq!(resends(&mut out), ["1"]);
        assert!(out.acknowledged(ids[2], Awaiting::PubAck), "an old acknowledgement may still come");
        assert!(out.acknowledged(ids[1], Awaiting::PubAck));
        assert!(resends(&mut out).is_empty() && out.ready() && out.is_empty());
    }
}
