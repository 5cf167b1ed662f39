//! Reading through the layers of a connection: TLS, WebSocket, both.

use super::Shard;
use super::conn::Phase;
use super::journal::NoClient;
use super::read::{DIRECT_FIRST, DIRECT_FROM};
use crate::transport::settings::Framing;
use crate::transport::tls::{Session, client_name};
use crate::transport::{Channel, Ending, Gate, Peer};
use crate::types::{ConnKey, any_contains};
use crate::websocket::{CloseCode, Head, forwarded_for};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

impl Shard {
    /// Gives a connection that was accepted the layers of its listener.
    pub(super) fn wrap(&mut self, key: ConnKey, gate: &Arc<Gate>) {
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        if let Some(settings) = gate.settings().tls.as_ref() {
            let deadline = self.world.now + settings.handshake_timeout;
            conn.phase = Phase::Hello(deadline);
            conn.flags.handshaking = true;
            self.world.handshaking += 1;
            self.world.deadlines.arm(deadline, key);
        }
        let web = gate.settings().framing == Framing::WebSocket;
        conn.channel = Channel::accepted(gate.session(), web);
    }

    /// Reads a connection with layers once. True when there may be more to read.
    pub(super) fn read_through(&mut self, key: ConnKey) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let more = self.receive(key, &mut scratch);
        self.scratch = scratch;
        more
    }

    fn receive(&mut self, key: ConnKey, scratch: &mut [u8]) -> bool {
        let Some(conn) = self.world.conns.get_mut(key) else { return false };
        // Of a large packet only what is new goes through the scratch buffer.
        let large = conn.need >= DIRECT_FROM;
        let left = if large { 0 } else { conn.input.len() };
        scratch[..left].copy_from_slice(&conn.input[..left]);
        let (peer, web) = (conn.peer.ip(), &conn.seat.gate().settings().web);
        let Some(channel) = &mut conn.channel else { return false };
        let mut forwarded = None;
        let mut upgraded = |head: &Head<'_>| {
            let trusted = |address| any_contains(&web.trusted_proxies, address);
            forwarded = peer.and_then(|peer| forwarded_for(peer, head, trusted));
        };
        let socket = conn.socket.as_fd();
        let received =
            channel.receive(socket, (&mut *scratch, left), &mut self.cipher, &web.rules, &mut upgraded);
        let introduced = conn.flags.handshaking && !channel.is_handshaking();
        let more = received.more || received.end.is_some() || conn.flags.hangup;
        if channel.has_output() {
            self.world.mark(key);
        }
        self.world.traffic.bytes_received += received.count as u64;
        if introduced {
            self.handshaken(key);
        }
        if let Some(address) = forwarded {
            self.forwarded(key, address);
        }
        if received.count > 0 || received.len > left {
            self.received(key, &scratch[..received.len], received.request, large);
        }
        match received.end {
            Some(Ending::Socket) => self.end(key),
            Some(ending) => self.end_layers(key, &ending),
            None => {}
        }
        more
    }

    /// Hands on what came out of the layers.
    fn received(&mut self, key: ConnKey, bytes: &[u8], request: bool, large: bool) {
        if request {
            self.world.keep_input(key, bytes.to_vec(), bytes.len() + 1);
            return self.bound_strangers(key);
        }
        if !large {
            self.world.keep_input(key, Vec::new(), 0);
            return self.input(key, bytes);
        }
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        let missing = conn.need - conn.input.len();
        let (packet, rest) = bytes.split_at(missing.min(bytes.len()));
        if conn.input.capacity() - conn.input.len() < packet.len() {
            conn.input.reserve_exact(missing.min(conn.input.len().max(DIRECT_FIRST)));
        }
        conn.input.extend_from_slice(packet);
        self.direct_progress(key, packet.len());
        if !rest.is_empty() {
            self.input(key, rest);
        }
    }

    /// A client is known to TLS: its CONNECT is awaited from now on.
    fn handshaken(&mut self, key: ConnKey) {
        self.world.handshake_over(key);
        let deadline = self.world.now + self.connect_timeout;
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        if let (Some(tls), Some(which)) = (
            conn.channel.as_ref().and_then(|channel| channel.tls()).and_then(Session::inner),
            conn.seat.gate().settings().username_from_cert,
        ) {
            conn.user = client_name(tls, which).map(Into::into).or_else(|| conn.user.take());
        }
        if matches!(conn.phase, Phase::Hello(_)) {
            conn.phase = Phase::Hello(deadline);
            self.world.deadlines.arm(deadline, key);
        }
    }

    /// A trusted proxy says for whom it connects.
    fn forwarded(&mut self, key: ConnKey, address: IpAddr) {
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        conn.peer = Peer::Net(SocketAddr::new(address, 0));
        let peer = conn.peer;
        if !conn.seat.gate().admits(Some(address)) {
            return self.refuse_connection(key, NoClient::Denied);
        }
        self.place(key, peer);
    }

    /// A layer has ended, and says so to the peer before the connection is closed. A WebSocket that was at fault has its
    /// code already.
    fn end_layers(&mut self, key: ConnKey, ending: &Ending) {
        let Some(conn) = self.world.conns.get(key) else { return };
        match conn.phase {
            Phase::Open => {
                if *ending != Ending::Peer {
                    self.world.journal.broken(self.world.now, conn.peer, ending);
                }
                self.engine.lost(self.world.now, key, &mut self.world);
                self.world.begin_close(key, CloseCode::NORMAL);
            }
            Phase::Hello(_) if *ending == Ending::Peer => {
                self.world.traffic.strangers += 1;
                self.world.begin_close(key, CloseCode::NORMAL);
            }
            Phase::Hello(_) => self.refuse_connection(key, NoClient::Layer(ending.clone())),
            Phase::Closing(_) | Phase::Lingering(_) => {}
        }
    }
}
