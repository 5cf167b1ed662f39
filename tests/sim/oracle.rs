//! Holds every call of an engine against the shadow: what it was called for, what it did, what it counted.
//!
//! A call is checked event by event. What had to happen within the call and did not is found at its end, when all
//! counters and gauges are compared as well. What may take longer is found when the world has come to rest ([`rest`]).

mod delivery;
mod incoming;
mod rest;

use super::shadow::{AckDue, Copy, LifeId, PubId, Shadow, SubAckDue, Will};
use super::shard::{Cause, Event};
use pantala::codec::{ConnAck, Disconnect, Packet, ReasonCode, Split, SubAck, Version, decode, split};
use pantala::engine::{CloseReason, Counters, PeerMessage, Report};
use pantala::session::AckKind;
use pantala::types::{ConnKey, Features, Limits, Now, QoS, SessionKey, ShardId, Span};
use std::collections::BTreeMap;

/// What is wrong, if something is.
pub(crate) type Verdict<T = ()> = Result<T, String>;

/// Refuses to go on when a condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use ensure;

/// The judge of one run.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) shadow: Shadow,
    /// Of every connection that was ever accepted.
    lives: BTreeMap<(usize, ConnKey), LifeId>,
    /// Whom retained messages are fetched for, by the key that its core has for it.
    fetching: BTreeMap<(usize, SessionKey), LifeId>,
    /// PUBLISH packets that each connection's output took.
    taken: BTreeMap<(usize, ConnKey), u64>,
}

/// A response that has to come at once.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    PubRel(u16, u8),
    PubComp(u16, u8),
    UnsubAck(u16, Vec<u8>),
    PingResp,
}

/// A CONNECT that is being handled, with what its client is to get.
#[derive(Debug)]
struct Connecting {
    conn: ConnKey,
    version: Version,
    client: String,
    assigned: bool,
    clean_start: bool,
    asked_expiry_s: u32,
    expiry: Option<Span>,
    asked_keep_alive_s: u16,
    keep_alive_s: u16,
    receive_maximum: u16,
    packet_bytes_max: u32,
    aliases_max: u16,
    will: Option<Will>,
    /// The reason to refuse it, as a 5.0 code.
    refused: Option<ReasonCode>,
}

/// One call of an engine.
#[derive(Debug)]
struct Call<'a> {
    core: usize,
    now: Now,
    events: &'a [Event],
    /// The event in hand.
    at: usize,
    /// Messages that have to be offered.
    due: Vec<(LifeId, Copy)>,
    /// Messages that have to go to other cores; `true` for those to be retained there.
    peers: Vec<(usize, PubId, bool)>,
    reply: Option<(ConnKey, Reply)>,
    closes: Vec<(ConnKey, CloseReason)>,
    violation: Option<ReasonCode>,
    connecting: Option<Connecting>,
    /// Sessions that the call is about, in the order in which they came up.
    touched: Vec<LifeId>,
    tick: bool,
    /// The client's message that it is about.
    published: Option<PubId>,
    /// Messages that a session did or did not get before it expired in the same tick.
    doubt: u64,
}

impl Oracle {
    pub(crate) fn new(shards: usize, limits: Limits, features: Features) -> Self {
        Self {
            shadow: Shadow::new(shards, limits, features),
            lives: BTreeMap::new(),
            fetching: BTreeMap::new(),
            taken: BTreeMap::new(),
        }
    }

    /// The session that a connection serves or served.
    pub(crate) fn life_of(&self, core: usize, conn: ConnKey) -> Option<LifeId> {
        self.lives.get(&(core, conn)).copied()
    }

    /// A client read a message: `fresh` unless its packet id says that it is a repetition of one that it has.
    pub(crate) fn seen(&mut self, life: LifeId, topic: &str, payload: &[u8], qos: QoS, fresh: bool) {
        if fresh {
            let tally = self.shadow.lives[life].tally((topic.to_owned(), payload.to_vec()));
            tally.seen[qos as usize] += 1;
        }
    }

