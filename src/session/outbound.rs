//! QoS 1 and 2 messages on their way to one client: what was sent and is not acknowledged yet. [MQTT 4.3, 4.4, 4.6]
//!
//! Every message that a client is owed has a number of its session's, ascending in the order of sending. Its packet id is
//! made of the number: whoever finds the message again after a crash sends it under the id that the client knows it by,
//! and no id is used anew before all others were. Numbers whose id is in use are passed over.

use super::queue::Queued;
use crate::types::PacketId;
use crate::types::limits::INFLIGHT_MAX;
use std::collections::VecDeque;

/// How many packet ids there are.
const IDS: u64 = INFLIGHT_MAX as u64;

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
    seq: u64,
    /// `None` once it owes nothing: the entry goes when those before it do.
    awaiting: Option<Awaiting>,
    /// Whether it takes one of the client's Receive Maximum on this connection.
    counted: bool,
    /// PUBREL may go out once the store has kept this request of its core.
    release_after: u64,
    /// What to send again after a reconnect, or to have another member of a group deliver; `None` where the session ends
    /// with its connection and nobody else is to get it.
    kept: Option<Queued>,
}

/// A step of resuming a session.
#[derive(Debug)]
pub enum Resend<'a> {
    /// Send the message again, with DUP.
    Publish(PacketId, &'a Queued),
    /// Send PUBREL again, once the store has kept the request of this number.
    PubRel(PacketId, u64),
}

/// What an acknowledgement settled.
#[derive(Debug)]
pub struct Settled {
    /// The message's number.
    pub seq: u64,
    /// The message, if it was kept and not let go before.
    pub kept: Option<Queued>,
}

/// The window of unacknowledged messages.
///
/// Invariant: `sent` is in ascending order of numbers, no two of them with one packet id, and begins and ends with one
/// that owes something.
/// Invariant: `in_flight` is the number of entries with `counted` set, and at most `receive_maximum`.
#[derive(Debug, Default)]
pub struct Outbound {
    sent: VecDeque<Sent>,
    /// How many of them owe something.
    owing: usize,
    in_flight: u16,
    receive_maximum: u16,
    /// What has numbers in this range is to be sent again on this connection, before anything new.
    resend: std::ops::Range<u64>,
}

impl Outbound {
    /// Begins a connection whose client takes `receive_maximum` unacknowledged messages: everything that is in flight
    /// is to be sent again, in its order, before anything new. [MQTT-4.4.0-1], [MQTT-4.6.0-1]
    pub fn resume(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
        self.in_flight = 0;
        for sent in &mut self.sent {
            sent.counted = false;
        }
        self.resend = 0..self.sent.back().map_or(0, |last| last.seq + 1);
    }

    /// Whether a new message may be sent now. [MQTT-3.3.4-9]
    pub fn ready(&self) -> bool {
        self.in_flight < self.receive_maximum && self.resend.is_empty()
    }

    /// Takes a place in the window for the message of this number; `None` when the client's Receive Maximum is used up, a
    /// resend comes first, or the packet id is in use. `kept` is what to send again after a reconnect, if the session
    /// outlives its connection.
    pub fn take(
        &mut self,
        seq: u64,
        exactly_once: bool,
        kept: impl FnOnce() -> Option<Queued>,
    ) -> Option<PacketId> {
        if !self.ready() || self.is_taken(seq) {
            return None;
        }
        let awaiting = Some(if exactly_once { Awaiting::PubRec } else { Awaiting::PubAck });
        let sent = Sent { seq, awaiting, counted: true, release_after: 0, kept: kept() };
        if self.sent.back().is_none_or(|last| last.seq < seq) {
            self.sent.push_back(sent);
        } else {
            // What the store brings back may lie before what is being released.
            let at = self.sent.partition_point(|known| known.seq < seq);
            self.sent.insert(at, sent);
        }
        self.owing += 1;
        self.in_flight += 1;
        Some(packet_id(seq))
    }

    /// Takes back the place of a message that did not go out.
    pub fn cancel(&mut self, id: PacketId) {
        self.settle(id, |_| true);
    }

    /// Puts a message of an earlier run of the broker back of which the client has to be asked for PUBCOMP.
    pub fn restore_received(&mut self, seq: u64) {
        let awaiting = Some(Awaiting::PubComp);
        self.sent.push_back(Sent { seq, awaiting, counted: false, release_after: 0, kept: None });
        self.owing += 1;
    }

    /// The message of this number will not be sent, but may have been in an earlier run of the broker: the client is asked
    /// for PUBCOMP, by a PUBREL that waits until the store has kept a request, lest it take the next message of that packet
    /// id for this one. `None` when the packet id is in use.
    pub fn withdraw(&mut self, seq: u64, request: u64) -> Option<PacketId> {
        if self.is_taken(seq) {
            return None;
        }
        let at = self.sent.partition_point(|known| known.seq < seq);
        let awaiting = Some(Awaiting::PubComp);
        self.sent.insert(at, Sent { seq, awaiting, counted: false, release_after: request, kept: None });
        self.owing += 1;
        Some(packet_id(seq))
    }

