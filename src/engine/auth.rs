//! Enhanced authentication: SCRAM-SHA-256 over CONNECT, AUTH and CONNACK, and again at any time later. [MQTT 4.12]
//!
//! A client that asks for it has no session until it is known: what it sent is kept aside, and nothing but AUTH and
//! DISCONNECT is heard from it [MQTT-3.1.2-30].

use super::{CloseReason, Effects, Engine};
use crate::codec::{
    self, Auth, Connect, DecodeError, Frame, Packet, Properties, PropertiesBuf, Property, ReasonCode, Split,
    Version, split,
};
use crate::sasl::{Authenticated, Exchange, SCRAM_SHA_256, Users, nonce};
use crate::session::connect::{ClientId, Proof, Refusal, packet_bytes_max};
use crate::session::{Proved, Session, Violation};
use crate::types::{ConnKey, HashSeed, Map, Now, SessionKey};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::Arc;

/// Clients of one core that authenticate at the same time. More are refused with 0x89: each keeps a CONNECT in memory.
const LOGINS_MAX: usize = 10_000;

/// A client that has sent CONNECT and is not known yet.
#[derive(Debug)]
struct Login {
    conn: ConnKey,
    /// The whole packet.
    connect: BytesMut,
    client_id: Box<str>,
    assigned: bool,
    exchange: Exchange,
    /// Who could log in when it began.
    users: Arc<Users>,
}

/// All clients of a core that authenticate.
#[derive(Debug)]
pub(super) struct Logins {
    by_slot: Map<u32, Login>,
    /// When each has to be done, in order.
    deadlines: VecDeque<(Now, ConnKey)>,
    /// Counts nonces.
    nonces: u64,
}

impl Logins {
    pub(super) fn new(seed: HashSeed) -> Self {
        Self { by_slot: seed.map(), deadlines: VecDeque::new(), nonces: 0 }
    }

    fn take(&mut self, conn: ConnKey) -> Option<Login> {
        if self.by_slot.get(&conn.slot).is_none_or(|login| login.conn != conn) {
            return None;
        }
        self.by_slot.remove(&conn.slot)
    }

    /// The moment by which to look for clients that take too long.
    pub(super) fn deadline(&self) -> Option<Now> {
        self.deadlines.front().map(|(at, _)| *at)
    }
}

impl Engine {
    /// Begins to authenticate a client that asks for it. [MQTT-4.12.0-1], [MQTT-4.12.0-2]
    pub(super) fn begin_login(
        &mut self,
        now: Now,
        conn: ConnKey,
        connect: &Connect<'_>,
        client: ClientId<'_>,
        method: &str,
        fx: &mut impl Effects,
    ) {
        if method != SCRAM_SHA_256 || self.setup.users.is_empty() {
            let refusal =
                Refusal::new(ReasonCode::BadAuthenticationMethod, "no such authentication method here");
            return self.refuse(conn, connect, client, refusal, fx);
        }
        if self.logins.by_slot.len() >= LOGINS_MAX {
            let refusal = Refusal::new(ReasonCode::ServerBusy, "too many clients authenticate at the moment");
            return self.refuse(conn, connect, client, refusal, fx);
        }
        let data = connect.properties.authentication_data().unwrap_or_default();
        let (exchange, challenge) = match self.challenge(data) {
            Ok(begun) => begun,
            Err(refused) => {
                let why = refused.to_string();
                return self.refuse(conn, connect, client, Refusal::of_login(&why), fx);
            }
        };
        self.response.clear();
        let properties = said(&challenge);
        let auth =
            Auth { reason: ReasonCode::ContinueAuthentication, properties: properties.as_properties() };
        Packet::Auth(auth).encode(Version::V5, &mut self.response);
        if self.response.len() > packet_bytes_max(connect) as usize {
            let why = "AUTH is larger than the client's Maximum Packet Size [MQTT-3.1.2-24]";
            return self.refuse(conn, connect, client, Refusal::new(ReasonCode::PacketTooLarge, why), fx);
        }
        let mut kept = BytesMut::new();
        Packet::Connect(*connect).encode(Version::V5, &mut kept);
        let ClientId { text, assigned } = client;
        let users = Arc::clone(&self.setup.users);
        let login = Login { conn, connect: kept, client_id: text.into(), assigned, exchange, users };
        self.logins.by_slot.insert(conn.slot, login);
        self.logins.deadlines.push_back((now + self.setup.limits.connect_timeout, conn));
        fx.send(conn, &self.response);
    }

