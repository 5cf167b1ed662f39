//! A message to everybody who wants it: local clients get frames, other cores get it once each.

use super::durable::{Asking, Durable};
use super::frames::{Frames, Kind, fitting};
use super::groups::Group;
use super::hold::Held;
use super::persist::Recipient;
use super::publish::Publication;
use super::rights::Rights;
use super::share::Sharing;
use super::{Counters, Effects, Engine, Gauges, PeerMessage};
use crate::session::{ENTRY_BYTES, Presence, Pushed, Queued, Session, Stored};
use crate::topic::LocalMatch;
use crate::types::limits::Overflow;
use crate::types::{ConnKey, GroupKey, HashSeed, Limits, Now, QoS, SessionId, SessionKey, Slab};
use std::hash::BuildHasher;
use std::sync::Arc;

/// What a delivery uses of the engine, besides the session.
pub(super) struct Delivering<'a> {
    now: Now,
    frames: &'a mut Frames,
    pub(super) counters: &'a mut Counters,
    gauges: &'a mut Gauges,
    limits: &'a Limits,
    rights: &'a mut Rights,
    evict: &'a mut Vec<SessionKey>,
    pub(super) durable: &'a mut Durable,
    /// Who asks the store for the message.
    pub(super) asking: Asking,
    /// For how many there was no room.
    refused: usize,
    /// A queue is full now, whose publishers are to be held back.
    held: &'a mut Held,
    pub(super) full: bool,
    /// Who published the message, where publishers to full queues are held back.
    pub(super) publisher: Option<ConnKey>,
}

/// A message as one client is to get it.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Subscription Identifiers.
    pub(super) ids: &'a [u32],
    /// The group that it comes through, and that group's filter in full.
    pub(super) share: Option<(GroupKey, &'a str)>,
}

impl Outgoing<'_> {
    /// To be sent later, or again.
    pub(super) fn kept(&self, publication: &Publication<'_>, seq: u64, stored: Stored) -> Queued {
        Queued {
            message: Arc::clone(publication.message()),
            seq,
            qos: self.qos,
            retain: self.retain,
            ids: (!self.ids.is_empty()).then(|| self.ids.into()),
            share: self.share.map(|(group, _)| group),
            stored,
        }
    }

    /// For the store.
    fn recipient(&self, session: SessionId, seq: u64) -> Recipient {
        Recipient {
            session: Some(session),
            seq,
            qos: self.qos,
            retain: self.retain,
            ids: (!self.ids.is_empty()).then(|| self.ids.into()),
            share: self.share.map(|(_, filter)| filter.into()),
        }
    }
}

/// What became of a message that was to be sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// The client takes no packet of that size.
    TooLarge,
    /// The client is away, or its window or its output is full, or other messages come first.
    NotNow,
}

/// Whom a message reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nobody wants it.
    Nobody,
    /// Somebody, on this core or, as far as is known, on another.
    Somebody,
    /// All who want it are on this core, and there was no room for any of them.
    Refused,
}

/// The parts of an engine that deliveries use, while a lookup borrows others.
macro_rules! delivering {
    ($engine:ident, $now:ident, $asking:expr) => {
        Delivering {
            now: $now,
            frames: &mut $engine.frames,
            counters: &mut $engine.counters,
            gauges: &mut $engine.gauges,
            limits: &$engine.setup.limits,
            rights: &mut $engine.rights,
            evict: &mut $engine.evict,
            durable: &mut $engine.durable,
            asking: $asking,
            refused: 0,
            held: &mut $engine.held,
            full: false,
            publisher: None,
        }
    };
}

/// The same for the choice of a group's member.
macro_rules! sharing {
    ($engine:ident) => {
        Sharing {
            groups: &mut $engine.groups,
            sessions: &mut $engine.sessions,
            own: $engine.setup.shard,
            shards: $engine.setup.shards,
            balance: $engine.setup.features.share_balance,
        }
    };
}