    /// Judges one call.
    pub(crate) fn check(
        &mut self,
        core: usize,
        now: Now,
        cause: &Cause<'_>,
        events: &[Event],
        report: &Report,
    ) -> Verdict {
        self.shadow.calls += 1;
        let mut call = Call {
            core,
            now,
            events,
            at: 0,
            due: Vec::new(),
            peers: Vec::new(),
            reply: None,
            closes: Vec::new(),
            violation: None,
            connecting: None,
            touched: Vec::new(),
            tick: matches!(cause, Cause::Tick),
            published: None,
            doubt: 0,
        };
        self.cause(&mut call, cause)?;
        for (at, event) in events.iter().enumerate() {
            call.at = at;
            self.event(&mut call, event)?;
        }
        self.finish(&call)?;
        self.compare(&call, report)
    }

    fn event(&mut self, call: &mut Call<'_>, event: &Event) -> Verdict {
        match event {
            Event::Sent { conn, frame } => self.sent(call, *conn, frame),
            Event::Offered { conn, frame, taken } => self.offered(call, *conn, frame, *taken),
            Event::Closed { conn, why } => self.closed(call, *conn, *why),
            Event::Peer { to, message } => self.told(call, *to, message),
        }
    }

    /// A response or a control packet.
    fn sent(&mut self, call: &mut Call<'_>, conn: ConnKey, frame: &[u8]) -> Verdict {
        if call.connecting.as_ref().is_some_and(|connecting| connecting.conn == conn)
            && !self.shadow.conns.contains_key(&(call.core, conn))
        {
            let version = call.connecting.as_ref().map_or(Version::V311, |connecting| connecting.version);
            let packet = whole(frame, version)?;
            let Packet::ConnAck(connack) = packet else {
                return Err(format!("{packet:?} where a CONNACK was due [MQTT-3.2.0-1]"));
            };
            return self.connack(call, &connack);
        }
        let Some(state) = self.shadow.conns.get_mut(&(call.core, conn)) else {
            return Err(format!("{frame:02x?} to {conn:?}, which is not open"));
        };
        let life = state.life;
        call.touched.push(life);
        let reply = match whole(frame, state.version)? {
            Packet::PubAck(ack) => {
                return self.acked(call, conn, AckKind::PubAck, ack.packet_id.get(), ack.reason);
            }
            Packet::PubRec(ack) => {
                return self.acked(call, conn, AckKind::PubRec, ack.packet_id.get(), ack.reason);
            }
            Packet::SubAck(suback) => return self.suback(call, conn, &suback),
            Packet::Disconnect(disconnect) => {
                return check_disconnect(call, conn, state.version, &disconnect);
            }
            Packet::PubRel(ack) => {
                let (id, reason) = (ack.packet_id.get(), ack.reason as u8);
                if !call
                    .reply
                    .as_ref()
                    .is_some_and(|(to, reply)| *to == conn && *reply == Reply::PubRel(id, reason))
                {
                    return self.released_again(call, life, id);
                }
                Reply::PubRel(id, reason)
            }
            Packet::PubComp(ack) => Reply::PubComp(ack.packet_id.get(), ack.reason as u8),
            Packet::UnsubAck(unsuback) => Reply::UnsubAck(unsuback.packet_id.get(), unsuback.codes.to_vec()),
            Packet::PingResp => Reply::PingResp,
            packet => return Err(format!("{packet:?} sent to a client")),
        };
        let due = call.reply.take();
        ensure!(due == Some((conn, reply)), "a response that was not due; due was {due:?}");
        Ok(())
    }

    /// PUBREL again after a reconnect: in its turn. [MQTT-4.4.0-1]
    fn released_again(&mut self, call: &Call<'_>, id: LifeId, packet_id: u16) -> Verdict {
        while self.give_up_front(call, id) {}
        let life = &mut self.shadow.lives[id];
        life.prune_again();
        let released = life.flight.iter().any(|flight| flight.packet_id == packet_id && flight.released);
        let turn = life.again.pop_front();
        ensure!(
            released && turn == Some(packet_id),
            "PUBREL {packet_id} to {} is neither an answer nor what has to be sent again: {turn:?}",
            life.client
        );
        Ok(())
    }

