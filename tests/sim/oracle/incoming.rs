//! What a call's cause makes true, before anything that the engine does about it.

use super::{Call, Connecting, Oracle, Reply, Verdict, ensure};
use crate::client::resolve;
use crate::shadow::{AckDue, Conn, LifeId, Publication, Replay, SubAckDue, Subscription, Will, passed_on};
use crate::shard::Cause;
use crate::workload::BAD_FILTERS;
use pantala::codec::{
    Connect, Disconnect, Frame, Packet, Publish, ReasonCode, RetainHandling, Subscribe, Unsubscribe, Version,
    decode,
};
use pantala::engine::{CloseReason, PeerMessage};
use pantala::session::AckKind;
use pantala::session::connect::ClientId;
use pantala::types::{ConnKey, Limits, Message, Now, QoS, ShardId, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

impl Oracle {
    pub(super) fn cause(&mut self, call: &mut Call<'_>, cause: &Cause<'_>) -> Verdict {
        match cause {
            Cause::Connect { conn, connect, client } => self.connect(call, *conn, connect, *client),
            Cause::Packet { conn, frame, .. } => self.packet(call, *conn, *frame),
            Cause::Malformed { conn, error } => self.violation(call, *conn, error.reason()),
            Cause::Lost { conn } if self.shadow.conns.contains_key(&(call.core, *conn)) => {
                self.gone(call, *conn)
            }
            Cause::Writable { conn } => {
                if let Some(state) = self.shadow.conns.get(&(call.core, *conn)) {
                    call.touched.push(state.life);
                    self.shadow.lives[state.life].blocked = false;
                }
                Ok(())
            }
            Cause::Peer { from, message } => self.heard(call, *from, message),
            Cause::Own(message) => {
                let publication = self.own(call, message);
                self.publish(call, publication).map(drop)
            }
            Cause::Tick => {
                self.tick(call);
                Ok(())
            }
            Cause::ShutDown => {
                self.shut_down(call);
                Ok(())
            }
            Cause::TurnEnd => self.nothing_is_overdue(call),
            Cause::Lost { .. } => Ok(()),
            Cause::Restored(_)
            | Cause::Durable(_)
            | Cause::Fetched(_)
            | Cause::StoreIs(_)
            | Cause::StoreStuck => Err(format!("there is no store, and {cause:?}")),
        }
    }

    fn connect(
        &mut self,
        call: &mut Call<'_>,
        conn: ConnKey,
        connect: &Connect<'_>,
        client: ClientId<'_>,
    ) -> Verdict {
        let limits = &self.shadow.limits;
        self.shadow.cores[call.core].counters.packets_in += 1;
        let asked_expiry_s = match connect.version {
            Version::V5 => connect.properties.session_expiry_interval().unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        let keep_alive_s = match (limits.keep_alive_max_s, connect.keep_alive_s) {
            (cap @ 1.., asked) if connect.version.is_v5() && (asked == 0 || asked > cap) => cap,
            (_, asked) => asked,
        };
        let asked_window = connect.properties.receive_maximum().map_or(u16::MAX, std::num::NonZero::get);
        let refused = client.text.is_empty().then_some(ReasonCode::ClientIdentifierNotValid);
        let will = connect.will.as_ref().map(|will| Will {
            message: Publication {
                topic: will.topic.to_owned(),
                payload: will.payload.to_vec(),
                properties: passed_on(&will.properties),
                qos: will.qos,
                retain: will.retain,
                expiry: will.properties.message_expiry_interval().map(|s| Span::from_secs(s.into())),
                received: call.now,
                publisher: format!("will of {}", client.text),
                life: None,
                origin: call.core,
                sent_to: BTreeSet::new(),
                reached: BTreeSet::new(),
                stored: false,
                unretained: false,
                packet_id: None,
                subscribers: 0,
                refused: 0,
                acknowledged: None,
            },
            delay: Span::from_secs(will.properties.will_delay_interval().unwrap_or(0).into()),
        });
        call.connecting = Some(Connecting {
            conn,
            version: connect.version,
            client: client.text.to_owned(),
            assigned: client.assigned,
            clean_start: connect.clean_start,
            asked_expiry_s,
            expiry: granted(asked_expiry_s, limits),
            asked_keep_alive_s: connect.keep_alive_s,
            keep_alive_s,
            receive_maximum: asked_window.min(limits.inflight_max),
            packet_bytes_max: connect
                .properties
                .maximum_packet_size()
                .map_or(u32::MAX, std::num::NonZero::get),
            aliases_max: connect.properties.topic_alias_maximum().unwrap_or(0),
            will,
            refused,
        });
        if refused.is_some() {
            return Ok(());
        }
        let known = self.shadow.clients.get(client.text).map(|&life| &self.shadow.lives[life]);
        match known.map(|life| life.conn) {
            Some(Some(old)) => call.closes.push((old, CloseReason::TakenOver)),
            Some(None) => self.back(call)?,
            None => {}
        }
        Ok(())
    }

    /// A client is back: to begin anew, or in time to prevent its will.
    pub(super) fn back(&mut self, call: &mut Call<'_>) -> Verdict {
        let Some(connecting) = &call.connecting else { return Ok(()) };
        let Some(&life) = self.shadow.clients.get(&connecting.client) else { return Ok(()) };
        if connecting.clean_start {
            return self.end(call, life);
        }
        self.shadow.lives[life].will = None;
        Ok(())
    }

    /// CONNACK has left.
    pub(super) fn open(&mut self, call: &mut Call<'_>, id: LifeId) {
        let Some(connecting) = &mut call.connecting else { return };
        call.touched.push(id);
        let life = &mut self.shadow.lives[id];
        life.conn = Some(connecting.conn);
        life.expiry = connecting.expiry;
        life.limited |= connecting.packet_bytes_max < u32::MAX;
        life.will = connecting.will.take().map(|mut will| {
            will.message.life = Some(id);
            will
        });
        life.flight.iter_mut().for_each(|flight| flight.counted = false);
        life.again = life.flight.iter().map(|flight| flight.packet_id).collect();
        let silence = Some(connecting.keep_alive_s).filter(|&secs| secs > 0);
        let conn = Conn {
            life: id,
            version: connecting.version,
            receive_maximum: connecting.receive_maximum,
            packet_bytes_max: connecting.packet_bytes_max,
            aliases_max: connecting.aliases_max,
            aliases_out: BTreeMap::new(),
            aliases_in: BTreeMap::new(),
            silence: silence.map(|secs| Span::from_millis(u64::from(secs) * 1_500)),
            heard: call.now,
            acks: VecDeque::new(),
            subacks: BTreeMap::new(),
        };
        self.shadow.conns.insert((call.core, connecting.conn), conn);
        self.lives.insert((call.core, connecting.conn), id);
    }

    /// A connection is no more. [MQTT-3.1.2-8], [MQTT-3.1.2-23], [MQTT-3.1.3-9]
    pub(super) fn gone(&mut self, call: &mut Call<'_>, conn: ConnKey) -> Verdict {
        let Some(state) = self.shadow.conns.remove(&(call.core, conn)) else {
            return Err(format!("{conn:?} ended, which was not open"));
        };
        self.shadow.cores[call.core].counters.disconnects += 1;
        let life = &mut self.shadow.lives[state.life];
        life.conn = None;
        life.since = call.now;
        life.blocked = false;
        life.again.clear();
        let ephemeral = life.ephemeral();
        if let Some(will) = life.will.take_if(|will| will.delay == Span(0) || ephemeral) {
            self.publish_will(call, will)?;
        }
        if ephemeral {
            self.end(call, state.life)?;
        }
        Ok(())
    }

    /// A session ends, and its will does not wait any longer. [MQTT-3.1.3-9]
    pub(super) fn end(&mut self, call: &mut Call<'_>, id: LifeId) -> Verdict {
        self.shadow.end(id);
        match self.shadow.lives[id].will.take() {
            Some(will) => self.publish_will(call, will),
            None => Ok(()),
        }
    }

    pub(super) fn publish_will(&mut self, call: &mut Call<'_>, will: Will) -> Verdict {
        self.shadow.cores[call.core].counters.wills += 1;
        let mut message = will.message;
        message.received = call.now;
        self.publish(call, message).map(drop)
    }

    fn violation(&self, call: &mut Call<'_>, conn: ConnKey, reason: ReasonCode) -> Verdict {
        if self.shadow.conns.contains_key(&(call.core, conn)) {
            call.violation = Some(reason);
            call.closes.push((conn, CloseReason::Violation));
        }
        Ok(())
    }

    fn packet(&mut self, call: &mut Call<'_>, conn: ConnKey, frame: Frame<'_>) -> Verdict {
        let Some(state) = self.shadow.conns.get_mut(&(call.core, conn)) else {
            ensure!(call.events.is_empty(), "{:?} on a connection that is closed", call.events);
            return Ok(());
        };
        state.heard = call.now;
        let (life, version) = (state.life, state.version);
        call.touched.push(life);
        self.shadow.cores[call.core].counters.packets_in += 1;
        let packet = match decode(frame, version) {
            Ok(packet) => packet,
            Err(error) => return self.violation(call, conn, error.reason()),
        };
        match packet {
            Packet::Publish(publish) => return self.published(call, conn, &publish),
            Packet::PubAck(ack) => self.settled(life, ack.packet_id.get(), QoS::AtLeastOnce, false),
            Packet::PubComp(ack) => self.settled(life, ack.packet_id.get(), QoS::ExactlyOnce, true),
            Packet::PubRec(ack) if ack.reason.is_error() => {
                self.settled(life, ack.packet_id.get(), QoS::ExactlyOnce, false);
            }
            Packet::PubRec(ack) => {
                let id = ack.packet_id.get();
                let known = self.received(life, id);
                let reason =
                    if known || !version.is_v5() { 0 } else { ReasonCode::PacketIdentifierNotFound as u8 };
                call.reply = Some((conn, Reply::PubRel(id, reason)));
            }
            Packet::PubRel(ack) => {
                let id = ack.packet_id.get();
                let known = self.shadow.lives[life].unreleased.remove(&id).is_some();
                let reason =
                    if known || !version.is_v5() { 0 } else { ReasonCode::PacketIdentifierNotFound as u8 };
                call.reply = Some((conn, Reply::PubComp(id, reason)));
            }
            // [MQTT-3.8.3-4]
            Packet::Subscribe(subscribe)
                if subscribe.filters.iter().any(|(f, o)| f.starts_with("$share/") && o.no_local) =>
            {
                return self.violation(call, conn, ReasonCode::ProtocolError);
            }
            Packet::Subscribe(subscribe) => self.subscribe(conn, life, version, call.core, &subscribe),
            Packet::Unsubscribe(unsubscribe) => {
                let codes = self.unsubscribe(life, &unsubscribe);
                let codes = if version.is_v5() { codes } else { Vec::new() };
                call.reply = Some((conn, Reply::UnsubAck(unsubscribe.packet_id.get(), codes)));
            }
            Packet::PingReq => call.reply = Some((conn, Reply::PingResp)),
            Packet::Disconnect(disconnect) => return self.disconnect(call, conn, life, &disconnect),
            _ => return self.violation(call, conn, ReasonCode::ProtocolError),
        }
        Ok(())
    }

    /// The client acknowledged a message for good.
    fn settled(&mut self, id: LifeId, packet_id: u16, qos: QoS, released: bool) {
        let life = &mut self.shadow.lives[id];
        life.flight.retain(|flight| {
            flight.packet_id != packet_id || flight.copy.qos != qos || flight.released != released
        });
        life.prune_again();
    }

    /// PUBREC: the message is the client's.
    fn received(&mut self, id: LifeId, packet_id: u16) -> bool {
        let flight = self.shadow.lives[id]
            .flight
            .iter_mut()
            .find(|flight| flight.packet_id == packet_id && flight.copy.qos == QoS::ExactlyOnce);
        if let Some(flight) = flight {
            flight.released = true;
            return true;
        }
        false
    }

    fn published(&mut self, call: &mut Call<'_>, conn: ConnKey, publish: &Publish<'_>) -> Verdict {
        let aliases_max = self.shadow.features.topic_alias_max;
        if publish.properties.topic_alias().is_some_and(|alias| alias.get() > aliases_max) {
            return self.violation(call, conn, ReasonCode::TopicAliasInvalid);
        }
        let Some(state) = self.shadow.conns.get_mut(&(call.core, conn)) else { return Ok(()) };
        let Ok(topic) = resolve(&mut state.aliases_in, publish) else {
            return self.violation(call, conn, ReasonCode::ProtocolError);
        };
        let publish = &Publish { topic: &topic, ..*publish };
        if let Some(reason) = misuse(publish, &self.shadow.limits) {
            return self.violation(call, conn, reason);
        }
        let shadow = &mut self.shadow;
        let counters = &mut shadow.cores[call.core].counters;
        counters.publish_in[publish.qos as usize] += 1;
        let Some(state) = shadow.conns.get(&(call.core, conn)) else { return Ok(()) };
        let life = &mut shadow.lives[state.life];
        let acks = state.acks.iter().filter(|due| due.kind == AckKind::PubAck).count();
        let packet_id = publish.packet_id.map_or(0, std::num::NonZero::get);
        let before = life.unreleased.get(&packet_id).filter(|_| publish.qos == QoS::ExactlyOnce).copied();
        let repeated = before.is_some();
        let bound = if state.version.is_v5() { shadow.limits.receive_max } else { u16::MAX };
        let full = life.unreleased.len() + acks >= usize::from(bound);
        if publish.qos != QoS::AtMostOnce && !repeated && full {
            return self.violation(call, conn, ReasonCode::ReceiveMaximumExceeded);
        }
        let mut due = AckDue {
            kind: if publish.qos == QoS::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck },
            packet_id,
            reason: 0,
            publication: before,
        };
        if repeated {
        } else if publish.topic.split('/').next() == Some("$SYS") {
            counters.dropped.reserved_topic += 1;
            due.reason = ReasonCode::NotAuthorized as u8;
        } else {
            let id = state.life;
            if publish.qos == QoS::ExactlyOnce {
                // The next one.
                life.unreleased.insert(packet_id, shadow.publications.len());
            }
            let publication = Publication {
                topic: publish.topic.to_owned(),
                payload: publish.payload.to_vec(),
                properties: passed_on(&publish.properties),
                qos: publish.qos,
                retain: publish.retain,
                expiry: publish.properties.message_expiry_interval().map(|s| Span::from_secs(s.into())),
                received: call.now,
                publisher: life.client.clone(),
                life: Some(id),
                origin: call.core,
                sent_to: BTreeSet::new(),
                reached: BTreeSet::new(),
                stored: false,
                unretained: false,
                packet_id: None,
                subscribers: 0,
                refused: 0,
                acknowledged: None,
            };
            let taken = (publish.qos == QoS::ExactlyOnce).then_some((id, packet_id));
            let publication = Publication { packet_id: taken, ..publication };
            let (id, matched) = self.publish(call, publication)?;
            call.published = Some(id);
            due.reason = if matched { 0 } else { ReasonCode::NoMatchingSubscribers as u8 };
            due.publication = Some(id);
        }
        if publish.qos != QoS::AtMostOnce
            && let Some(state) = self.shadow.conns.get_mut(&(call.core, conn))
        {
            state.acks.push_back(due);
        }
        Ok(())
    }

    fn own(&self, call: &Call<'_>, message: &Message) -> Publication {
        Publication {
            topic: message.topic().to_owned(),
            payload: message.payload().to_vec(),
            properties: message.properties().to_vec(),
            qos: message.delivery.qos,
            retain: message.delivery.retain,
            expiry: message.delivery.expiry,
            received: message.delivery.received,
            publisher: format!("core {}", call.core),
            life: None,
            origin: call.core,
            sent_to: BTreeSet::new(),
            reached: BTreeSet::new(),
            stored: false,
            unretained: false,
            packet_id: None,
            subscribers: 0,
            refused: 0,
            acknowledged: None,
        }
    }

    fn subscribe(
        &mut self,
        conn: ConnKey,
        id: LifeId,
        version: Version,
        core: usize,
        subscribe: &Subscribe<'_>,
    ) {
        let (max, since) = (self.shadow.limits.subscriptions_max as usize, self.shadow.calls);
        let number = subscribe.properties.subscription_identifiers().next().unwrap_or(0);
        let life = &mut self.shadow.lives[id];
        let (mut codes, mut made) = (Vec::new(), Vec::new());
        for (filter, options) in subscribe.filters.iter() {
            let known = life.subscriptions.get(filter);
            let refused = match filter {
                _ if BAD_FILTERS.contains(&filter) => Some(ReasonCode::TopicFilterInvalid),
                _ if filter.starts_with("$share/") => Some(ReasonCode::SharedSubscriptionsNotSupported),
                _ if known.is_none() && life.subscriptions.len() >= max => Some(ReasonCode::QuotaExceeded),
                _ => None,
            };
            if let Some(reason) = refused {
                codes.push(if version.is_v5() { reason as u8 } else { 0x80 });
                continue;
            }
            codes.push(options.qos as u8);
            let fresh = known.is_none();
            let since_first = known.map_or(since, |known| known.since);
            let acknowledged = known.is_some_and(|known| known.acknowledged);
            made.push((filter.to_owned(), since_first));
            let subscription = Subscription { options, id: number, since: since_first, acknowledged };
            life.subscriptions.insert(filter.to_owned(), subscription);
            let asked = match options.retain_handling {
                RetainHandling::Always => true,
                RetainHandling::IfNew => fresh,
                RetainHandling::Never => false,
            };
            if asked {
                life.replays.push(Replay {
                    filter: filter.to_owned(),
                    qos: options.qos,
                    id: number,
                    since,
                    cancelled: false,
                    sent: BTreeSet::new(),
                });
            }
        }
        if let Some(state) = self.shadow.conns.get_mut(&(core, conn)) {
            state.subacks.insert(subscribe.packet_id.get(), SubAckDue { codes, made });
        }
    }

    fn unsubscribe(&mut self, id: LifeId, unsubscribe: &Unsubscribe<'_>) -> Vec<u8> {
        let life = &mut self.shadow.lives[id];
        let codes = unsubscribe
            .filters
            .iter()
            .map(|filter| {
                if life.subscriptions.remove(filter).is_none() {
                    return ReasonCode::NoSubscriptionExisted as u8;
                }
                let asked = life.replays.iter_mut().filter(|replay| replay.filter == filter);
                asked.for_each(|replay| replay.cancelled = true);
                0
            })
            .collect();
        self.shadow.forget_owed(id);
        codes
    }

    fn disconnect(
        &mut self,
        call: &mut Call<'_>,
        conn: ConnKey,
        id: LifeId,
        disconnect: &Disconnect<'_>,
    ) -> Verdict {
        let life = &mut self.shadow.lives[id];
        if let Some(asked_s) = disconnect.properties.session_expiry_interval() {
            if life.ephemeral() && asked_s > 0 {
                return self.violation(call, conn, ReasonCode::ProtocolError);
            }
            life.expiry = granted(asked_s, &self.shadow.limits);
        }
        if disconnect.reason == ReasonCode::Success {
            life.will = None;
        }
        call.closes.push((conn, CloseReason::Goodbye));
        Ok(())
    }

    fn heard(&mut self, call: &mut Call<'_>, from: ShardId, message: &PeerMessage) -> Verdict {
        match message {
            PeerMessage::Publish { message, .. } => self.forwarded(call, from.index(), message),
            PeerMessage::RetainedSet(message) => {
                let known = self.shadow.with_content(message.topic(), message.payload());
                let next = known.iter().copied().find(|&id| {
                    let publication = &self.shadow.publications[id];
                    publication.origin == from.index() && publication.retain && !publication.stored
                });
                let Some(id) = next else {
                    return Err(format!("{message:?} came from core {from} to be retained once too often"));
                };
                self.retain(call.core, id);
                Ok(())
            }
            PeerMessage::RetainedRefused { number } => {
                let sent = &self.shadow.cores[call.core].sent_to_keep[from.index()];
                let Some(&id) = usize::try_from(number - 1).ok().and_then(|at| sent.get(at)) else {
                    return Err(format!("core {from} had no room for {number} and was not asked"));
                };
                let waits = |conn: &Conn| conn.acks.iter().any(|due| due.publication == Some(id));
                if self.shadow.conns.values().any(waits) {
                    self.shadow.publications[id].unretained = true;
                    self.shadow.let_go(id);
                }
                Ok(())
            }
            PeerMessage::InterestAdd { filter, .. } => {
                self.shadow.cores[call.core].interest[from.index()].insert(filter.to_string());
                Ok(())
            }
            PeerMessage::InterestRemove { filter, .. } => {
                self.shadow.cores[call.core].interest[from.index()].remove(&**filter);
                Ok(())
            }
            PeerMessage::RetainedChunk { session, .. } => {
                call.touched.extend(self.fetching.get(&(call.core, *session)));
                Ok(())
            }
            PeerMessage::ShareMembers { .. } | PeerMessage::Share(_) => {
                Err(format!("{message:?} from core {from}, and nobody shares a subscription"))
            }
            PeerMessage::Hold { .. } | PeerMessage::Room => {
                Err(format!("{message:?} from core {from}, and nobody is held back"))
            }
            PeerMessage::Part { .. } | PeerMessage::Kept { .. } | PeerMessage::Taken { .. } => {
                Err(format!("{message:?} from core {from}, and there is no store"))
            }
            PeerMessage::InterestAck { .. }
            | PeerMessage::RetainedAck { .. }
            | PeerMessage::RetainedFetch(_) => Ok(()),
        }
    }

    /// Time has passed: who was silent for too long has to go. [MQTT-3.1.2-22]
    fn tick(&self, call: &mut Call<'_>) {
        for ((_, conn), state) in self.shadow.conns.iter().filter(|((core, _), _)| *core == call.core) {
            if state.silence.is_some_and(|silence| state.heard + silence <= call.now) {
                call.closes.push((*conn, CloseReason::KeepAlive));
            }
        }
    }

    /// All wills that are due were published, all sessions that expired are gone.
    pub(super) fn tick_end(&mut self, call: &Call<'_>) -> Verdict {
        let core: Vec<_> = self.shadow.lives_on(call.core).map(|(id, _)| id).collect();
        for id in core {
            let life = &self.shadow.lives[id];
            ensure!(!life.will_is_due(call.now), "the will of {} was due and is not published", life.client);
            if life.is_expired(call.now) {
                self.shadow.cores[call.core].counters.sessions_expired += 1;
                self.shadow.end(id);
            }
        }
        Ok(())
    }

    /// The engine was called in time for everything that was due, if it said right when that would be.
    fn nothing_is_overdue(&self, call: &Call<'_>) -> Verdict {
        for (_, life) in self.shadow.lives_on(call.core) {
            ensure!(!life.will_is_due(call.now), "the will of {} is overdue", life.client);
            ensure!(
                !life.is_expired(call.now),
                "the session of {} has expired and is still there",
                life.client
            );
        }
        for (_, state) in self.shadow.conns.iter().filter(|((core, _), _)| *core == call.core) {
            let client = &self.shadow.lives[state.life].client;
            let silent = state.silence.is_some_and(|silence| state.heard + silence <= call.now);
            ensure!(!silent, "{client} is silent and still connected [MQTT-3.1.2-22]");
        }
        Ok(())
    }

    fn shut_down(&mut self, call: &mut Call<'_>) {
        for ((_, conn), state) in self.shadow.conns.iter().filter(|((core, _), _)| *core == call.core) {
            self.shadow.lives[state.life].will = None;
            call.closes.push((*conn, CloseReason::ShuttingDown));
        }
    }
}

/// How long a session is kept that asked for so many seconds.
fn granted(asked_s: u32, limits: &Limits) -> Option<Span> {
    let asked = if asked_s == u32::MAX { None } else { Some(Span::from_secs(asked_s.into())) };
    match limits.session_expiry_max {
        Some(most) => Some(asked.map_or(most, |asked| asked.min(most))),
        None => asked,
    }
}

/// What a client may not publish, and what it is told.
fn misuse(publish: &Publish<'_>, limits: &Limits) -> Option<ReasonCode> {
    if publish.properties.subscription_identifier().is_some() || publish.topic.is_empty() {
        return Some(ReasonCode::ProtocolError);
    }
    let deep = publish.topic.split('/').count() > usize::from(limits.topic_levels_max);
    (deep || publish.topic.contains(['+', '#', '\0'])).then_some(ReasonCode::TopicNameInvalid)
}

impl crate::shadow::Life {
    /// Whether its session is over.
    pub(super) fn is_expired(&self, now: Now) -> bool {
        self.conn.is_none() && self.expiry.is_some_and(|expiry| self.since + expiry <= now)
    }

    /// Whether its will waited long enough, or its session for too long.
    pub(super) fn will_is_due(&self, now: Now) -> bool {
        let waited = |will: &Will| self.since + will.delay <= now || self.is_expired(now);
        self.conn.is_none() && self.will.as_ref().is_some_and(waited)
    }
}
