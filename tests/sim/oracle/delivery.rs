//! Messages: to whom, as what, in which order, and what becomes of those that do not fit.

use super::{Call, Oracle, Verdict, ensure, whole};
use crate::client::resolve;
use crate::shadow::{Copy, Flight, LifeId, PubId, Publication, Replay, passed_on};
use crate::shard::Event;
use crate::trace;
use pantala::codec::{Packet, Publish, Version};
use pantala::engine::{CloseReason, PeerMessage, Report};
use pantala::types::limits::Overflow;
use pantala::types::{ConnKey, Message, Now, QoS};

impl Oracle {
    /// A core takes a message. Returns its number and whether anybody is subscribed, as far as the core knows.
    pub(super) fn publish(
        &mut self,
        call: &mut Call<'_>,
        publication: Publication,
    ) -> Verdict<(PubId, bool)> {
        let (topic, retain) = (publication.topic.clone(), publication.retain);
        let id = self.shadow.take(publication);
        for life in self.shadow.lives.iter_mut().filter(|life| !life.ended && life.core != call.core) {
            if life.is_promised(&topic) {
                life.owed.insert(id);
            }
        }
        let here = |filter: &String| crate::shadow::matches(filter, &topic);
        let subscribers = self.shadow.lives_on(call.core);
        let subscribers = subscribers.filter(|(_, life)| life.subscriptions.keys().any(here)).count();
        self.shadow.publications[id].subscribers = subscribers;
        let mut wanted = subscribers > 0;
        self.arrive(call, id)?;
        let core = &mut self.shadow.cores[call.core];
        for (peer, interest) in core.interest.iter().enumerate() {
            if interest.iter().any(here) {
                call.peers.push((peer, id, false));
                self.shadow.publications[id].sent_to.insert(peer);
                core.counters.forwarded += 1;
                wanted = true;
            }
        }
        if retain {
            self.keep(call, id)?;
        }
        Ok((id, wanted))
    }

    /// A message came from the core that took it.
    pub(super) fn forwarded(&mut self, call: &mut Call<'_>, from: usize, message: &Message) -> Verdict {
        let known = self.shadow.with_content(message.topic(), message.payload());
        let next = known.iter().copied().find(|&id| {
            let publication = &self.shadow.publications[id];
            publication.origin == from
                && publication.sent_to.contains(&call.core)
                && !publication.reached.contains(&call.core)
        });
        match next {
            Some(id) => self.arrive(call, id),
            None => Err(format!("{message:?} came from core {from}, twice or not by itself")),
        }
    }

    /// A message is delivered to the sessions of a core.
    fn arrive(&mut self, call: &mut Call<'_>, id: PubId) -> Verdict {
        self.shadow.publications[id].reached.insert(call.core);
        let publication = self.shadow.publications[id].clone();
        let here: Vec<_> = self.shadow.lives_on(call.core).map(|(life, _)| life).collect();
        for life_id in here {
            let calls = self.shadow.calls;
            let life = &mut self.shadow.lives[life_id];
            life.owed.remove(&id);
            let Some(copy) = life.copy_of(id, &publication, publication.life == Some(life_id)) else {
                continue;
            };
            if publication.retain {
                life.live_retained.push((publication.topic.clone(), id, calls));
            }
            // Which of two things came first that are due in one tick, nobody can know.
            if call.tick && life.is_expired(call.now) {
                call.doubt += 1;
            } else {
                self.deliver(call, life_id, copy, publication.expired(call.now));
            }
        }
        Ok(())
    }

    fn deliver(&mut self, call: &mut Call<'_>, id: LifeId, copy: Copy, expired: bool) {
        let too_large = self.shadow.too_large(id, &copy);
        let receive_maximum = self.shadow.conn_of(id).map(|conn| usize::from(conn.receive_maximum));
        let dropped = &mut self.shadow.cores[call.core].counters.dropped;
        let life = &self.shadow.lives[id];
        let connected = life.conn.is_some();
        let direct = connected && (copy.qos == QoS::AtMostOnce || (!life.blocked && life.queue.is_empty()));
        if expired {
            dropped.expired += 1;
        } else if direct && too_large {
            dropped.too_large += 1;
        } else if copy.qos == QoS::AtMostOnce && !connected {
            dropped.offline += 1;
        } else if copy.qos == QoS::AtMostOnce
            || (direct && life.again.is_empty() && receive_maximum.is_some_and(|most| life.window() < most))
        {
            call.due.push((id, copy));
        } else {
            self.enqueue(call, id, copy);
        }
    }