    /// PUBACK or PUBREC: in the order of the PUBLISHes [MQTT-4.6.0-2], [MQTT-4.6.0-3], and only when what it promises is
    /// true.
    fn acked(
        &mut self,
        call: &Call<'_>,
        conn: ConnKey,
        kind: AckKind,
        packet_id: u16,
        reason: ReasonCode,
    ) -> Verdict {
        let Some(state) = self.shadow.conns.get_mut(&(call.core, conn)) else { return Ok(()) };
        let due = state.acks.pop_front();
        let refused = |id: PubId| self.shadow.publications[id].is_refused();
        let due = due.map(|due| match due.publication {
            Some(id) if refused(id) => AckDue { reason: ReasonCode::QuotaExceeded as u8, ..due },
            _ => due,
        });
        let Some(AckDue { publication, .. }) = due.filter(|due| {
            let said = if state.version.is_v5() { due.reason } else { 0 };
            due.kind == kind && due.packet_id == packet_id && said == reason as u8
        }) else {
            return Err(format!("{kind:?} {packet_id} {reason:?} where {due:?} was due"));
        };
        let count = self.shadow.publications.len();
        if let Some(id) = publication {
            let publication = &mut self.shadow.publications[id];
            ensure!(
                publication.stored || !publication.retain,
                "{kind:?} {packet_id} before the message is retained: {publication:?}"
            );
            publication.acknowledged = Some(count);
        }
        Ok(())
    }

    /// SUBACK: from here on, nothing that matches may be missed, wherever it is published.
    fn suback(&mut self, call: &Call<'_>, conn: ConnKey, suback: &SubAck<'_>) -> Verdict {
        let id = suback.packet_id.get();
        let Some(state) = self.shadow.conns.get_mut(&(call.core, conn)) else { return Ok(()) };
        let Some(SubAckDue { codes, made }) = state.subacks.remove(&id) else {
            return Err(format!("SUBACK {id}, which was not due"));
        };
        ensure!(codes == suback.codes, "SUBACK {id} says {:x?} and not {codes:x?}", suback.codes);
        let life = &mut self.shadow.lives[state.life];
        for (filter, since) in made {
            let Some(subscription) = life.subscriptions.get_mut(&filter) else { continue };
            if subscription.since != since {
                continue;
            }
            subscription.acknowledged = true;
            for (core, other) in self.shadow.cores.iter().enumerate() {
                ensure!(
                    core == call.core || other.interest[call.core].contains(&filter),
                    "SUBACK {id} to {} before core {core} knows of {filter:?}",
                    life.client
                );
            }
        }
        Ok(())
    }

    fn closed(&mut self, call: &mut Call<'_>, conn: ConnKey, why: CloseReason) -> Verdict {
        let Some(at) = call.closes.iter().position(|&due| due == (conn, why)) else {
            return Err(format!("{conn:?} was closed as {why:?}; due were {:?}", call.closes));
        };
        call.closes.remove(at);
        call.closes.retain(|&(other, _)| other != conn);
        if why == CloseReason::Refused {
            return Ok(());
        }
        let version = self.shadow.conns.get(&(call.core, conn)).map(|state| state.version);
        let silent = why == CloseReason::Goodbye || version != Some(Version::V5);
        let told = call.at.checked_sub(1).map(|before| &call.events[before]);
        ensure!(
            silent
                || matches!(told, Some(Event::Sent { conn: to, frame }) if *to == conn && frame[0] == 0xe0),
            "{conn:?} was closed as {why:?} without a DISCONNECT"
        );
        let counters = &mut self.shadow.cores[call.core].counters;
        match why {
            CloseReason::KeepAlive => counters.keep_alive_timeouts += 1,
            CloseReason::TakenOver => counters.takeovers += 1,
            CloseReason::Violation => counters.violations += 1,
            _ => {}
        }
        self.gone(call, conn)?;
        if why == CloseReason::TakenOver {
            self.back(call)?;
        }
        Ok(())
    }