    /// Whether something is to be sent again.
    pub fn resending(&self) -> bool {
        !self.resend.is_empty()
    }

    /// The next thing to send again, unless the Receive Maximum is used up. [`Outbound::resent`] moves on.
    pub fn next_resend(&mut self) -> Option<Resend<'_>> {
        let mut at = self.sent.partition_point(|sent| sent.seq < self.resend.start);
        // Acknowledged since, or nothing was kept.
        while self.sent.get(at).is_some_and(|s| {
            s.awaiting.is_none() || s.awaiting != Some(Awaiting::PubComp) && s.kept.is_none()
        }) {
            at += 1;
        }
        let Some(sent) = self.sent.get(at).filter(|sent| sent.seq < self.resend.end) else {
            self.resend = 0..0;
            return None;
        };
        self.resend.start = sent.seq;
        let id = packet_id(sent.seq);
        match &sent.kept {
            Some(_) if self.in_flight >= self.receive_maximum => None,
            Some(kept) => Some(Resend::Publish(id, kept)),
            None => Some(Resend::PubRel(id, sent.release_after)),
        }
    }

    /// The message that [`Outbound::next_resend`] named is given up; returns it. The client may have got it before: with
    /// QoS 2 it is asked by PUBREL to let go of the packet id, which would else make it take the next message for this one.
    pub fn cancel_resend(&mut self) -> Option<Settled> {
        let at = self.sent.partition_point(|sent| sent.seq < self.resend.start);
        let sent = self.sent.get_mut(at)?;
        let (seq, kept) = (sent.seq, sent.kept.take());
        if sent.awaiting == Some(Awaiting::PubRec) {
            sent.awaiting = Some(Awaiting::PubComp);
        } else {
            self.resend.start += 1;
            self.forget(at);
        }
        Some(Settled { seq, kept })
    }

    /// The thing that [`Outbound::next_resend`] named went out.
    pub fn resent(&mut self) {
        let at = self.sent.partition_point(|sent| sent.seq < self.resend.start);
        self.resend.start += 1;
        if let Some(sent) = self.sent.get_mut(at)
            && sent.awaiting != Some(Awaiting::PubComp)
            && !sent.counted
        {
            sent.counted = true;
            self.in_flight += 1;
        }
    }

    /// What the client owes for this packet id.
    pub fn awaiting(&self, id: PacketId) -> Option<Awaiting> {
        self.sent[self.find(id)?].awaiting
    }

    /// PUBREC came: the message is the client's, its content is let go, PUBCOMP is owed. `None` for an id that did not wait
    /// for it; a repeated PUBREC is answered by PUBREL again, and has let go of nothing.
    pub fn received(&mut self, id: PacketId) -> Option<Settled> {
        let at = self.find(id)?;
        let sent = &mut self.sent[at];
        if sent.awaiting == Some(Awaiting::PubAck) {
            return None;
        }
        sent.awaiting = Some(Awaiting::PubComp);
        Some(Settled { seq: sent.seq, kept: sent.kept.take() })
    }

    /// PUBREL for this packet id waits until the store has kept a request.
    pub fn release_after(&mut self, id: PacketId, request: u64) {
        if let Some(at) = self.find(id) {
            self.sent[at].release_after = request;
        }
    }

    /// The request that PUBREL for this packet id waits for.
    pub fn releases_after(&self, id: PacketId) -> u64 {
        self.find(id).map_or(0, |at| self.sent[at].release_after)
    }

    /// Frees the packet id when the client owed what just came. `None` for an id that did not wait for it.
    pub fn acknowledged(&mut self, id: PacketId, by: Awaiting) -> Option<Settled> {
        self.settle(id, |awaiting| awaiting == by)
    }

    fn settle(&mut self, id: PacketId, fits: impl FnOnce(Awaiting) -> bool) -> Option<Settled> {
        let at = self.find(id)?;
        let sent = &mut self.sent[at];
        sent.awaiting.filter(|&awaiting| fits(awaiting))?;
        let settled = Settled { seq: sent.seq, kept: sent.kept.take() };
        self.forget(at);
        Some(settled)
    }

    /// Whether the packet id of a number is in use.
    pub fn is_taken(&self, seq: u64) -> bool {
        let (Some(first), Some(last)) = (self.sent.front(), self.sent.back()) else { return false };
        // Nearly always all numbers are close together.
        let close = seq > last.seq && seq < first.seq + IDS;
        !close && self.find(packet_id(seq)).is_some()
    }

    /// Where the entry of a packet id is that owes something.
    fn find(&self, id: PacketId) -> Option<usize> {
        let (first, last) = (self.sent.front()?.seq, self.sent.back()?.seq);
        let back = (last % IDS + IDS - (u64::from(id.get()) - 1)) % IDS;
        let owes = |at: &usize| self.sent.get(*at).is_some_and(|sent| sent.awaiting.is_some());
        let recent = last.checked_sub(back).filter(|&seq| seq >= first).and_then(|seq| {
            let dense = usize::try_from(seq - first).ok()?;
            match self.sent.get(dense) {
                Some(sent) if sent.seq == seq => Some(dense),
                _ => self.sent.binary_search_by_key(&seq, |sent| sent.seq).ok(),
            }
        });
        recent.filter(owes).or_else(|| {
            // What a client has left unacknowledged for longer than it takes to use all other ids.
            let old = self.sent.partition_point(|sent| sent.seq + IDS <= last);
            (0..old).filter(owes).find(|&at| packet_id(self.sent[at].seq) == id)
        })
    }

    /// Frees an entry that owes something.
    fn forget(&mut self, at: usize) {
        let sent = &mut self.sent[at];
        self.in_flight -= u16::from(sent.counted);
        (sent.awaiting, sent.counted, sent.kept) = (None, false, None);
        self.owing -= 1;
        while self.sent.pop_front_if(|sent| sent.awaiting.is_none()).is_some() {}
        // What did not go out after all is taken again under its number.
        while self.sent.pop_back_if(|sent| sent.awaiting.is_none()).is_some() {}
        // A client that never acknowledges one message does not make those pile up that it does.
        if self.sent.len() > 2 * self.owing + 64 {
            self.sent.retain(|sent| sent.awaiting.is_some());
        }
    }

    /// Takes out what another member of its group may still deliver, in the order of sending: QoS 1 messages that the client
    /// has not acknowledged. One of QoS 2 may be with the client already and goes to nobody else. [MQTT-4.8.2-5]
    pub fn take_shared(&mut self) -> Vec<Queued> {
        let sent = self.sent.iter_mut().filter(|sent| {
            sent.awaiting == Some(Awaiting::PubAck)
                && sent.kept.as_ref().is_some_and(|kept| kept.share.is_some())
        });
        sent.filter_map(|sent| sent.kept.take()).collect()
    }

    /// Messages that are kept to be sent again.
    pub fn kept(&self) -> impl Iterator<Item = &Queued> {
        self.sent.iter().filter_map(|sent| sent.kept.as_ref())
    }

    /// Messages sent and not acknowledged.
    pub fn len(&self) -> usize {
        self.owing
    }

    /// Whether everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.owing == 0
    }
}