    /// A message waits in a queue, or what the operator wants happens.
    fn enqueue(&mut self, call: &mut Call<'_>, id: LifeId, copy: Copy) {
        let size = self.shadow.queued_size(&copy);
        let (messages_max, bytes_max) =
            (self.shadow.limits.queue_messages_max as usize, self.shadow.limits.queue_bytes_max);
        loop {
            let bytes = self.shadow.queued_bytes(&self.shadow.lives[id]);
            let life = &mut self.shadow.lives[id];
            if life.queue.len() < messages_max && bytes + size <= bytes_max {
                return life.queue.push_back(copy);
            }
            self.shadow.cores[call.core].counters.dropped.queue_full += 1;
            let publication = &mut self.shadow.publications[copy.publication];
            match self.shadow.limits.overflow {
                Overflow::DropOldest if size <= bytes_max && !life.queue.is_empty() => life.queue.pop_front(),
                Overflow::DropOldest | Overflow::DropNewest => {
                    publication.refused += 1;
                    return;
                }
                Overflow::Hold => return life.queue.push_back(copy),
                Overflow::Disconnect => {
                    if let Some(due) = life.conn.map(|conn| (conn, CloseReason::QueueFull))
                        && !call.closes.contains(&due)
                    {
                        call.closes.push(due);
                    }
                    publication.refused += 1;
                    return;
                }
            };
        }
    }

    /// The topic's keeper gets the message, at once if that is this core.
    fn keep(&mut self, call: &mut Call<'_>, id: PubId) -> Verdict {
        let publication = &self.shadow.publications[id];
        let sent = call.events[call.at.min(call.events.len())..].iter().find_map(|event| match event {
            Event::Peer { to, message: PeerMessage::RetainedSet(message) }
                if message.topic() == publication.topic && message.payload() == publication.payload =>
            {
                Some(to.index())
            }
            _ => None,
        });
        let keeper = sent.unwrap_or(call.core);
        let topic = self.shadow.topics.entry(publication.topic.clone()).or_default();
        let known = *topic.keeper.get_or_insert(keeper);
        ensure!(known == keeper, "core {keeper} keeps {:?} and core {known} does too", publication.topic);
        if keeper == call.core {
            self.retain(keeper, id);
        } else {
            call.peers.push((keeper, id, true));
        }
        Ok(())
    }

    /// A keeper handles a message to be retained. [MQTT-3.3.1-5], [MQTT-3.3.1-6]
    pub(super) fn retain(&mut self, core: usize, id: PubId) {
        let shadow = &mut self.shadow;
        shadow.publications[id].stored = true;
        let publications = &shadow.publications;
        let kept = |topic: &crate::shadow::Topic| {
            topic.keeper == Some(core) && topic.current.is_some_and(|id| !publications[id].payload.is_empty())
        };
        let full = shadow.topics.values().filter(|topic| kept(topic)).count()
            >= shadow.limits.retained_messages_max as usize;
        let publication = &publications[id];
        let Some(topic) = shadow.topics.get_mut(&publication.topic) else { return };
        topic.keeper = Some(core);
        if full && !kept(topic) && !publication.payload.is_empty() {
            shadow.cores[core].counters.dropped.retained_full += 1;
            shadow.publications[id].unretained = shadow.publications[id].origin == core;
            return;
        }
        if let Some(before) = topic.current.replace(id) {
            topic.replaced.insert(before, shadow.calls);
        }
    }

