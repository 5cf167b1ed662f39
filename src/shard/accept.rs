//! New connections: accepted on any shard, handed to the one that owns the client.

use super::conn::{Conn, Phase};
use super::journal::NoClient;
use super::login::{Entry, Refused};
use super::{Handed, Item, Shard, Token};
use crate::access::{Full, Places};
use crate::codec::{Connect, DecodeError, Frame, ReasonCode};
use crate::session::connect::{ClientId, Identity, Refusal, refuse, refuse_malformed};
use crate::throttle::Verdict;
use crate::transport::tls::{Session, client_name};
use crate::transport::{Channel, Gate, Peer, Seat};
use crate::types::{ConnKey, Now, ShardId, Span, any_contains};
use crate::websocket::CloseCode;
use bytes::BytesMut;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use rustix::rand::{GetRandomFlags, getrandom};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tracing::{debug, error, info};

/// Connections accepted per listener and turn.
const PER_TURN: usize = 64;
/// How long a listener rests when the process is out of descriptors or memory.
const BACK_OFF: Span = Span::from_millis(200);

/// A connection on its way to the shard that owns its client.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) socket: OwnedFd,
    pub(super) peer: Peer,
    pub(super) seat: Seat,
    pub(super) user: Option<Box<str>>,
    pub(super) channel: Option<Box<Channel>>,
    pub(super) places: Option<Box<Places>>,
    /// Everything read so far: CONNECT and what follows it.
    pub(super) input: Vec<u8>,
}

impl Handed {
    /// A WebSocket whose upgrade somebody else has answered. `input` is what came behind the request, decrypted where
    /// `tls` has decrypted it already, and `user` the name in a certificate that somebody else has checked.
    pub fn upgraded(
        (socket, peer, seat): (OwnedFd, Peer, Seat),
        user: Option<Box<str>>,
        tls: Option<Session>,
        mut input: Vec<u8>,
    ) -> Self {
        let which = seat.gate().settings().username_from_cert;
        let name = tls.as_ref().zip(which).and_then(|(tls, which)| client_name(tls.inner()?, which));
        let mut channel = Channel::upgraded(tls);
        let len = channel.resume(&mut input).len;
        input.truncate(len);
        let user = name.map(Into::into).or(user);
        Self(Handover { socket, peer, seat, user, channel: Some(channel), places: None, input })
    }
}

/// One shard's socket of a listener, and whether it rests.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: OwnedFd,
    /// What all shards share of it.
    gate: Arc<Gate>,
    /// Out of descriptors or memory: not asked again before this.
    resting: Option<Now>,
    /// As many TLS handshakes go on as may: not asked again before one is done.
    paused: bool,
}

impl Listener {
    /// A socket that listens for those who come through a gate.
    pub fn new(socket: OwnedFd, gate: Arc<Gate>) -> Self {
        Self { socket, gate, resting: None, paused: false }
    }
}

impl Listener {
    /// Whether so many TLS handshakes are all that it may have.
    fn is_busy(&self, handshaking: u32) -> bool {
        self.gate.settings().tls.as_ref().is_some_and(|tls| handshaking >= tls.handshakes_max)
    }
}

impl Shard {
    /// Accepts what waits on a listener.
    pub(super) fn accept(&mut self, index: usize) {
        for _ in 0..PER_TURN {
            let Some(listener) = self.listeners.get_mut(index) else { return };
            if listener.is_busy(self.world.handshaking) {
                return self.pause(index);
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match acceptfrom_with(&listener.socket, flags) {
                Ok((socket, address)) => {
                    let peer = peer(&socket, address);
                    let gate = Arc::clone(&listener.gate);
                    self.welcome(socket, peer, &gate);
                }
                Err(Errno::AGAIN) => return,
                // The peer was gone before we came to it, or a signal came.
                Err(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NOPROTOOPT
                    | Errno::OPNOTSUPP
                    | Errno::NONET
                    | Errno::PERM,
                ) => {}
                Err(error) => return self.rest(index, error),
            }
        }
    }

    /// Out of descriptors or memory: the listener is left alone for a while, its connections wait in the kernel.
    pub(super) fn rest(&mut self, index: usize, cause: Errno) {
        let until = self.world.now + BACK_OFF;
        let Some(listener) = self.listeners.get_mut(index) else { return };
        if listener.resting.is_none() {
            error!(%cause, shard = self.id.0, "cannot accept connections, will go on trying; raise the limit of open files (ulimit -n, LimitNOFILE=) if that is the cause");
        }
        listener.resting = Some(until);
        self.watch(index, epoll::EventFlags::empty());
        self.rested = Some(self.rested.map_or(until, |first| first.min(until)));
    }

    /// Leaves a listener alone, whose connections wait in the kernel.
    fn pause(&mut self, index: usize) {
        let Some(listener) = self.listeners.get_mut(index) else { return };
        listener.paused = true;
        self.watch(index, epoll::EventFlags::empty());
    }

    /// Says what of a listener wakes the shard. One that nobody accepts from would keep it awake.
    fn watch(&self, index: usize, events: epoll::EventFlags) {
        if let Some(listener) = self.listeners.get(index) {
            let _ = epoll::modify(&self.epoll, &listener.socket, Token::Listener(index).data(), events);
        }
    }

    /// Goes on accepting where TLS handshakes were in the way.
    pub(super) fn go_on_accepting(&mut self) {
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if listener.paused && !listener.is_busy(self.world.handshaking) {
                listener.paused = false;
                if listener.resting.is_none() {
                    self.watch(index, epoll::EventFlags::IN);
                }
            }
        }
    }