/// The packet id of the message of this number.
fn packet_id(seq: u64) -> PacketId {
    let id = u16::try_from(seq % IDS).unwrap_or(0);
    PacketId::MIN.saturating_add(id)
}

#[cfg(test)]
mod tests {
    use super::super::Stored;
    use super::*;
    use crate::types::{Delivery, Message, Now, QoS};
    use std::sync::Arc;

    fn message(topic: &str, qos: QoS) -> Queued {
        let delivery = Delivery { qos, retain: false, received: Now(0), expiry: None };
        Queued {
            message: Arc::new(Message::new(topic, &[], b"", delivery)),
            seq: 0,
            qos,
            retain: false,
            ids: None,
            share: None,
            stored: Stored::Never,
        }
    }

    fn send(out: &mut Outbound, topic: &str, qos: QoS) -> PacketId {
        let seq = out.sent.back().map_or(0, |last| last.seq + 1);
        send_as(out, seq, topic, qos).expect("a place in the window")
    }

    fn send_as(out: &mut Outbound, seq: u64, topic: &str, qos: QoS) -> Option<PacketId> {
        out.take(seq, qos == QoS::ExactlyOnce, || Some(message(topic, qos)))
    }

    fn puback(out: &mut Outbound, id: PacketId) -> bool {
        out.acknowledged(id, Awaiting::PubAck).is_some()
    }