impl Engine {
    /// Delivers to local subscribers and, unless it came `from_peer`, tells the cores that want the message, and chooses a
    /// member of each group that does. What came from a peer says who asks the store for it; otherwise the second value
    /// returned does.
    ///
    /// A message that came from another core is never forwarded: that is what keeps it from circling the mesh.
    pub(super) fn fan_out(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        from_peer: Option<Asking>,
        fx: &mut impl Effects,
    ) -> (Reach, Asking) {
        let (forward, alone) = (from_peer.is_none(), self.asks_alone(publication.delivery.qos));
        let matches = self.cache.lookup(&self.trie, publication.topic);
        if publication.delivery.retain && !self.replays.is_empty() {
            // Under No Local its publisher does not get it, and gets what is retained instead.
            let gets = |own| matches.locals.iter().any(|to| to.session == own && to.if_own().is_some());
            let spared = publication.publisher.filter(|&own| !gets(own));
            self.replays.overtaken(publication.topic.as_str(), spared);
        }
        if !forward && publication.delivery.expired(now) {
            // It was on its way between two cores for longer than it lives. [MQTT-3.3.2-5]
            self.counters.dropped.expired += matches.locals.len() as u64;
            return (Reach::Nobody, Asking::Nobody);
        }
        self.frames.clear();
        let asking = from_peer.unwrap_or_else(|| {
            if alone == Asking::Nobody {
                return alone;
            }
            let own = self.setup.shard;
            let elsewhere = matches.peers.iter().any(|peer| !peer.is_shard())
                || matches.groups.iter().any(|&g| self.groups.get(g).is_some_and(|g| g.lasts_elsewhere(own)));
            if elsewhere { self.durable.join(publication.message()) } else { alone }
        });
        let publisher_conn = if self.setup.limits.overflow == Overflow::Hold {
            publication.publisher.and_then(|key| Some(self.sessions.get(key)?.link()?.conn))
        } else {
            None
        };
        let mut delivering = delivering!(self, now, asking);
        delivering.publisher = publisher_conn;
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
        if forward && !matches.groups.is_empty() {
            let publisher = publisher_of(&self.sessions, publication, self.setup.seed);
            let mut sharing = sharing!(self);
            for &group in &matches.groups {
                delivering.share(&mut sharing, publication, group, publisher, fx);
            }
        }
        if forward && !matches.peers.is_empty() {
            let keeps = publication.delivery.retain
                || delivering.asking != Asking::Nobody
                || matches.peers.iter().nth(1).is_some();
            for peer in matches.peers.iter().take_while(|peer| peer.is_shard()) {
                delivering.counters.forwarded += 1;
                let joint = delivering.asking.joint().filter(|_| matches.peers.contains(peer.lasting()));
                if joint.is_some() {
                    delivering.durable.expect_part(delivering.asking);
                }
                let message = publication.for_peer(keeps);
                fx.peer(peer, PeerMessage::Publish { message, joint, publisher: publisher_conn });
            }
            let (asking, full) = (delivering.asking, delivering.full);
            self.after_full(full, publication, fx);
            return (Reach::Somebody, asking);
        }
        let reach = match (delivering.refused, matches.locals.len() + matches.groups.len()) {
            (_, 0) => Reach::Nobody,
            (refused, subscribers) if refused == subscribers => Reach::Refused,
            _ => Reach::Somebody,
        };
        let (asking, full) = (delivering.asking, delivering.full);
        self.after_full(full, publication, fx);
        (reach, asking)
    }

    /// Holds back who filled a queue, if that is what the operator wants.
    pub(super) fn after_full(&mut self, full: bool, publication: &Publication<'_>, fx: &mut impl Effects) {
        if full {
            let own = publication.publisher.and_then(|key| Some(self.sessions.get(key)?.link()?.conn));
            let (shard, conn) = match publication.remote {
                Some((shard, conn)) => (shard, Some(conn)),
                None => (self.setup.shard, own),
            };
            self.hold_publisher(shard, conn, fx);
        }
    }