    /// A message was offered to a client's output: a repetition, what is due, what waited, or a retained message.
    pub(super) fn offered(
        &mut self,
        call: &mut Call<'_>,
        key: ConnKey,
        frame: &[u8],
        taken: bool,
    ) -> Verdict {
        let Some(conn) = self.shadow.conns.get_mut(&(call.core, key)) else {
            return Err(format!("a message for {key:?}, which is not open"));
        };
        let (id, version) = (conn.life, conn.version);
        let Packet::Publish(publish) = whole(frame, version)? else {
            return Err(format!("{frame:02x?} is no PUBLISH"));
        };
        ensure!(
            frame.len() <= conn.packet_bytes_max as usize,
            "a message larger than {} bytes [MQTT-3.1.2-24]",
            conn.packet_bytes_max
        );
        let alias = publish.properties.topic_alias().map_or(0, std::num::NonZero::get);
        ensure!(alias <= conn.aliases_max, "alias {alias} above {} [MQTT-3.3.2-9]", conn.aliases_max);
        // What the client does not get to read does not count.
        let mut untouched = conn.aliases_out.clone();
        let aliases = if taken { &mut conn.aliases_out } else { &mut untouched };
        let topic = resolve(aliases, &publish)?;
        let publish = Publish { topic: &topic, ..publish };
        call.touched.push(id);
        *self.taken.entry((call.core, key)).or_default() += u64::from(taken);
        let client = self.shadow.lives[id].client.clone();
        self.message(call, id, &publish, version, taken)
            .map_err(|wrong| format!("{} to {client}: {wrong}", trace::publish(&publish)))
    }

    fn message(
        &mut self,
        call: &mut Call<'_>,
        id: LifeId,
        publish: &Publish<'_>,
        version: Version,
        taken: bool,
    ) -> Verdict {
        if publish.dup {
            return self.again(call, id, publish, version, taken);
        }
        if call.tick && self.due_of(call, id, publish).is_none() {
            self.late_will(call, publish)?;
        }
        let (copy, source) = match self.due_of(call, id, publish) {
            Some(at) => (call.due.remove(at).1, Source::Due),
            None => {
                ensure!(!self.shadow.lives[id].blocked, "its output is full");
                // A retained message of QoS 0 does not wait for repetitions that the window has no room for.
                while publish.qos != QoS::AtMostOnce && self.give_up_front(call, id) {}
                match self.waiting(call, id, publish)? {
                    Some(copy) => (copy, Source::Queue),
                    None => self.replayed(id, publish, version)?,
                }
            }
        };
        let expired = self.shadow.publications[copy.publication].expired(call.now);
        ensure!(!expired, "it has expired [MQTT-3.3.2-5]");
        self.as_expected(&copy, publish, version, call.now)?;
        if taken {
            self.first_sending(call, id, copy, source, publish)
        } else {
            self.refused(call, id, copy, source);
            Ok(())
        }
    }

    /// A repetition after a reconnect: in the order of first sending, before anything new. [MQTT-4.4.0-1], [MQTT-4.6.0-1]
    fn again(
        &mut self,
        call: &Call<'_>,
        id: LifeId,
        publish: &Publish<'_>,
        version: Version,
        taken: bool,
    ) -> Verdict {
        let packet_id = publish.packet_id.map_or(0, std::num::NonZero::get);
        while self.shadow.lives[id].again.front().is_some_and(|&front| front != packet_id) {
            ensure!(self.give_up_front(call, id), "something else has to be sent again first");
        }
        let receive_maximum = self.shadow.conn_of(id).map_or(0, |conn| usize::from(conn.receive_maximum));
        let life = &self.shadow.lives[id];
        let due = life.flight.iter().find(|flight| flight.packet_id == packet_id && !flight.released);
        let Some(copy) = due.filter(|_| !life.blocked && !life.again.is_empty()).map(|due| due.copy.clone())
        else {
            return Err("sent again for no reason [MQTT-4.4.0-1]".to_owned());
        };
        ensure!(life.window() < receive_maximum, "more than {receive_maximum} in flight [MQTT-3.3.4-9]");
        self.as_expected(&copy, publish, version, call.now)?;
        let life = &mut self.shadow.lives[id];
        if !taken {
            life.blocked = true;
            return Ok(());
        }
        life.again.pop_front();
        life.flight
            .iter_mut()
            .filter(|flight| flight.packet_id == packet_id)
            .for_each(|flight| flight.counted = true);
        self.shadow.cores[call.core].counters.resent += 1;
        Ok(())
    }