    /// Whether a connection's client has yet to prove who it is.
    pub fn authenticates(&self, conn: ConnKey) -> bool {
        !self.logins.by_slot.is_empty()
            && self.logins.by_slot.get(&conn.slot).is_some_and(|login| login.conn == conn)
    }

    fn challenge(&mut self, client_first: &[u8]) -> Result<(Exchange, Vec<u8>), crate::sasl::Refused> {
        self.logins.nonces += 1;
        let nonce = nonce(&self.setup.secret, self.logins.nonces);
        Exchange::begin(client_first, &self.setup.users, &nonce, &self.setup.secret)
    }

    /// Handles a packet of a connection that has no session: of a client that authenticates, or of one that was closed in
    /// the same turn.
    #[cold]
    pub(super) fn without_session(
        &mut self,
        now: Now,
        conn: ConnKey,
        frame: Frame<'_>,
        fx: &mut impl Effects,
    ) {
        let Some(login) = self.logins.take(conn) else { return };
        self.counters.packets_in += 1;
        match codec::decode(frame, Version::V5) {
            Ok(Packet::Auth(auth)) => self.end_login(now, login, &auth, fx),
            Ok(Packet::Disconnect(_)) => {
                self.rights.left(conn, None);
                fx.close(conn, CloseReason::Goodbye);
            }
            Ok(_) => self.refuse_login(
                &login,
                ReasonCode::ProtocolError,
                "only AUTH may follow a CONNECT that asks for it [MQTT-3.1.2-30]",
                fx,
            ),
            Err(error) => self.refuse_login(&login, error.reason(), &error.to_string(), fx),
        }
    }

    /// The client has answered the challenge. [MQTT-4.12.0-3] to [MQTT-4.12.0-5]
    fn end_login(&mut self, now: Now, login: Login, auth: &Auth<'_>, fx: &mut impl Effects) {
        if auth.reason != ReasonCode::ContinueAuthentication
            || auth.properties.authentication_method() != Some(SCRAM_SHA_256)
        {
            let why = "AUTH does not continue what CONNECT began [MQTT-4.12.0-3], [MQTT-4.12.0-5]";
            return self.refuse_login(&login, ReasonCode::ProtocolError, why, fx);
        }
        let Login { conn, connect, client_id, assigned, exchange, users } = login;
        let client = ClientId { text: &client_id, assigned };
        let answer = auth.properties.authentication_data().unwrap_or_default();
        let finished = exchange.finish(answer);
        with_connect(&connect, |connect| match finished {
            // The users were read again meanwhile.
            Ok(Authenticated { user, .. }) if users.get(&user) != self.setup.users.get(&user) => {
                let refusal = Refusal::of_login("this user has to log in anew");
                self.refuse(conn, connect, client, refusal, fx);
            }
            Ok(Authenticated { user, server_final }) => {
                let proof = Proof { method: SCRAM_SHA_256, data: &server_final };
                self.admit_client(now, conn, connect, client, Some((proof, user)), fx);
            }
            Err(refused) => {
                let why = refused.to_string();
                self.refuse(conn, connect, client, Refusal::of_login(&why), fx);
            }
        });
    }

    fn refuse_login(&mut self, login: &Login, reason: ReasonCode, why: &str, fx: &mut impl Effects) {
        let client = ClientId { text: &login.client_id, assigned: login.assigned };
        with_connect(&login.connect, |connect| {
            self.refuse(login.conn, connect, client, Refusal::new(reason, why), fx);
        });
    }