    /// Tries the listeners again whose rest is over.
    pub(super) fn wake_listeners(&mut self) {
        if self.rested.is_none_or(|at| at > self.world.now) {
            return;
        }
        self.rested = None;
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            match listener.resting {
                Some(until) if until > self.world.now => {
                    self.rested = Some(self.rested.map_or(until, |first| first.min(until)));
                }
                Some(_) => {
                    self.watch(index, epoll::EventFlags::IN);
                    self.accept(index);
                    let Some(listener) = self.listeners.get_mut(index) else { return };
                    // Otherwise accepting failed again, and set a new rest without a new line in the log.
                    if listener.resting.is_some_and(|until| until <= self.world.now) {
                        listener.resting = None;
                        info!(shard = self.id.0, "accepting connections again");
                    }
                }
                None => {}
            }
        }
    }

    fn welcome(&mut self, socket: OwnedFd, peer: Peer, gate: &Arc<Gate>) {
        self.world.traffic.opened += 1;
        let by_proxy = peer.ip().is_some_and(|address| any_contains(&gate.settings().proxies, address));
        let admitted = by_proxy || gate.admits(peer.ip());
        let seat = admitted.then(|| gate.enter()).flatten();
        let why = match seat {
            _ if self.world.conns.len() >= self.connections_max => NoClient::TooMany,
            // Whom a load balancer connects for is asked about when that is known.
            Some(seat) => match if by_proxy { Ok(None) } else { self.guarded(peer) } {
                Ok(places) => {
                    let Some(key) = self.adopt(socket, peer, seat) else { return };
                    self.wrap(key, gate);
                    if let Some(conn) = self.world.conns.get_mut(key) {
                        conn.flags.header_due = by_proxy;
                        conn.places = places;
                    }
                    return;
                }
                Err(why) => why,
            },
            None if admitted => NoClient::Full,
            None => NoClient::Denied,
        };
        self.no_client(peer, why);
    }

    /// A place among the connections of a client's address, if those are counted and there is one.
    pub(super) fn guarded(&self, peer: Peer) -> Result<Option<Box<Places>>, NoClient> {
        let Some(address) = peer.ip() else { return Ok(None) };
        match self.logins.guard.attempt(self.world.now, address, 1) {
            Verdict::Admitted => {}
            Verdict::ShutOut(_) => return Err(NoClient::ShutOut),
            Verdict::Refused(_) => return Err(NoClient::StillOut),
        }
        self.counted(peer).map_err(|Full| NoClient::AddressFull)
    }

    fn counted(&self, peer: Peer) -> Result<Option<Box<Places>>, Full> {
        let Some(address) = peer.ip() else { return Ok(None) };
        let place = self.logins.guard.address(address)?;
        Ok(place.map(|place| Box::new(Places { address: Some(place), user: None })))
    }

    /// The same for a connection whose client's address is known only now.
    pub(super) fn place(&mut self, key: ConnKey, peer: Peer) {
        match self.guarded(peer) {
            Ok(places) => {
                if let Some(conn) = self.world.conns.get_mut(key) {
                    conn.places = places;
                }
            }
            Err(why) => self.refuse_connection(key, why),
        }
    }

    /// Makes a socket one of this shard's connections.
    fn adopt(&mut self, socket: OwnedFd, peer: Peer, seat: Seat) -> Option<ConnKey> {
        let deadline = self.world.now + self.connect_timeout;
        let key = self.world.conns.insert(Conn::new(socket, peer, seat, deadline));
        let conn = self.world.conns.get(key)?;
        let events =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        if let Err(cause) = epoll::add(&self.epoll, &conn.socket, Token::Conn(key).data(), events) {
            self.no_client(peer, NoClient::Unwatched(cause));
            self.drop_conn(key);
            return None;
        }
        self.world.deadlines.arm(deadline, key);
        Some(key)
    }

    /// Takes over a connection that another shard accepted.
    pub(super) fn take_over(&mut self, handover: Handover) {
        let Handover { socket, peer, seat, user, channel, places, input } = handover;
        if self.stopping() {
            return;
        }
        // One that has become a WebSocket on another thread was not counted there.
        let places = places.map_or_else(|| self.counted(peer), |places| Ok(Some(places)));
        if let Some(key) = self.adopt(socket, peer, seat) {
            let Ok(places) = places else { return self.refuse_connection(key, NoClient::AddressFull) };
            if let Some(conn) = self.world.conns.get_mut(key) {
                // Its layers may have something to say or to hand on that no event of the socket will announce.
                let more = channel.is_some();
                (conn.user, conn.channel, conn.flags.ready) = (user, channel, more);
                conn.places = places;
                if more {
                    self.ready.push_back(key);
                    self.world.mark(key);
                }
            }
            self.input(key, &input);
        }
    }

    /// Handles the first packet of a connection, `frame`, the first `len` of `bytes`. Returns how many bytes were used.
    pub(super) fn hello(&mut self, key: ConnKey, frame: Frame<'_>, len: usize, bytes: &[u8]) -> usize {
        let connect = match Connect::decode(frame.body) {
            Ok(connect) => connect,
            Err(error) => {
                self.refuse_malformed(key, frame.body, error);
                self.refuse_connection(key, NoClient::Malformed(error));
                return bytes.len();
            }
        };
        if self.redirect(key, &connect)
            || self.not_spoken(key, &connect)
            || self.nameless(key, &connect)
            || self.anonymous(key, &connect)
        {
            return bytes.len();
        }
        let identity = Identity::of(&connect);
        if let Identity::Given(client_id) = identity
            && let owner = self.placement.owner(client_id)
            && owner != self.id
        {
            self.hand_over(key, owner, bytes);
            return bytes.len();
        }
        match self.log_in(key, &connect) {
            Entry::Open => {}
            Entry::Waits => return 0,
            Entry::Shut => return bytes.len(),
        }
        match identity {
            Identity::Given(client_id) => {
                self.open(key, &connect, ClientId { text: client_id, assigned: false });
            }
            Identity::Assign => {
                let id = self.placement.assign(self.id, || u128::from_ne_bytes(random()));
                self.open(key, &connect, ClientId { text: &id, assigned: true });
            }
            Identity::Refused => self.open(key, &connect, ClientId { text: "", assigned: false }),
        }
        len
    }

    /// Sends a client away whose listener serves nobody; true if it is so. [MQTT 4.11]
    fn redirect(&mut self, key: ConnKey, connect: &Connect<'_>) -> bool {
        let Some(conn) = self.world.conns.get(key) else { return false };
        let Some(redirect) = conn.seat.gate().settings().redirect.clone() else { return false };
        let reason = if redirect.permanent { ReasonCode::ServerMoved } else { ReasonCode::UseAnotherServer };
        let refusal = Refusal {
            reference: Some(&redirect.to),
            ..Refusal::new(reason, "this server sends its clients on")
        };
        debug!(peer = %conn.peer, client_id = connect.client_id, to = %redirect.to, "sent to another server");
        self.answer(key, connect, refusal);
        self.world.traffic.strangers += 1;
        self.world.begin_close(key, CloseCode::POLICY);
        true
    }

    /// Refuses a client whose listener does not offer its version of MQTT; true if it is so. [MQTT-3.1.2-2]
    fn not_spoken(&mut self, key: ConnKey, connect: &Connect<'_>) -> bool {
        let Some(conn) = self.world.conns.get(key) else { return false };
        if conn.seat.gate().settings().versions.has(connect.version) {
            return false;
        }
        let why = "this listener does not offer this version of MQTT";
        let refusal = Refusal::new(ReasonCode::UnsupportedProtocolVersion, why);
        self.answer(key, connect, refusal);
        self.refuse_connection(key, NoClient::Version(connect.version));
        true
    }

    /// Refuses a client whose certificate has not the name that its listener asks for; true if it is so. Otherwise it could
    /// choose anybody's in its CONNECT, as one without certificate may, who has to prove it by other means.
    fn nameless(&mut self, key: ConnKey, connect: &Connect<'_>) -> bool {
        let Some(conn) = self.world.conns.get(key) else { return false };
        let asked = conn.seat.gate().settings().username_from_cert.is_some();
        let tls = conn.channel.as_ref().and_then(|channel| channel.tls());
        let certified = tls.and_then(Session::inner).is_some_and(|tls| tls.peer_certificates().is_some());
        if !asked || !certified || conn.user.is_some() {
            return false;
        }
        let why = "the certificate has no name that this listener could use as user name";
        self.answer(key, connect, Refusal::new(ReasonCode::NotAuthorized, why));
        self.refuse_connection(key, NoClient::Nameless);
        true
    }

    /// Refuses a client that proves nothing where that is not enough; true if it is so.
    fn anonymous(&mut self, key: ConnKey, connect: &Connect<'_>) -> bool {
        let Some(conn) = self.world.conns.get(key) else { return false };
        let proves = conn.user.is_some() || self.logins.heeds(connect);
        if proves || conn.seat.gate().is_open() {
            return false;
        }
        let why = "this listener serves only clients that log in";
        self.turn_away(key, connect, Refusal::of_login(why), &Refused::Anonymous);
        true
    }

    /// Tells a client why it is not served.
    pub(super) fn answer(&mut self, key: ConnKey, connect: &Connect<'_>, refusal: Refusal<'_>) {
        let mut out = BytesMut::new();
        refuse(connect, refusal, &mut out);
        if let Some(conn) = self.world.conns.get_mut(key) {
            conn.output.push(&out, &mut self.world.pool);
        }
    }

    fn open(&mut self, key: ConnKey, connect: &Connect<'_>, client: ClientId<'_>) {
        if let Some(before) = self.engine.connection(client.text) {
            self.read_last(before);
        }
        let introduction = self.introduction(key);
        if let Some(user) = &introduction.user
            && !self.seated(key, user, client.text)
        {
            let why = "as many connections of this user as may be";
            self.answer(key, connect, Refusal::new(ReasonCode::QuotaExceeded, why));
            return self.refuse_connection(key, NoClient::UserFull);
        }
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        conn.phase = Phase::Open;
        self.engine.introduce(key, client.text, introduction);
        self.engine.connect(self.world.now, key, connect, client, &mut self.world);
    }

    /// Gives a connection a place among those of its user; false when there is none. The place of an earlier connection of the
    /// same client, which is about to be closed, is free.
    fn seated(&mut self, key: ConnKey, user: &str, client_id: &str) -> bool {
        if let Some(before) = self.engine.connection(client_id)
            && let Some(conn) = self.world.conns.get_mut(before)
        {
            conn.places = None;
        }
        let Ok(place) = self.logins.guard.user(user) else { return false };
        if let (Some(place), Some(conn)) = (place, self.world.conns.get_mut(key)) {
            conn.places.get_or_insert_default().user = Some(place);
        }
        true
    }

    fn hand_over(&mut self, key: ConnKey, owner: ShardId, bytes: &[u8]) {
        if let Some(conn) = self.world.conns.remove(key) {
            let _ = epoll::delete(&self.epoll, &conn.socket);
            let Conn { socket, peer, seat, user, channel, places, .. } = conn;
            let handover = Handover { socket, peer, seat, user, channel, places, input: bytes.to_vec() };
            self.world.port.push(owner, Item::Connection(Box::new(Handed(handover))));
        }
    }

    /// Tells a client what is wrong with its CONNECT, if there are words that it will understand.
    fn refuse_malformed(&mut self, key: ConnKey, body: &[u8], error: DecodeError) {
        let (Some(conn), mut out) = (self.world.conns.get_mut(key), BytesMut::new()) else { return };
        refuse_malformed(body, error, &mut out);
        conn.output.push(&out, &mut self.world.pool);
    }

    /// Ends a connection that is not a client's yet.
    pub(super) fn refuse_connection(&mut self, key: ConnKey, why: NoClient) {
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        let peer = conn.peer;
        self.no_client(peer, why);
        self.world.begin_close(key, CloseCode::POLICY);
    }

    /// Notes a connection that never became a client's.
    fn no_client(&mut self, peer: Peer, why: NoClient) {
        self.world.traffic.strangers += 1;
        why.count(&mut self.world.traffic.refused);
        self.world.journal.no_client(self.world.now, peer, &why);
    }
}

/// Who a socket that was accepted belongs to.
fn peer(socket: &OwnedFd, address: Option<SocketAddrAny>) -> Peer {
    if let Some(address) = address.and_then(|address| SocketAddr::try_from(address).ok()) {
        return Peer::Net(address);
    }
    let owner = socket_peercred(socket);
    owner.map_or(Peer::Unknown, |owner| Peer::Local {
        pid: owner.pid.as_raw_nonzero().get(),
        uid: owner.uid.as_raw(),
    })
}

/// Bytes that nobody can guess, 256 of them at most.
///
/// # Panics
/// When the kernel has no random numbers, which it has since it started.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty()).expect("the kernel has random numbers");
    assert_eq!(filled, N, "up to 256 bytes come at once");
    bytes
}