    fn resends(out: &mut Outbound) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(step) = out.next_resend() {
            all.push(match step {
                Resend::Publish(_, queued) => queued.message.topic().to_owned(),
                Resend::PubRel(..) => "pubrel".to_owned(),
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
        assert_eq!(out.take(2, false, || None), None);
        assert!(puback(&mut out, first));
        assert!(!puback(&mut out, first), "once");
        assert!(out.ready());
    }

    #[test]
    fn pubrec_keeps_its_place_until_pubcomp() {
        let mut out = Outbound::default();
        out.resume(1);
        let id = send(&mut out, "a", QoS::ExactlyOnce);
        assert!(!puback(&mut out, id) && out.acknowledged(id, Awaiting::PubComp).is_none());
        assert!(
            out.received(id).is_some() && out.received(id).is_some(),
            "a repeated PUBREC is answered again"
        );
        assert!(!out.ready());
        assert!(out.acknowledged(id, Awaiting::PubComp).is_some());
        assert!(out.ready() && out.is_empty());
    }

    #[test]
    fn a_resumed_session_sends_again_in_the_first_order_mqtt_4_6_0_1() {
        let mut out = Outbound::default();
        out.resume(100);
        // Identifiers rest and return, so that their numbers do not give the order away.
        let early: Vec<_> = (0..40).map(|_| send(&mut out, "early", QoS::AtLeastOnce)).collect();
        early.into_iter().for_each(|id| assert!(puback(&mut out, id)));
        send(&mut out, "1", QoS::AtLeastOnce);
        let second = send(&mut out, "2", QoS::ExactlyOnce);
        send(&mut out, "3", QoS::ExactlyOnce);
        assert!(out.received(second).is_some());
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
        assert!(out.acknowledged(held, Awaiting::PubComp).is_some() && out.is_empty());
    }

    #[test]
    fn resending_honours_a_smaller_receive_maximum() {
        let mut out = Outbound::default();
        out.resume(10);
        let ids: Vec<_> = (0..3).map(|n| send(&mut out, &n.to_string(), QoS::AtLeastOnce)).collect();
        out.resume(1);
        assert_eq!(resends(&mut out), ["0"]);
        assert!(puback(&mut out, ids[0]));
        assert_eq!(resends(&mut out), ["1"]);
        assert!(puback(&mut out, ids[2]), "an old acknowledgement may still come");
        assert!(puback(&mut out, ids[1]));
        assert!(resends(&mut out).is_empty() && out.ready() && out.is_empty());
    }

    #[test]
    fn packet_ids_come_of_the_numbers_and_are_unique_while_in_use() {
        let mut out = Outbound::default();
        out.resume(INFLIGHT_MAX);
        let first = 7 * IDS - 3;
        let ids: Vec<_> = (first..first + 10)
            .map(|seq| send_as(&mut out, seq, "a", QoS::ExactlyOnce).unwrap().get())
            .collect();
        assert_eq!(ids, [65_533, 65_534, 65_535, 1, 2, 3, 4, 5, 6, 7]);
        assert!(send_as(&mut out, first + IDS, "its id is the first one's", QoS::AtLeastOnce).is_none());
        assert!(send_as(&mut out, first + IDS - 1, "the last free id", QoS::AtLeastOnce).is_some());
        assert!(out.received(PacketId::new(65_533).unwrap()).is_some());
        assert!(out.acknowledged(PacketId::new(65_533).unwrap(), Awaiting::PubComp).is_some());
        assert!(send_as(&mut out, first + IDS, "free again", QoS::AtLeastOnce).is_some());
    }

    #[test]
    fn what_an_earlier_run_left_comes_before_and_between_what_is_being_released() {
        let mut out = Outbound::default();
        out.restore_received(11);
        out.restore_received(13);
        out.resume(10);
        assert_eq!(resends(&mut out), ["pubrel", "pubrel"]);
        for seq in [10, 12, 14] {
            assert_eq!(send_as(&mut out, seq, "a", QoS::AtLeastOnce), Some(packet_id(seq)));
        }
        for (seq, by) in [(12, Awaiting::PubAck), (13, Awaiting::PubComp), (10, Awaiting::PubAck)] {
            assert_eq!(out.acknowledged(packet_id(seq), by).map(|settled| settled.seq), Some(seq));
        }
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn what_did_not_go_out_is_taken_again() {
        let mut out = Outbound::default();
        out.resume(10);
        send(&mut out, "went", QoS::AtLeastOnce);
        let id = send(&mut out, "did not", QoS::ExactlyOnce);
        out.cancel(id);
        assert_eq!(send_as(&mut out, 1, "does now", QoS::ExactlyOnce), Some(id));
        assert!(out.received(id).is_some_and(|settled| settled.kept.is_some()));
        assert!(out.acknowledged(id, Awaiting::PubComp).is_some() && out.len() == 1);
    }

    #[test]
    fn one_message_that_is_never_acknowledged_does_not_keep_the_others_places() {
        let mut out = Outbound::default();
        out.resume(2);
        send(&mut out, "never", QoS::AtLeastOnce);
        for seq in (1..3 * IDS).filter(|seq| seq % IDS != 0) {
            let id = send_as(&mut out, seq, "a", QoS::AtLeastOnce).unwrap();
            assert!(puback(&mut out, id) && out.sent.len() < 200);
        }
        assert!(out.is_taken(3 * IDS) && send_as(&mut out, 3 * IDS, "", QoS::AtLeastOnce).is_none());
        assert!(puback(&mut out, packet_id(0)) && out.is_empty() && !out.is_taken(3 * IDS));
    }
}
