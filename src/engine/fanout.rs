//! A message to everybody who wants it: local clients get frames, other cores get it once each.

use super::frames::{Frames, Kind};
use super::publish::Publication;
use super::{Counters, Effects, Engine, Gauges, PeerMessage};
use crate::session::{Presence, Pushed, Queued, Session};
use crate::topic::LocalMatch;
use crate::types::{Limits, Message, Now, QoS, SessionKey};
use std::sync::Arc;

/// What a delivery uses of the engine, besides the session.
struct Delivering<'a> {
    now: Now,
    frames: &'a mut Frames,
    counters: &'a mut Counters,
    gauges: &'a mut Gauges,
    limits: &'a Limits,
    evict: &'a mut Vec<SessionKey>,
}

impl Engine {
    /// Delivers to local subscribers and, where `forward` says so, tells the cores that want the message. False when
    /// nobody wants it.
    ///
    /// A message that came from another core is never forwarded: that is what keeps it from circling the mesh.
    pub(super) fn fan_out(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        forward: bool,
        fx: &mut impl Effects,
    ) -> bool {
        if publication.delivery.retain && !self.replays.is_empty() {
            self.replays.overtaken(publication.topic.as_str());
        }
        let matches = self.cache.lookup(&self.trie, publication.topic);
        if !forward && publication.delivery.expired(now) {
            // It was on its way between two cores for longer than it lives. [MQTT-3.3.2-5]
            self.counters.dropped.expired += matches.locals.len() as u64;
            return false;
        }
        self.frames.clear();
        let mut delivering = Delivering {
            now,
            frames: &mut self.frames,
            counters: &mut self.counters,
            gauges: &mut self.gauges,
            limits: &self.setup.limits,
            evict: &mut self.evict,
        };
        for found in &matches.locals {
            let mut target = *found;
            if publication.publisher == Some(found.session) {
                // [MQTT-3.8.3-3]
                let Some(own) = found.if_own() else { continue };
                target = own;
            }
            if let Some(session) = self.sessions.get_mut(target.session) {
                delivering.deliver(session, publication, &target, matches.subscription_ids(&target), fx);
            }
        }
        if forward && !matches.peers.is_empty() {
            for peer in matches.peers.iter() {
                self.counters.forwarded += 1;
                fx.peer(peer, PeerMessage::Publish(Message::clone(publication.message())));
            }
            return true;
        }
        !matches.locals.is_empty()
    }
}

impl Delivering<'_> {
    #[inline]
    fn deliver(
        &mut self,
        session: &mut Session,
        publication: &Publication<'_>,
        target: &LocalMatch,
        ids: &[u32],
        fx: &mut impl Effects,
    ) {
        let qos = publication.delivery.qos.min(target.qos);
        let retain = publication.delivery.retain && target.retain_as_published;
        if qos == QoS::AtMostOnce {
            self.at_most_once(session, publication, retain, ids, fx);
        } else {
            self.acknowledged(session, target.session, publication, (qos, retain), ids, fx);
        }
    }

    #[inline]
    fn at_most_once(
        &mut self,
        session: &mut Session,
        publication: &Publication<'_>,
        retain: bool,
        ids: &[u32],
        fx: &mut impl Effects,
    ) {
        let Presence::Here(link) = &session.presence else {
            self.counters.dropped.offline += 1;
            return;
        };
        let kind = Kind { version: link.version, qos: QoS::AtMostOnce, retain };
        let slot = self.frames.of(self.now, publication, kind, ids);
        if slot.len > link.plain_bytes_max as usize {
            self.at_most_once_named(session, publication, kind, ids, fx);
        } else if self.frames.offer(slot, link.conn, fx) {
            self.counters.publish_out[0] += 1;
        } else {
            self.counters.dropped.output_full += 1;
            session.dropped += 1;
        }
    }

    /// The same for a client whose topics may be named by aliases, or for which the frame is too large.
    #[cold]
    fn at_most_once_named(
        &mut self,
        session: &mut Session,
        publication: &Publication<'_>,
        kind: Kind,
        ids: &[u32],
        fx: &mut impl Effects,
    ) {
        let Presence::Here(link) = &mut session.presence else { return };
        let topic = publication.topic.as_str();
        let naming = link.name(topic);
        let slot = self.frames.named(self.now, publication, kind, ids, naming);
        if slot.len > link.packet_bytes_max as usize {
            self.counters.dropped.too_large += 1;
            session.dropped += 1;
        } else if self.frames.offer(slot, link.conn, fx) {
            link.named(topic, naming);
            self.counters.publish_out[0] += 1;
        } else {
            self.counters.dropped.output_full += 1;
            session.dropped += 1;
        }
    }

    /// QoS 1 and 2: sent if the client's window and output have room, queued otherwise.
    fn acknowledged(
        &mut self,
        session: &mut Session,
        key: SessionKey,
        publication: &Publication<'_>,
        (qos, retain): (QoS, bool),
        ids: &[u32],
        fx: &mut impl Effects,
    ) {
        let kept = || Queued {
            message: Arc::clone(publication.message()),
            qos,
            retain,
            ids: (!ids.is_empty()).then(|| ids.into()),
        };
        let ephemeral = session.ephemeral();
        if let Presence::Here(link) = &mut session.presence
            && !link.blocked
            && session.queue.is_empty()
        {
            let slot =
                self.frames.of(self.now, publication, Kind { version: link.version, qos, retain }, ids);
            if slot.len > link.packet_bytes_max as usize {
                self.counters.dropped.too_large += 1;
                session.dropped += 1;
                return;
            }
            if let Some(id) = session.outbound.take(qos, || (!ephemeral).then(kept)) {
                if self.frames.offer_as(slot, id, link.conn, fx) {
                    self.counters.publish_out[qos as usize] += 1;
                    return;
                }
                session.outbound.cancel(id);
                link.blocked = true;
            }
        }
        self.queue(session, key, kept());
    }

    fn queue(&mut self, session: &mut Session, key: SessionKey, queued: Queued) {
        let size = queued.size();
        let dropped = match session.queue.push(queued, self.limits) {
            Pushed::Queued => 0,
            Pushed::DroppedOld(count, bytes) => {
                self.gauges.queued_messages -= u64::from(count);
                self.gauges.queued_bytes -= bytes;
                u64::from(count)
            }
            refused => {
                if refused == Pushed::Disconnect && session.link().is_some() {
                    self.evict.push(key);
                }
                self.counters.dropped.queue_full += 1;
                session.dropped += 1;
                return;
            }
        };
        self.gauges.queued_messages += 1;
        self.gauges.queued_bytes += size;
        self.counters.dropped.queue_full += dropped;
        session.dropped += dropped;
    }
}