    /// Refuses clients that take too long to authenticate.
    pub(super) fn expire_logins(&mut self, now: Now, fx: &mut impl Effects) {
        while let Some(&(_, conn)) = self.logins.deadlines.front().filter(|(at, _)| *at <= now) {
            self.logins.deadlines.pop_front();
            if let Some(login) = self.logins.take(conn) {
                self.refuse_login(&login, ReasonCode::NotAuthorized, "authentication took too long", fx);
            }
        }
    }

    /// Bytes that are no packet came from a client that authenticates.
    pub(super) fn malformed_login(&mut self, conn: ConnKey, error: DecodeError, fx: &mut impl Effects) {
        if let Some(login) = self.logins.take(conn) {
            self.refuse_login(&login, error.reason(), &error.to_string(), fx);
        }
    }

    /// The socket of a client that may have been authenticating is gone.
    pub(super) fn lost_login(&mut self, conn: ConnKey) {
        if self.logins.take(conn).is_some() {
            self.rights.left(conn, None);
        }
    }

    /// The broker stops.
    pub(super) fn refuse_logins(&mut self, fx: &mut impl Effects) {
        let logins: Vec<Login> = self.logins.by_slot.drain().map(|(_, login)| login).collect();
        for login in logins {
            self.refuse_login(&login, ReasonCode::ServerUnavailable, "this server stops", fx);
        }
    }

    /// Handles AUTH of a connected client: it proves anew who it is, while everything else goes on. [MQTT 4.12.1]
    pub(super) fn on_auth(
        &mut self,
        key: SessionKey,
        auth: &Auth<'_>,
        fx: &mut impl Effects,
    ) -> Result<(), Violation> {
        let link = self.sessions.get_mut(key).and_then(Session::link_mut);
        let proved = link.and_then(|link| link.proved.as_mut()).ok_or(Violation::UnexpectedAuth)?;
        if auth.properties.authentication_method() != Some(SCRAM_SHA_256) {
            return Err(Violation::AuthMethodChanged);
        }
        let exchange = proved.exchange.take();
        let data = auth.properties.authentication_data().unwrap_or_default();
        match (auth.reason, exchange) {
            (ReasonCode::ReAuthenticate, _) => {
                let (exchange, challenge) = self.challenge(data).map_err(Violation::Authentication)?;
                self.with_proved(key, |proved| proved.exchange = Some(exchange));
                self.say(key, ReasonCode::ContinueAuthentication, &challenge, fx);
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                let Authenticated { user, server_final } =
                    exchange.finish(data).map_err(Violation::Authentication)?;
                let mut same = false;
                self.with_proved(key, |proved| same = proved.user == user);
                if !same {
                    return Err(Violation::UserChanged);
                }
                self.say(key, ReasonCode::Success, &server_final, fx);
            }
            _ => return Err(Violation::UnexpectedAuth),
        }
        Ok(())
    }

    fn with_proved(&mut self, key: SessionKey, change: impl FnOnce(&mut Proved)) {
        let link = self.sessions.get_mut(key).and_then(Session::link_mut);
        if let Some(proved) = link.and_then(|link| link.proved.as_mut()) {
            change(proved);
        }
    }

    fn say(&mut self, key: SessionKey, reason: ReasonCode, data: &[u8], fx: &mut impl Effects) {
        let properties = said(data);
        let auth = Auth { reason, properties: properties.as_properties() };
        self.respond(key, Packet::Auth(auth), fx);
    }
}

/// What an AUTH of the server carries. [MQTT-4.12.0-5]
fn said(data: &[u8]) -> PropertiesBuf {
    let mut properties = PropertiesBuf::from(Properties::EMPTY);
    properties.push(Property::AuthenticationMethod(SCRAM_SHA_256));
    properties.push(Property::AuthenticationData(data));
    properties
}

/// Reads a CONNECT that was read before.
fn with_connect(bytes: &[u8], handle: impl FnOnce(&Connect<'_>)) {
    if let Ok(Split::Whole { frame, .. }) = split(bytes, u32::MAX)
        && let Ok(connect) = Connect::decode(frame.body)
    {
        handle(&connect);
    }
}
