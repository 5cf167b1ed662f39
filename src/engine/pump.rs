//! What waits for a connected client goes out, as far as its window and its output have room: first what is sent
//! again after a reconnect, then the queue, then retained messages.

use super::durable::{Waiter, size_of_entry};
use super::frames::fitting;
use super::handover::is_doubtful;
use super::{Effects, Engine, Fetch, Fetched, PersistOp, Place};
use crate::codec::{Ack, Packet, Properties, ReasonCode, Version};
use crate::session::{Presence, Queued, Resend, Settled, Stored};
use crate::topic::TopicName;
use crate::types::{ConnKey, Message, Now, QoS, SessionId, SessionKey};
use std::sync::Arc;

/// Messages that are asked of the store at once at most.
const FETCH_MESSAGES: u32 = 1_024;

/// Where a client's frames go, and what it can take.
#[derive(Clone, Copy)]
struct Target {
    conn: ConnKey,
    version: Version,
    packet_bytes_max: u32,
}

/// What became of a message that waited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Sent,
    /// Expired, or too large for this client: it counts as delivered to it.
    Dropped,
    /// The window or the output is full.
    Full,
}

impl Engine {
    /// Sends what waits for a session, if its client is connected and takes it.
    pub(super) fn pump(&mut self, now: Now, key: SessionKey, fx: &mut impl Effects) {
        self.tend_queue(key, fx);
        let Some(target) = self.target(key) else { return };
        if self.send_again(now, key, target, fx) && self.drain_queue(now, key, target, fx) {
            self.replay(now, key, fx);
        }
    }

    /// The same, where there is something to send: what every acknowledgement calls.
    #[inline]
    pub(super) fn pump_if_waiting(&mut self, now: Now, key: SessionKey, fx: &mut impl Effects) {
        let Some(session) = self.sessions.get(key) else { return };
        if !session.queue.is_empty() || session.outbound.resending() || self.replays.waits(key) {
            self.pump(now, key, fx);
        }
    }

    /// Leaves to the store what has no room in memory, asks for what has, and lets what waits for the store be looked at again.
    pub(super) fn tend_queue(&mut self, key: SessionKey, fx: &mut impl Effects) {
        let Self { sessions, durable, handovers, setup, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return };
        let Some(id) = session.stored else { return };
        session.queue.spill(&setup.limits, |stored| durable.is_kept(stored));
        // Otherwise the store might give back what it is told at the same time to forget.
        let swept = durable.has(session.swept);
        if session.link().is_some()
            && swept
            && !handovers.is_busy(id)
            && let Some(from) = session.queue.ask(&setup.limits)
        {
            let bytes_max = setup.limits.queue_memory_bytes;
            fx.fetch(Fetch { key, session: id, from, messages_max: FETCH_MESSAGES, bytes_max });
        }
        let waits = session.queue.is_spilling()
            || session.link().is_some() && !swept
            || session.queue.front().is_some_and(|front| !durable.is_kept(front.stored));
        if waits && !session.parked {
            session.parked = true;
            durable.park(key);
        }
    }

    /// Looks at the sessions that waited for the store.
    pub(super) fn tend_parked(&mut self, now: Now, fx: &mut impl Effects) {
        for key in self.durable.take_parked() {
            if let Some(session) = self.sessions.get_mut(key) {
                session.parked = false;
                self.pump(now, key, fx);
            }
        }
    }

    fn target(&self, key: SessionKey) -> Option<Target> {
        let link = self.sessions.get(key)?.link().filter(|link| !link.blocked)?;
        Some(Target { conn: link.conn, version: link.version, packet_bytes_max: link.packet_bytes_max })
    }

