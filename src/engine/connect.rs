//! Connections come and go: CONNECT, take-over, resumption, DISCONNECT, loss. [MQTT 3.1, 3.14, 4.1]

use super::durable::{Asking, Waiter};
use super::publish::{Outcome, Publication};
use super::{CloseReason, Effects, Engine, Note, PersistOp, Setup, StoreState, StoredSession};
use crate::codec::{Connect, Disconnect, Packet, PropertiesBuf, Property, ReasonCode};
use crate::session::connect::{ClientId, Proof, Refusal, Terms, Will, accept, refuse, session_expiry};
use crate::session::{Presence, Proved, Session, Violation};
use crate::topic::TopicName;
use crate::types::{ConnKey, Now, SessionId, SessionKey, Span};
use std::sync::Arc;

/// A client that takes no packet of this size cannot be told what it has to know.
const CONNACK_TOO_LARGE: &str = "CONNACK is larger than the client's Maximum Packet Size [MQTT-3.1.2-24]";

impl Engine {
    /// Handles the CONNECT of a connection that this core owns. The connection is closed if the client is refused.
    pub fn connect(
        &mut self,
        now: Now,
        conn: ConnKey,
        connect: &Connect<'_>,
        client: ClientId<'_>,
        fx: &mut impl Effects,
    ) {
        self.counters.packets_in += 1;
        match connect.properties.authentication_method() {
            Some(method) => self.begin_login(now, conn, connect, client, method, fx),
            None => self.admit_client(now, conn, connect, client, None, fx),
        }
    }

    /// Opens the session of a client that is known, or needs not be.
    pub(super) fn admit_client(
        &mut self,
        now: Now,
        conn: ConnKey,
        connect: &Connect<'_>,
        client: ClientId<'_>,
        proved: Option<(Proof<'_>, Box<str>)>,
        fx: &mut impl Effects,
    ) {
        let (proof, user) = proved.unzip();
        if let Some(user) = &user {
            self.rights.proved(conn, client.text, user);
        }
        let terms = match self.settle(now, connect, client, proof) {
            Ok(terms) => terms,
            Err(refusal) => return self.refuse(conn, connect, client, refusal, fx),
        };
        if let Some(will) = &terms.will
            && !self.rights.may_publish(conn, TopicName::trusted(will.message.topic()))
        {
            return self.refuse(conn, connect, client, Refusal::WILL, fx);
        }
        let known = self.by_client.get(client.text).copied();
        let lasts = self.durable.is_on() && !terms.ephemeral();
        if lasts && known.is_none() && self.durable.state == StoreState::Refusing {
            return self.refuse(conn, connect, client, Refusal::STORE, fx);
        }
        let before = self.durable.last();
        if let Some(key) = known {
            self.take_over(now, key, terms.clean_start, fx);
        }
        let resumed = known.filter(|&key| self.sessions.get(key).is_some());
        if resumed.is_none() && self.sessions.len() >= self.setup.limits.sessions_max as usize {
            let refusal =
                Refusal::new(ReasonCode::QuotaExceeded, "this server has as many sessions as it may have");
            return self.refuse(conn, connect, client, refusal, fx);
        }
        let key = resumed.unwrap_or_else(|| self.new_session(now, client.text));
        self.response.clear();
        let Setup { limits, features, .. } = &self.setup;
        accept(connect, client, &terms, resumed.is_some(), (limits, features), proof, &mut self.response);
        fx.send(conn, &self.response);
        fx.note(
            conn,
            Note::Connected {
                client_id: client.text,
                version: terms.version,
                resumed: resumed.is_some(),
                user: self.rights.user(conn),
            },
        );
        self.open(now, key, conn, terms, user);
        self.store_session(key);
        // That a session has begun, and that one has ended, is said when it is true for good; also to who comes once more
        // before it is. Who comes back waits as well where the store takes anything: in a crash it would be away since its
        // former connection, and what it is sent on this one would be forgotten, or come again as if for the first time.
        let request = self.durable.last();
        let is_new = self.sessions.get(key).is_some_and(|session| !self.durable.has(session.known_by));
        if (resumed.is_none() || is_new || self.durable.state == StoreState::Ready)
            && request > before
            && self.durable.wait_for(Asking::By(request), Waiter::Output(conn))
        {
            fx.cork(conn, true);
        }
        self.shares_online(key, true, fx);
        self.pump(now, key, fx);
        self.evict(now, fx);
    }

    /// What a client gets, unless it is refused.
    fn settle(
        &mut self,
        now: Now,
        connect: &Connect<'_>,
        client: ClientId<'_>,
        proof: Option<Proof<'_>>,
    ) -> Result<Terms, Refusal<'static>> {
        let Setup { limits, features, .. } = &self.setup;
        let terms = Terms::settle(connect, client, now, limits, features)?;
        if terms.packet_bytes_max < u32::MAX {
            self.response.clear();
            accept(connect, client, &terms, false, (limits, features), proof, &mut self.response);
            if self.response.len() > terms.packet_bytes_max as usize {
                return Err(Refusal::new(ReasonCode::PacketTooLarge, CONNACK_TOO_LARGE));
            }
        }
        Ok(terms)
    }