    /// Whether somebody who wants a message needs it kept in the store.
    pub(super) fn is_for_the_store(&mut self, publication: &Publication<'_>) -> bool {
        let matches = self.cache.lookup(&self.trie, publication.topic);
        let lasts = |key| self.sessions.get(key).is_some_and(|session| session.stored.is_some());
        matches.locals.iter().any(|found| found.qos != QoS::AtMostOnce && lasts(found.session))
            || matches.peers.iter().any(|peer| !peer.is_shard())
            || matches.groups.iter().any(|&group| self.groups.get(group).is_some_and(Group::lasts))
    }

    /// Who asks the store for a message that no other core asks it for. The publisher's core may not have heard yet that a
    /// session of this one lasts: it has promised nothing, but no client may hold a packet id that its session forgets.
    pub(super) fn asks_alone(&self, qos: QoS) -> Asking {
        let waits = qos != QoS::AtMostOnce || self.setup.limits.queue_qos0;
        if waits && self.durable.is_on() { Asking::Here } else { Asking::Nobody }
    }

    /// What deliveries use, for one that is not a fan-out.
    pub(super) fn delivering(&mut self, now: Now, asking: Asking) -> (Delivering<'_>, Sharing<'_>) {
        (delivering!(self, now, asking), sharing!(self))
    }
}