    /// True when nothing is left to send again. [MQTT-4.4.0-1]
    fn send_again(&mut self, now: Now, key: SessionKey, target: Target, fx: &mut impl Effects) -> bool {
        let Self { sessions, frames, counters, response, durable, rights, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return false };
        let owner = session.stored;
        while let Some(step) = session.outbound.next_resend() {
            match step {
                Resend::PubRel(_, request) if !durable.has(request) => {
                    if !session.parked {
                        session.parked = true;
                        durable.park(key);
                    }
                    return false;
                }
                Resend::PubRel(id, _) => {
                    response.clear();
                    let ack =
                        Ack { packet_id: id, reason: ReasonCode::Success, properties: Properties::default() };
                    Packet::PubRel(ack).encode(target.version, response);
                    fx.send(target.conn, response);
                }
                Resend::Publish(id, queued) => {
                    let Presence::Here(link) = &mut session.presence else { return false };
                    // The rules may have changed since it was sent, or another user may have come for the session.
                    let denied = !rights.may_receive(Some(link), TopicName::trusted(queued.message.topic()));
                    let (slot, naming) = fitting(link, queued.message.topic(), |naming| {
                        frames.queued(now, queued, target.version, true, naming)
                    });
                    // Too large for what the client takes now: dropped as if it had been delivered. [MQTT-3.1.2-25]
                    if denied || slot.len > target.packet_bytes_max as usize {
                        counters.dropped.receive_denied += u64::from(denied);
                        counters.dropped.too_large += u64::from(!denied);
                        if let (Some(Settled { kept: Some(kept), .. }), Some(owner)) =
                            (session.outbound.cancel_resend(), owner)
                        {
                            durable.done(owner, &kept, fx);
                        }
                        continue;
                    }
                    if !frames.offer_as(slot, id, target.conn, fx) {
                        link.blocked = true;
                        return false;
                    }
                    link.named(queued.message.topic(), naming);
                    counters.resent += 1;
                }
            }
            session.outbound.resent();
        }
        !session.outbound.resending()
    }

    /// True when the queue is empty.
    fn drain_queue(&mut self, now: Now, key: SessionKey, target: Target, fx: &mut impl Effects) -> bool {
        loop {
            let Some(session) = self.sessions.get_mut(key) else { return false };
            let Some(queued) = session.queue.front().cloned() else {
                // The rest is with the store, which was asked for it.
                self.tend_queue(key, fx);
                return self.sessions.get(key).is_none_or(|session| session.queue.is_empty());
            };
            if queued.qos == QoS::ExactlyOnce && !self.durable.is_kept(queued.stored) {
                self.tend_queue(key, fx);
                return false;
            }
            let owner = session.stored;
            let step = self.send_queued(now, key, &queued, target, fx);
            if step == Step::Full {
                return false;
            }
            self.gauges.queued_messages -= 1;
            self.gauges.queued_bytes -= queued.size();
            let mut may_have_it = false;
            if let Some(session) = self.sessions.get_mut(key) {
                session.queue.pop();
                may_have_it = session.may_have_been_sent(&queued);
            }
            match owner {
                Some(owner) if step == Step::Dropped && may_have_it => {
                    self.withdraw_sent(key, owner, target, &queued);
                }
                Some(owner) if step == Step::Dropped || queued.qos == QoS::AtMostOnce => {
                    self.durable.done(owner, &queued, fx);
                }
                _ => {}
            }
        }
    }

    /// A message of QoS 2 is dropped that its client may have got from an earlier run of the broker: it is made to let go of
    /// the packet id.
    fn withdraw_sent(&mut self, key: SessionKey, owner: SessionId, target: Target, queued: &Queued) {
        let place = Place { session: owner, seq: queued.seq, size: size_of_entry(queued) };
        let request = self.durable.ask(PersistOp::Received(place));
        let Some(session) = self.sessions.get_mut(key) else { return };
        match session.outbound.withdraw(queued.seq, request) {
            Some(id) => self.durable.wait(request, Waiter::PubRel(target.conn, id)),
            None => self.durable.leave(Place { size: 0, ..place }),
        }
    }