    pub(super) fn refuse(
        &mut self,
        conn: ConnKey,
        connect: &Connect<'_>,
        client: ClientId<'_>,
        refusal: Refusal<'_>,
        fx: &mut impl Effects,
    ) {
        self.counters.refused += 1;
        self.response.clear();
        refuse(connect, refusal, &mut self.response);
        fx.send(conn, &self.response);
        self.rights.left(conn, None);
        let Refusal { reason, why, of_login, .. } = refusal;
        fx.note(conn, Note::Refused { client_id: client.text, reason, why, of_login });
        fx.close(conn, CloseReason::Refused);
    }

    /// Ends what another connection, or an earlier one, left under this client id. [MQTT-3.1.4-3], [MQTT-3.1.2-4]
    fn take_over(&mut self, now: Now, key: SessionKey, clean_start: bool, fx: &mut impl Effects) {
        if self.sessions.get(key).is_some_and(|session| session.link().is_some()) {
            self.counters.takeovers += 1;
            self.disconnect(now, key, CloseReason::TakenOver, fx);
        }
        if clean_start {
            self.end_session(now, key, fx);
        } else if let Some(Session { presence: Presence::Away { will, .. }, .. }) = self.sessions.get_mut(key)
        {
            // The client is back within its Will Delay Interval. [MQTT-3.1.3-9]
            *will = None;
        }
    }

    /// Tells the store what it has to know of a session besides what that is owed.
    pub(super) fn store_session(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if !self.durable.is_on() || session.stored.is_none() && session.ephemeral() {
            return;
        }
        let is_new = session.stored.is_none();
        let id = *session.stored.get_or_insert_with(|| self.durable.new_session());
        let published = session.published.as_ref();
        let (away, will) = match &session.presence {
            Presence::Here(link) => (None, link.will.clone().map(|will| (will, None))),
            Presence::Away { since, will } => {
                let pending = will.clone().map(|(due, will)| (will, Some(due)));
                (Some(*since), pending.or_else(|| published.map(|(will, _)| (will.clone(), Some(*since)))))
            }
        };
        // What is in memory was either sent or not; what is not, was not.
        let stored = StoredSession {
            id,
            client_id: session.client_id.clone(),
            expiry: session.expiry,
            away,
            will,
            next_seq: session.next_seq,
            unsent_from: away.and_then(|_| session.unsent_known()),
        };
        let request = self.durable.ask(PersistOp::Session(Box::new(stored)));
        if is_new {
            session.known_by = request;
        }
    }

    fn new_session(&mut self, now: Now, client_id: &str) -> SessionKey {
        let key = self.sessions.insert(Session::new(client_id, now, self.setup.seed));
        self.by_client.insert(client_id.into(), key);
        key
    }

    fn open(&mut self, now: Now, key: SessionKey, conn: ConnKey, terms: Terms, user: Option<Box<str>>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let proved = user.map(|user| Box::new(Proved { user, exchange: None }));
        session.open(conn, now, terms, proved, self.setup.seed);
        self.rights.is_back(key);
        let slot = conn.slot as usize;
        if slot >= self.conns.len() {
            self.conns.resize(slot + 1, None);
        }
        self.conns[slot] = Some((conn.generation, key));
        self.counters.connects += 1;
        self.gauges.connected += 1;
        self.arm(now, key);
    }