/// Who published a message, as a number: by it, groups may choose a member.
fn publisher_of(sessions: &Slab<SessionKey, Session>, publication: &Publication<'_>, seed: HashSeed) -> u64 {
    let session = publication.publisher.and_then(|key| sessions.get(key));
    session.map_or(0, |session| seed.state().hash_one(&session.client_id))
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
        if !self.may_receive(session, publication) {
            return;
        }
        let qos = publication.delivery.qos.min(target.qos);
        let retain = publication.delivery.retain && target.retain_as_published;
        if qos == QoS::AtMostOnce {
            if self.limits.queue_qos0 && session.link().is_none() && !session.ephemeral() {
                let outgoing = Outgoing { qos, retain, ids, share: None };
                return self.queue(session, target.session, publication, outgoing, fx);
            }
            self.at_most_once(session, publication, retain, ids, fx);
        } else {
            let outgoing = Outgoing { qos, retain, ids, share: None };
            self.acknowledged(session, target.session, publication, outgoing, fx);
        }
    }

    /// Whether the rules let a session have the message. What they keep from it is counted.
    #[inline]
    pub(super) fn may_receive(&mut self, session: &Session, publication: &Publication<'_>) -> bool {
        let may = self.rights.may_receive(session.link(), publication.topic);
        self.counters.dropped.receive_denied += u64::from(!may);
        may
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
        let (slot, naming) =
            fitting(link, topic, |naming| self.frames.named(self.now, publication, kind, ids, naming));
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
        outgoing: Outgoing<'_>,
        fx: &mut impl Effects,
    ) {
        match self.send_now(session, publication, outgoing, fx) {
            Sent::Yes => {}
            Sent::TooLarge => {
                self.counters.dropped.too_large += 1;
                session.dropped += 1;
            }
            Sent::NotNow => self.queue(session, key, publication, outgoing, fx),
        }
    }

    /// Sends a message if the client can take it now and nothing waits before it.
    pub(super) fn send_now(
        &mut self,
        session: &mut Session,
        publication: &Publication<'_>,
        outgoing: Outgoing<'_>,
        fx: &mut impl Effects,
    ) -> Sent {
        let Outgoing { qos, retain, ids, share } = outgoing;
        let keep = !session.ephemeral() || session.stored.is_some() || share.is_some();
        let (stored, seq) = (self.stored(session), session.number());
        let Presence::Here(link) = &mut session.presence else { return Sent::NotNow };
        if qos == QoS::ExactlyOnce && !self.durable.is_kept(stored) {
            // It might reach the client, be forgotten in a crash, and reach it again under another packet id.
            return Sent::NotNow;
        }
        if qos != QoS::AtMostOnce && (link.blocked || !session.queue.is_empty()) {
            return Sent::NotNow;
        }
        let topic = publication.topic.as_str();
        let kind = Kind { version: link.version, qos, retain };
        let (slot, naming) =
            fitting(link, topic, |naming| self.frames.named(self.now, publication, kind, ids, naming));
        if slot.len > link.packet_bytes_max as usize {
            return Sent::TooLarge;
        }
        let sent = if qos == QoS::AtMostOnce {
            self.frames.offer(slot, link.conn, fx)
        } else {
            let exactly_once = qos == QoS::ExactlyOnce;
            let kept = || keep.then(|| outgoing.kept(publication, seq, stored));
            let Some(id) = session.outbound.take(seq, exactly_once, kept) else { return Sent::NotNow };
            let sent = self.frames.offer_as(slot, id, link.conn, fx);
            if !sent {
                session.outbound.cancel(id);
                link.blocked = true;
            }
            sent
        };
        if !sent {
            return Sent::NotNow;
        }
        link.named(topic, naming);
        self.counters.publish_out[qos as usize] += 1;
        if qos != QoS::AtMostOnce {
            self.owed(session, publication, outgoing, true);
        }
        Sent::Yes
    }

    /// Where the store will be with the message for a session.
    fn stored(&self, session: &Session) -> Stored {
        if session.stored.is_some() { self.durable.stored_by(self.asking) } else { Stored::Never }
    }

    /// A session is owed the message, under its next number.
    fn owed(
        &mut self,
        session: &mut Session,
        publication: &Publication<'_>,
        outgoing: Outgoing<'_>,
        sent: bool,
    ) {
        let seq = session.next_seq;
        session.next_seq += 1;
        if let Some(id) = session.stored
            && self.asking != Asking::Nobody
        {
            let message = || Arc::clone(publication.message());
            self.durable.keep_for(&mut self.asking, message, outgoing.recipient(id, seq), sent);
        }
    }

    /// Queues a message of QoS 1 or 2, unless the queue is full or the client could never take it.
    pub(super) fn queue_if_room(
        &mut self,
        session: &mut Session,
        key: SessionKey,
        publication: &Publication<'_>,
        outgoing: Outgoing<'_>,
        fx: &mut impl Effects,
    ) -> bool {
        if outgoing.qos == QoS::AtMostOnce {
            return false;
        }
        if let Presence::Here(link) = &session.presence {
            let kind = Kind { version: link.version, qos: outgoing.qos, retain: outgoing.retain };
            let slot = self.frames.of(self.now, publication, kind, outgoing.ids);
            if slot.len > link.packet_bytes_max as usize {
                return false;
            }
        }
        let size = publication.message().size() as u64 + ENTRY_BYTES;
        if !session.queue.has_room(size, self.limits) {
            return false;
        }
        self.queue(session, key, publication, outgoing, fx);
        true
    }

    /// Queues a message, or does what the operator chose for full queues.
    pub(super) fn queue(
        &mut self,
        session: &mut Session,
        key: SessionKey,
        publication: &Publication<'_>,
        outgoing: Outgoing<'_>,
        fx: &mut impl Effects,
    ) {
        let stored = self.stored(session);
        let queued = outgoing.kept(publication, session.number(), stored);
        let size = queued.size();
        let (durable, gauges) = (&mut *self.durable, &mut *self.gauges);
        let (mut dropped, owner) = (0, session.stored);
        let pushed = session.queue.push(queued, self.limits, |oldest| {
            dropped += 1;
            gauges.queued_messages -= 1;
            gauges.queued_bytes -= oldest.size();
            if let Some(session) = owner {
                durable.done(session, &oldest, fx);
            }
        });
        self.counters.dropped.queue_full += dropped;
        session.dropped += dropped;
        if pushed != Pushed::Queued {
            if pushed == Pushed::Disconnect && session.link().is_some() {
                self.evict.push(key);
            }
            self.counters.dropped.queue_full += 1;
            session.dropped += 1;
            self.refused += 1;
            return;
        }
        self.gauges.queued_messages += 1;
        self.gauges.queued_bytes += size;
        self.owed(session, publication, outgoing, false);
        if self.limits.overflow == Overflow::Hold && !session.queue.has_room(0, self.limits) {
            self.full = true;
            self.held.filled(key);
        }
        if !self.durable.is_kept(stored) {
            self.durable.awaits(stored);
            if !session.parked {
                session.parked = true;
                self.durable.park(key);
            }
        }
    }
}