    /// A message to another core: exactly those that have to go there.
    fn told(&mut self, call: &mut Call<'_>, to: ShardId, message: &PeerMessage) -> Verdict {
        let (message, retained) = match message {
            PeerMessage::Publish { message, .. } => (message, false),
            PeerMessage::RetainedSet(message) => (message, true),
            PeerMessage::RetainedFetch(fetch) => {
                let life = call.touched.last().copied();
                self.fetching.extend(life.map(|life| ((call.core, fetch.session), life)));
                return Ok(());
            }
            _ => return Ok(()),
        };
        let due = call.peers.iter().position(|&(peer, id, keep)| {
            let publication = &self.shadow.publications[id];
            peer == to.index()
                && keep == retained
                && publication.topic == message.topic()
                && publication.payload == message.payload()
        });
        let Some(due) = due else {
            let what = if retained { "to be retained" } else { "forwarded" };
            return Err(format!("{message:?} {what} by core {to}, which has no use for it"));
        };
        let (_, id, _) = call.peers.remove(due);
        if retained {
            self.shadow.cores[call.core].sent_to_keep[to.index()].push(id);
        }
        Ok(())
    }

    /// What had to happen in this call has happened.
    fn finish(&mut self, call: &Call<'_>) -> Verdict {
        if call.tick {
            self.tick_end(call)?;
        }
        if let Some(id) = call.published.filter(|&id| self.shadow.publications[id].is_refused()) {
            self.shadow.let_go(id);
        }
        if let Some((life, copy)) = call.due.first() {
            let publication = &self.shadow.publications[copy.publication];
            let client = &self.shadow.lives[*life].client;
            return Err(format!("{client} was not offered {publication:?}"));
        }
        ensure!(call.reply.is_none(), "no response: {:?}", call.reply);
        ensure!(call.closes.is_empty(), "not closed: {:?}", call.closes);
        ensure!(call.peers.is_empty(), "not told other cores: {:?}", call.peers);
        if let Some(connecting) = &call.connecting {
            let open = self.shadow.conns.contains_key(&(call.core, connecting.conn));
            ensure!(open || connecting.refused.is_some(), "no CONNACK to {}", connecting.client);
        }
        Ok(())
    }

    /// The engine's numbers are the shadow's.
    fn compare(&mut self, call: &Call<'_>, report: &Report) -> Verdict {
        self.account_for_drops(call, report);
        self.nothing_waits_without_reason(call)?;
        let shadow = &self.shadow;
        let (ours, theirs) = (shadow.cores[call.core].counters, report.counters);
        ensure!(ours == theirs, "counters differ: {}", difference(&ours, &theirs));
        let lives: Vec<_> = shadow.lives_on(call.core).map(|(_, life)| life).collect();
        let retained = |id: &PubId| !shadow.publications[*id].payload.is_empty();
        let kept = shadow.topics.values().filter(|topic| topic.keeper == Some(call.core));
        let ours = [
            ("connected", lives.iter().filter(|life| life.conn.is_some()).count() as u64, report.connected),
            ("sessions", lives.len() as u64, report.sessions),
            (
                "subscriptions",
                lives.iter().map(|life| life.subscriptions.len() as u64).sum(),
                report.subscriptions,
            ),
            (
                "queued messages",
                lives.iter().map(|life| life.queue.len() as u64).sum(),
                report.queued_messages,
            ),
            ("queued bytes", lives.iter().map(|life| shadow.queued_bytes(life)).sum(), report.queued_bytes),
            (
                "retained messages",
                kept.filter_map(|topic| topic.current.as_ref()).filter(|id| retained(id)).count() as u64,
                report.retained_messages,
            ),
        ];
        for (what, ours, theirs) in ours {
            ensure!(ours == theirs, "{what}: {theirs} instead of {ours}");
        }
        Ok(())
    }
}

/// The numbers that are not the same.
fn difference(ours: &Counters, theirs: &Counters) -> String {
    let (ours, theirs) = (format!("{ours:#?}"), format!("{theirs:#?}"));
    let lines = ours.lines().zip(theirs.lines()).filter(|(ours, theirs)| ours != theirs);
    lines.map(|(ours, theirs)| format!("{} instead of {}; ", theirs.trim(), ours.trim())).collect()
}

/// The one packet in a frame.
fn whole(frame: &[u8], version: Version) -> Verdict<Packet<'_>> {
    match split(frame, u32::MAX) {
        Ok(Split::Whole { frame: whole, len }) if len == frame.len() => {
            decode(whole, version).map_err(|error| format!("{frame:02x?} to a client: {error}"))
        }
        other => Err(format!("{frame:02x?} to a client is not one packet: {other:?}")),
    }
}