    /// Handles DISCONNECT. [MQTT-3.14.4-1] to [MQTT-3.14.4-3]
    pub(super) fn on_disconnect(
        &mut self,
        now: Now,
        conn: ConnKey,
        key: SessionKey,
        disconnect: &Disconnect<'_>,
        fx: &mut impl Effects,
    ) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        if let Some(asked) = disconnect.properties.session_expiry_interval() {
            if session.ephemeral() && asked > 0 {
                return Err(Violation::ExpiryFromZero);
            }
            session.expiry = session_expiry(asked, &self.setup.limits);
        }
        // Only a normal goodbye deletes the will; a client that leaves for an error leaves it behind. [MQTT-3.1.2-8]
        let mut forgets = false;
        if disconnect.reason == ReasonCode::Success
            && let Some(link) = session.link_mut()
        {
            forgets = link.will.take().is_some();
        }
        if !forgets || session.stored.is_none() {
            fx.close(conn, CloseReason::Goodbye);
            self.gone(now, key, fx);
            return Ok(());
        }
        // Who sees the end of the connection has left no will behind, whatever happens to the broker.
        self.gone(now, key, fx);
        if !self.durable.wait_for(Asking::By(self.durable.last()), Waiter::Close(conn)) {
            fx.close(conn, CloseReason::Goodbye);
        }
        Ok(())
    }

    /// The connection's socket was closed or failed.
    pub fn lost(&mut self, now: Now, conn: ConnKey, fx: &mut impl Effects) {
        if let Some(key) = self.session_of(conn) {
            self.gone(now, key, fx);
        }
        self.lost_login(conn);
        self.evict(now, fx);
    }

    /// Ends a connection for what the client did. [MQTT 4.13]
    pub(super) fn violated(&mut self, now: Now, conn: ConnKey, violation: Violation, fx: &mut impl Effects) {
        let Some(key) = self.session_of(conn) else { return };
        let Some(session) = self.sessions.get(key) else { return };
        fx.note(conn, Note::Violation { client_id: &session.client_id, violation });
        self.counters.violations += 1;
        self.part(now, key, CloseReason::Violation, (violation.reason(), &violation.to_string()), fx);
    }

    /// Disconnects the clients whose queues overflowed, if that is what the operator wants.
    pub(super) fn evict(&mut self, now: Now, fx: &mut impl Effects) {
        // Their wills may fill other queues, which may be listed meanwhile.
        while let Some(key) = self.evict.pop() {
            self.disconnect(now, key, CloseReason::QueueFull, fx);
        }
    }

    /// Closes a session's connection from our side. 5.0 clients are told why. [MQTT-3.14.0-1]
    pub(super) fn disconnect(&mut self, now: Now, key: SessionKey, why: CloseReason, fx: &mut impl Effects) {
        let Some(session) = self.sessions.get(key) else { return };
        let Some(link) = session.link() else { return };
        fx.note(link.conn, Note::Closed { client_id: &session.client_id, why });
        let (reason, words) = match why {
            CloseReason::TakenOver => {
                (ReasonCode::SessionTakenOver, "another connection uses this client identifier")
            }
            CloseReason::KeepAlive => {
                (ReasonCode::KeepAliveTimeout, "silence for one and a half times the keep alive")
            }
            CloseReason::QueueFull => {
                (ReasonCode::QuotaExceeded, "more messages wait for this client than may")
            }
            CloseReason::StoreRefuses => (ReasonCode::QuotaExceeded, "the store takes nothing at present"),
            CloseReason::Revoked => {
                (ReasonCode::AdministrativeAction, "this client's user has to log in anew")
            }
            CloseReason::LoginExpired => {
                (ReasonCode::MaximumConnectTime, "what this client has logged in with has expired")
            }
            CloseReason::ShuttingDown if self.setup.features.server_reference.is_some() => {
                (ReasonCode::UseAnotherServer, "this server stops")
            }
            CloseReason::ShuttingDown => (ReasonCode::ServerShuttingDown, "this server stops"),
            CloseReason::Goodbye | CloseReason::Refused | CloseReason::Violation => (ReasonCode::Success, ""),
        };
        self.part(now, key, why, (reason, words), fx);
    }

    /// Sends the last packet of a connection and closes it.
    fn part(
        &mut self,
        now: Now,
        key: SessionKey,
        why: CloseReason,
        (reason, words): (ReasonCode, &str),
        fx: &mut impl Effects,
    ) {
        let Some(link) = self.sessions.get(key).and_then(Session::link) else { return };
        let conn = link.conn;
        if link.version.is_v5() {
            let mut properties = PropertiesBuf::default();
            if let (ReasonCode::UseAnotherServer, Some(reference)) =
                (reason, &self.setup.features.server_reference)
            {
                properties.push(Property::ServerReference(reference));
            }
            let disconnect = Disconnect { reason, properties: properties.as_properties() };
            self.respond_because(key, Packet::Disconnect(disconnect), words, fx);
        }
        fx.close(conn, why);
        self.gone(now, key, fx);
    }

    /// A session's connection is no more: its will is published or its delay begins, the session ends or its expiry
    /// begins.
    fn gone(&mut self, now: Now, key: SessionKey, fx: &mut impl Effects) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let away = Presence::Away { since: now, will: None };
        let Presence::Here(link) = std::mem::replace(&mut session.presence, away) else { return };
        session.stops_sending();
        self.conns[link.conn.slot as usize] = None;
        self.rights.left(link.conn, link.will.is_some().then_some(key));
        self.counters.disconnects += 1;
        self.gauges.connected -= 1;
        let ephemeral = session.ephemeral();
        match link.will {
            Some(will) if (will.delay == Span(0) || ephemeral) && !self.stopping => {
                self.publish_will(now, key, *will, fx);
            }
            Some(will) => {
                if let Some(session) = self.sessions.get_mut(key) {
                    let due = now + will.delay;
                    session.presence = Presence::Away { since: now, will: Some((due, will)) };
                }
            }
            None => {}
        }
        if ephemeral {
            self.end_session(now, key, fx);
        } else {
            self.store_session(key);
            self.shares_online(key, false, fx);
            self.hand_on_shared(now, key, fx);
            self.arm(now, key);
        }
    }

    /// Publishes a will in the name of its session, whose subscriptions may ask for No Local. [MQTT-3.1.2-8],
    /// [MQTT-3.1.2-14], [MQTT-3.1.2-15], [MQTT-3.8.3-3]
    pub(super) fn publish_will(&mut self, now: Now, key: SessionKey, will: Will, fx: &mut impl Effects) {
        let Outcome { asking, retained, retained_by, .. } = self.route_will(now, key, &will, fx);
        let Some(id) = self.sessions.get(key).and_then(|session| session.stored) else { return };
        let waiter = Waiter::Will(key, id);
        let mut missing = usize::from(self.durable.wait_for(asking, waiter));
        missing += usize::from(self.durable.wait_for(Asking::By(retained), waiter));
        if let Some((keeper, number)) = retained_by {
            self.retention.wait(keeper, number, waiter);
            missing += 1;
        }
        if missing > 0
            && let Some(session) = self.sessions.get_mut(key)
        {
            // One that was published before, of an earlier connection, may be waited for still.
            let before = session.published.as_ref().map_or(0, |(_, missing)| *missing);
            session.published = Some((Box::new(will), before + missing));
        }
    }

    pub(super) fn route_will(
        &mut self,
        now: Now,
        key: SessionKey,
        will: &Will,
        fx: &mut impl Effects,
    ) -> Outcome {
        if !self.rights.may_leave(key, TopicName::trusted(will.message.topic())) {
            self.counters.dropped.publish_denied += 1;
            return Outcome::at_once(ReasonCode::NotAuthorized);
        }
        self.counters.wills += 1;
        let mut message = will.message.clone();
        message.delivery.received = now;
        let message = Arc::new(message);
        let mut publication = Publication::of(&message);
        publication.publisher = Some(key);
        self.route(now, &publication, None, fx)
    }

    /// Something is durable that a will waited for: once all is, the store need not have the will any more.
    pub(super) fn will_is_kept(&mut self, key: SessionKey, id: SessionId) {
        let Some(session) = self.sessions.get_mut(key) else { return self.moved(id) };
        let Some((_, missing)) = &mut session.published else { return };
        *missing -= 1;
        if *missing == 0 {
            session.published = None;
            self.store_session(key);
        }
    }

    /// Ends a session for good: its state is forgotten, a will that waits is published. [MQTT-3.1.3-9]
    pub(super) fn end_session(&mut self, now: Now, key: SessionKey, fx: &mut impl Effects) {
        let Some(mut session) = self.sessions.remove(key) else { return };
        // One that ended in an earlier run has left the client id to another.
        if self.by_client.get(&session.client_id) == Some(&key) {
            self.by_client.remove(&session.client_id);
        }
        self.replays.forget(key);
        self.gauges.subscriptions -= session.subscriptions.len() as u64;
        self.gauges.queued_messages -= session.queue.len() as u64;
        self.gauges.queued_bytes -= session.queue.bytes();
        for filter in session.subscriptions.keys() {
            self.withdraw(now, key, filter, session.stored.is_some(), fx);
        }
        if let Some(id) = session.stored {
            return self.end_stored(now, (key, id), session, fx);
        }
        let queued = session.queue.take(|queued| queued.share.is_some());
        for queued in session.outbound.take_shared().iter().chain(&queued) {
            self.hand_on(now, None, queued, fx);
        }
        if let Presence::Away { will: Some((_, will)), .. } = session.presence {
            self.route_will(now, key, &will, fx);
        }
    }

    /// Ends all connections because the broker stops. Wills are not published: their subscribers are going as well. Those of
    /// stored sessions are when the broker runs again.
    pub fn shut_down(&mut self, now: Now, fx: &mut impl Effects) {
        self.stopping = true;
        self.refuse_logins(fx);
        let connected: Vec<SessionKey> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.link().is_some())
            .map(|(key, _)| key)
            .collect();
        for key in connected {
            if let Some(session) = self.sessions.get_mut(key).filter(|session| session.stored.is_none())
                && let Some(link) = session.link_mut()
            {
                link.will = None;
            }
            self.disconnect(now, key, CloseReason::ShuttingDown, fx);
        }
    }
}
