//! What waits for a connected client goes out, as far as its window and its output have room: first what is sent
//! again after a reconnect, then the queue, then retained messages.

use super::frames::fitting;
use super::{Effects, Engine};
use crate::codec::{Ack, Packet, Properties, ReasonCode, Version};
use crate::session::{Presence, Queued, Resend};
use crate::types::{ConnKey, Now, QoS, SessionKey};

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

    fn target(&self, key: SessionKey) -> Option<Target> {
        let link = self.sessions.get(key)?.link().filter(|link| !link.blocked)?;
        Some(Target { conn: link.conn, version: link.version, packet_bytes_max: link.packet_bytes_max })
    }

    /// True when nothing is left to send again. [MQTT-4.4.0-1]
    fn send_again(&mut self, now: Now, key: SessionKey, target: Target, fx: &mut impl Effects) -> bool {
        let Self { sessions, frames, counters, response, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return false };
        while let Some(step) = session.outbound.next_resend() {
            match step {
                Resend::PubRel(id) => {
                    response.clear();
                    let ack =
                        Ack { packet_id: id, reason: ReasonCode::Success, properties: Properties::default() };
                    Packet::PubRel(ack).encode(target.version, response);
                    fx.send(target.conn, response);
                }
                Resend::Publish(id, queued) => {
                    let Presence::Here(link) = &mut session.presence else { return false };
                    let (slot, naming) = fitting(link, queued.message.topic(), |naming| {
                        frames.queued(now, queued, target.version, true, naming)
                    });
                    // Too large for what the client takes now: dropped as if it had been delivered. [MQTT-3.1.2-25]
                    if slot.len > target.packet_bytes_max as usize {
                        counters.dropped.too_large += 1;
                        session.outbound.cancel_resend();
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
            let Some(queued) = session.queue.front().cloned() else { return true };
            if self.send_queued(now, key, &queued, target, fx) == Step::Full {
                return false;
            }
            self.gauges.queued_messages -= 1;
            self.gauges.queued_bytes -= queued.size();
            if let Some(session) = self.sessions.get_mut(key) {
                session.queue.pop();
            }
        }
    }

    /// Sends one message that waited to a client that is connected. False when there is no room for it now.
    pub(super) fn send_waiting(
        &mut self,
        now: Now,
        key: SessionKey,
        queued: &Queued,
        fx: &mut impl Effects,
    ) -> bool {
        let Some(target) = self.target(key) else { return false };
        self.send_queued(now, key, queued, target, fx) != Step::Full
    }

    fn send_queued(
        &mut self,
        now: Now,
        key: SessionKey,
        queued: &Queued,
        target: Target,
        fx: &mut impl Effects,
    ) -> Step {
        let Self { sessions, frames, counters, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return Step::Dropped };
        if queued.message.delivery.expired(now) {
            counters.dropped.expired += 1;
            session.dropped += 1;
            return Step::Dropped;
        }
        if queued.qos != QoS::AtMostOnce && !session.outbound.ready() {
            return Step::Full;
        }
        let ephemeral = session.ephemeral();
        let Presence::Here(link) = &mut session.presence else { return Step::Full };
        let (slot, naming) = fitting(link, queued.message.topic(), |naming| {
            frames.queued(now, queued, target.version, false, naming)
        });
        if slot.len > target.packet_bytes_max as usize {
            counters.dropped.too_large += 1;
            session.dropped += 1;
            return Step::Dropped;
        }
        let sent = if queued.qos == QoS::AtMostOnce {
            frames.offer(slot, target.conn, fx)
        } else {
            let Some(id) = session
                .outbound
                .take(queued.qos, || (!ephemeral || queued.share.is_some()).then(|| queued.clone()))
            else {
                return Step::Full;
            };
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