    /// Gives up the first repetition if it is larger than the client takes now [MQTT-3.1.2-25]. False if it is not. A
    /// QoS 2 packet id may be held by the client and has to be released.
    pub(super) fn give_up_front(&mut self, call: &Call<'_>, id: LifeId) -> bool {
        let life = &mut self.shadow.lives[id];
        life.prune_again();
        let Some(packet_id) = life.again.front() else { return false };
        let Some(at) = life.flight.iter().position(|flight| flight.packet_id == *packet_id) else {
            return false;
        };
        let flight = life.flight[at].clone();
        if flight.released || !self.shadow.too_large(id, &flight.copy) {
            return false;
        }
        let life = &mut self.shadow.lives[id];
        life.tally(self.shadow.publications[flight.copy.publication].content()).excused += 1;
        if flight.copy.qos == QoS::ExactlyOnce {
            life.flight[at].released = true;
        } else {
            life.flight.remove(at);
            life.again.pop_front();
        }
        self.shadow.cores[call.core].counters.dropped.too_large += 1;
        true
    }

    fn due_of(&self, call: &Call<'_>, id: LifeId, publish: &Publish<'_>) -> Option<usize> {
        call.due.iter().position(|(life, copy)| *life == id && self.is(copy.publication, publish))
    }

    fn is(&self, id: PubId, publish: &Publish<'_>) -> bool {
        let publication = &self.shadow.publications[id];
        publication.topic == publish.topic && publication.payload == publish.payload
    }

    /// In a tick, a message that nobody is owed is a will whose time has come.
    fn late_will(&mut self, call: &mut Call<'_>, publish: &Publish<'_>) -> Verdict {
        let due = self.shadow.lives_on(call.core).find(|(_, life)| {
            let same = |will: &crate::shadow::Will| {
                will.message.topic == publish.topic && will.message.payload == publish.payload
            };
            life.will_is_due(call.now) && life.will.as_ref().is_some_and(same)
        });
        let Some((id, _)) = due else { return Ok(()) };
        if self.shadow.lives[id].is_expired(call.now) {
            self.shadow.cores[call.core].counters.sessions_expired += 1;
            return self.end(call, id);
        }
        match self.shadow.lives[id].will.take() {
            Some(will) => self.publish_will(call, will),
            None => Ok(()),
        }
    }

    /// A message that waited, if it is its turn. Before it, only messages that cannot be sent may have waited.
    fn waiting(&mut self, call: &Call<'_>, id: LifeId, publish: &Publish<'_>) -> Verdict<Option<Copy>> {
        // Messages without payload all look the same: this is the first that may still be sent.
        let alive = |copy: &Copy| !self.shadow.publications[copy.publication].expired(call.now);
        let found = |copy: &Copy| {
            copy.qos == publish.qos
                && copy.retain == publish.retain
                && self.is(copy.publication, publish)
                && alive(copy)
        };
        let Some(at) = self.shadow.lives[id].queue.iter().position(found) else { return Ok(None) };
        for _ in 0..at {
            ensure!(
                self.drop_front(call, id),
                "sent before {:?} [MQTT-4.6.0-6]",
                self.shadow.lives[id].queue.front()
            );
        }
        Ok(self.shadow.lives[id].queue.pop_front())
    }

    /// Drops the first message of a queue if it may not be sent any more. False if it may.
    fn drop_front(&mut self, call: &Call<'_>, id: LifeId) -> bool {
        let Some(copy) = self.shadow.lives[id].queue.front() else { return false };
        let expired = self.shadow.publications[copy.publication].expired(call.now);
        let too_large = self.shadow.too_large(id, copy);
        let dropped = &mut self.shadow.cores[call.core].counters.dropped;
        if expired {
            dropped.expired += 1;
        } else if too_large {
            dropped.too_large += 1;
        } else {
            return false;
        }
        self.shadow.lives[id].queue.pop_front();
        true
    }