/// A 5.0 client is told why its connection ends, right before it does.
fn check_disconnect(
    call: &Call<'_>,
    conn: ConnKey,
    version: Version,
    disconnect: &Disconnect<'_>,
) -> Verdict {
    let Some(Event::Closed { conn: closed, why }) = call.events.get(call.at + 1) else {
        return Err(format!("{disconnect:?} and then {:?}", call.events.get(call.at + 1)));
    };
    let reason = match why {
        CloseReason::TakenOver => Some(ReasonCode::SessionTakenOver),
        CloseReason::KeepAlive => Some(ReasonCode::KeepAliveTimeout),
        CloseReason::QueueFull => Some(ReasonCode::QuotaExceeded),
        CloseReason::ShuttingDown => Some(ReasonCode::ServerShuttingDown),
        CloseReason::Violation => call.violation,
        CloseReason::LoginExpired => Some(ReasonCode::MaximumConnectTime),
        CloseReason::Revoked => Some(ReasonCode::AdministrativeAction),
        CloseReason::Goodbye | CloseReason::Refused | CloseReason::StoreRefuses => None,
    };
    ensure!(
        *closed == conn && version.is_v5() && Some(disconnect.reason) == reason,
        "{disconnect:?} where {reason:?} was due"
    );
    Ok(())
}

impl Oracle {
    /// CONNACK. [MQTT-3.2.2-2] to [MQTT-3.2.2-6]
    fn connack(&mut self, call: &mut Call<'_>, connack: &ConnAck<'_>) -> Verdict {
        let Some(connecting) = &mut call.connecting else { return Ok(()) };
        let shadow = &mut self.shadow;
        let known = shadow.clients.get(&connecting.client).copied();
        let full = shadow.lives_on(call.core).count() >= shadow.limits.sessions_max as usize;
        if known.is_none() && full {
            connecting.refused.get_or_insert(ReasonCode::QuotaExceeded);
        }
        let counters = &mut shadow.cores[call.core].counters;
        if let Some(reason) = connecting.refused {
            counters.refused += 1;
            call.closes.push((connecting.conn, CloseReason::Refused));
            let code = match (connecting.version, reason) {
                (Version::V5, reason) => reason as u8,
                (_, ReasonCode::ClientIdentifierNotValid) => 2,
                _ => 3,
            };
            ensure!(
                connack.code == code && !connack.session_present,
                "{connack:?} where {reason:?} was due [MQTT-3.2.2-6]"
            );
            return Ok(());
        }
        counters.connects += 1;
        ensure!(
            connack.code == 0 && connack.session_present == known.is_some(),
            "{connack:?} to {}, whose session is {known:?}",
            connecting.client
        );
        check_terms(connecting, connack, &shadow.limits, &shadow.features)?;
        let life = known.unwrap_or_else(|| {
            shadow.lives.push(super::shadow::Life::new(&connecting.client, call.core, call.now));
            shadow.clients.insert(connecting.client.clone(), shadow.lives.len() - 1);
            shadow.lives.len() - 1
        });
        self.open(call, life);
        Ok(())
    }
}

/// What a 5.0 client is told that it gets.
fn check_terms(
    connecting: &Connecting,
    connack: &ConnAck<'_>,
    limits: &Limits,
    features: &Features,
) -> Verdict {
    if connecting.version != Version::V5 {
        return Ok(());
    }
    let properties = &connack.properties;
    let granted_s =
        connecting.expiry.map_or(u32::MAX, |span| u32::try_from(span.as_secs()).unwrap_or(u32::MAX));
    let keep_alive_s = properties.server_keep_alive().unwrap_or(connecting.asked_keep_alive_s);
    let assigned = connecting.assigned.then_some(connecting.client.as_str());
    ensure!(
        properties.session_expiry_interval().unwrap_or(connecting.asked_expiry_s) == granted_s
            && keep_alive_s == connecting.keep_alive_s
            && properties.assigned_client_identifier() == assigned
            && properties.receive_maximum().map(std::num::NonZero::get) == Some(limits.receive_max)
            && properties.topic_alias_maximum().unwrap_or(0) == features.topic_alias_max
            && properties.maximum_packet_size().map(std::num::NonZero::get) == Some(limits.packet_bytes_max),
        "{connack:?} does not say what {connecting:?} gets"
    );
    Ok(())
}