    /// Takes messages back that the store had.
    pub fn fetched(&mut self, now: Now, fetched: Fetched, fx: &mut impl Effects) {
        let Some(fetched) = self.handed_back(now, fetched, fx) else { return };
        let Fetched { key, session: id, messages } = fetched;
        let Self { sessions, groups, gauges, .. } = self;
        // Otherwise the session ended meanwhile.
        let Some(session) = sessions.get_mut(key).filter(|session| session.stored == Some(id)) else {
            return;
        };
        gauges.queued_messages -= session.queue.len() as u64;
        gauges.queued_bytes -= session.queue.bytes();
        let (subscriptions, unsent_from) = (&session.subscriptions, session.unsent_from);
        let mut strays = Vec::new();
        session.queue.load(messages.into_iter().map(|(to, message)| {
            let share = to.share.as_ref().and_then(|filter| groups.key_of(filter));
            let (seq, qos, retain, ids, stored) = (to.seq, to.qos, to.retain, to.ids, Stored::Yes);
            let queued = Queued { message, seq, qos, retain, ids, share, stored };
            if to.share.is_some_and(|filter| !subscriptions.contains_key(&filter))
                && !is_doubtful(&queued, unsent_from)
            {
                strays.push(seq);
            }
            queued
        }));
        gauges.queued_messages += session.queue.len() as u64;
        gauges.queued_bytes += session.queue.bytes();
        if !strays.is_empty() {
            // Its client has left their groups before the broker started, or has only just.
            let orphans = session.queue.take(|queued| strays.binary_search(&queued.seq).is_ok());
            gauges.queued_messages -= orphans.len() as u64;
            gauges.queued_bytes -= orphans.iter().map(Queued::size).sum::<u64>();
            self.begin_handover(key);
            self.hand_on_batch(now, id, &orphans, fx);
        }
        self.pump(now, key, fx);
    }

    /// Sends what a session has in its queue. True when that is empty.
    pub(super) fn drain(&mut self, now: Now, key: SessionKey, fx: &mut impl Effects) -> bool {
        self.target(key).is_some_and(|target| self.drain_queue(now, key, target, fx))
    }

    /// Sends one retained message to a client that is connected. False when there is no room for it now.
    pub(super) fn send_retained(
        &mut self,
        now: Now,
        key: SessionKey,
        message: &Message,
        (qos, ids): (QoS, Option<Box<[u32]>>),
        fx: &mut impl Effects,
    ) -> bool {
        let (Some(target), Some(session)) = (self.target(key), self.sessions.get_mut(key)) else {
            return false;
        };
        let (message, seq) = (Arc::new(message.clone()), session.number());
        let queued = Queued { message, seq, qos, retain: true, ids, share: None, stored: Stored::Never };
        let step = self.send_queued(now, key, &queued, target, fx);
        if step == Step::Sent
            && qos != QoS::AtMostOnce
            && let Some(session) = self.sessions.get_mut(key)
        {
            session.next_seq += 1;
        }
        step != Step::Full
    }

    fn send_queued(
        &mut self,
        now: Now,
        key: SessionKey,
        queued: &Queued,
        target: Target,
        fx: &mut impl Effects,
    ) -> Step {
        let Self { sessions, frames, counters, setup, rights, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return Step::Dropped };
        if !rights.may_receive(session.link(), TopicName::trusted(queued.message.topic())) {
            counters.dropped.receive_denied += 1;
            return Step::Dropped;
        }
        let again = queued.seq < session.unsent_from && queued.qos != QoS::AtMostOnce;
        let delivery = &queued.message.delivery;
        let waited_too_long = delivery.expiry.is_none()
            && setup.limits.queued_expiry.is_some_and(|longest| delivery.received + longest <= now);
        if delivery.expired(now) || waited_too_long {
            counters.dropped.expired += 1;
            session.dropped += 1;
            return Step::Dropped;
        }
        if queued.qos != QoS::AtMostOnce && !session.outbound.ready() {
            return Step::Full;
        }
        let keep = !session.ephemeral() || session.stored.is_some() || queued.share.is_some();
        let Presence::Here(link) = &mut session.presence else { return Step::Full };
        let (slot, naming) = fitting(link, queued.message.topic(), |naming| {
            frames.queued(now, queued, target.version, again, naming)
        });
        if slot.len > target.packet_bytes_max as usize {
            counters.dropped.too_large += 1;
            session.dropped += 1;
            return Step::Dropped;
        }
        let sent = if queued.qos == QoS::AtMostOnce {
            frames.offer(slot, target.conn, fx)
        } else {
            let exactly_once = queued.qos == QoS::ExactlyOnce;
            let kept = || keep.then(|| queued.clone());
            let Some(id) = session.outbound.take(queued.seq, exactly_once, kept) else { return Step::Full };
            let sent = frames.offer_as(slot, id, target.conn, fx);
            if !sent {
                session.outbound.cancel(id);
            }
            sent
        };
        if !sent {
            link.blocked = true;
            return Step::Full;
        }
        link.named(queued.message.topic(), naming);
        counters.publish_out[queued.qos as usize] += 1;
        Step::Sent
    }
}