    /// A retained message for a new subscription. It may not be older than what came live. [MQTT-3.3.1-9]
    fn replayed(&self, id: LifeId, publish: &Publish<'_>, version: Version) -> Verdict<(Copy, Source)> {
        let shadow = &self.shadow;
        let known = shadow.with_content(publish.topic, publish.payload);
        let mut ids: Vec<_> = publish.properties.subscription_identifiers().collect();
        ids.sort_unstable();
        let life = &shadow.lives[id];
        for &publication in known.iter().rev() {
            let fits = |replay: &Replay| {
                !replay.cancelled
                    && crate::shadow::matches(&replay.filter, publish.topic)
                    && !replay.sent.contains(publish.topic)
                    && shadow.publications[publication].qos.min(replay.qos) == publish.qos
                    && (!version.is_v5() || ids == replay.ids())
                    && shadow.was_retained(publish.topic, publication, replay.since)
            };
            // A replay that was overtaken need not bring the topic's message, but may.
            let waits = |replay: &Replay| fits(replay) && !life.overtook(replay, publish.topic);
            let found = life.replays.iter().position(waits).or_else(|| life.replays.iter().position(fits));
            let Some(found) = found else { continue };
            let publisher = &shadow.publications[publication].publisher;
            let newer = life.live_retained.iter().find(|(topic, live, _)| {
                topic == publish.topic
                    && *live > publication
                    && shadow.publications[*live].publisher == *publisher
            });
            ensure!(newer.is_none(), "it is retained, and older than {newer:?}");
            let replay = &life.replays[found];
            let copy = Copy { publication, qos: publish.qos, retain: true, ids: replay.ids() };
            return Ok((copy, Source::Replay(found)));
        }
        Err("it is not for this client".to_owned())
    }

    /// Everything about a message is as it should be.
    fn as_expected(&self, copy: &Copy, publish: &Publish<'_>, version: Version, now: Now) -> Verdict {
        let publication = &self.shadow.publications[copy.publication];
        ensure!(
            publish.qos == copy.qos && publish.retain == copy.retain,
            "it should be {copy:?} of {publication:?}"
        );
        if !version.is_v5() {
            return Ok(());
        }
        let properties = &publish.properties;
        let mut ids: Vec<_> = properties.subscription_identifiers().collect();
        ids.sort_unstable();
        ensure!(ids == copy.ids, "it should have the Subscription Identifiers {:?}", copy.ids);
        ensure!(
            passed_on(properties) == publication.properties,
            "it has not the properties of {publication:?}"
        );
        let left_ms =
            publication.expiry.map(|expiry| expiry.0.saturating_sub((now - publication.received).0));
        let said_s = properties.message_expiry_interval();
        ensure!(
            left_ms.is_some() == said_s.is_some()
                && left_ms.zip(said_s).is_none_or(|(left, said)| u64::from(said).abs_diff(left / 1_000) <= 1),
            "it has {left_ms:?} ms to live [MQTT-3.3.2-6]"
        );
        Ok(())
    }

    /// A message leaves for the first time.
    fn first_sending(
        &mut self,
        call: &Call<'_>,
        id: LifeId,
        copy: Copy,
        source: Source,
        publish: &Publish<'_>,
    ) -> Verdict {
        let shadow = &mut self.shadow;
        shadow.cores[call.core].counters.publish_out[copy.qos as usize] += 1;
        let receive_maximum = shadow.conn_of(id).map_or(0, |conn| usize::from(conn.receive_maximum));
        let publication = &shadow.publications[copy.publication];
        let life = &mut shadow.lives[id];
        life.tally(publication.content()).sent[copy.qos as usize] += 1;
        if let Source::Replay(replay) = source {
            life.replays[replay].sent.insert(publication.topic.clone());
        } else {
            let order = (publication.publisher.clone(), publication.topic.clone(), copy.qos);
            let before = life.newest.insert(order, copy.publication);
            ensure!(
                before.is_none_or(|before| before < copy.publication),
                "it is out of order: {before:?} was sent before [MQTT-4.6.0-6]"
            );
        }
        let Some(packet_id) = publish.packet_id.map(std::num::NonZero::get) else { return Ok(()) };
        ensure!(life.again.is_empty(), "repetitions come first [MQTT-4.6.0-1]");
        ensure!(life.window() < receive_maximum, "more than {receive_maximum} in flight [MQTT-3.3.4-9]");
        let in_use = life.flight.iter().any(|flight| flight.packet_id == packet_id);
        ensure!(!in_use, "packet id {packet_id} is in use [MQTT-2.2.1-4]");
        life.flight.push(Flight { packet_id, copy, released: false, counted: true });
        Ok(())
    }

    /// The output had no room: QoS 0 that is live is lost, everything else waits until there is.
    fn refused(&mut self, call: &mut Call<'_>, id: LifeId, copy: Copy, source: Source) {
        let life = &mut self.shadow.lives[id];
        match source {
            Source::Due if copy.qos == QoS::AtMostOnce => {
                self.shadow.cores[call.core].counters.dropped.output_full += 1;
            }
            Source::Due => {
                life.blocked = true;
                self.enqueue(call, id, copy);
            }
            Source::Queue => {
                life.blocked = true;
                life.queue.push_front(copy);
            }
            Source::Replay(_) => life.blocked = true,
        }
    }

    /// Finds what the engine dropped without a trace but in its counters: the first of those that wait, if they may be.
    pub(super) fn account_for_drops(&mut self, call: &Call<'_>, report: &Report) {
        let theirs = report.counters.dropped;
        let missing = |oracle: &Self| {
            let ours = oracle.shadow.cores[call.core].counters.dropped;
            ours.expired < theirs.expired || ours.too_large < theirs.too_large
        };
        let surplus = |oracle: &Self| {
            let queued = oracle.shadow.lives_on(call.core).map(|(_, life)| life.queue.len() as u64);
            queued.sum::<u64>() > report.queued_messages
        };
        let connected = self.shadow.lives_on(call.core).filter(|(_, life)| life.conn.is_some());
        // Also those that nothing is seen of: an acknowledgement of interest may set off more than one of them.
        let others: Vec<_> = connected.map(|(id, _)| id).collect();
        for &id in call.touched.iter().filter(|id| others.contains(id)).chain(&others) {
            while missing(self) && self.give_up_front(call, id) {}
            while missing(self) && surplus(self) && self.drop_front(call, id) {}
        }
        let replaying =
            self.shadow.lives_on(call.core).any(|(_, life)| life.conn.is_some() && !life.replays.is_empty());
        let ours = &mut self.shadow.cores[call.core].counters.dropped;
        if replaying {
            // What a replay comes by is known only once it is sent.
            ours.expired = ours.expired.max(theirs.expired);
            ours.too_large = ours.too_large.max(theirs.too_large);
        }
        let undelivered = (theirs.offline + theirs.queue_full).saturating_sub(ours.offline + ours.queue_full);
        if (1..=call.doubt).contains(&undelivered) {
            (ours.offline, ours.queue_full) = (theirs.offline, theirs.queue_full);
        }
    }

    /// A client with room in its output and its window has nothing waiting.
    pub(super) fn nothing_waits_without_reason(&self, call: &Call<'_>) -> Verdict {
        for (id, life) in self.shadow.lives_on(call.core).filter(|(_, life)| !life.blocked) {
            let Some(conn) = self.shadow.conn_of(id) else { continue };
            let room = life.window() < usize::from(conn.receive_maximum);
            let repetition =
                life.again.front().and_then(|id| life.flight.iter().find(|f| f.packet_id == *id));
            let could_go = match repetition {
                Some(flight) => !flight.released,
                None => !life.queue.is_empty(),
            };
            ensure!(!(room && could_go), "{} could be sent what waits for it: {life:?}", life.client);
        }
        Ok(())
    }
}

/// Where a message that is sent for the first time comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    Due,
    Queue,
    /// The session's replay of this index.
    Replay(usize),
}
