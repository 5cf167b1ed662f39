//! From a readable socket to packets for the engine.
//!
//! All connections of a core are read through one scratch buffer; a connection has memory of its own only while a packet
//! of it is not whole. A packet larger than [`DIRECT_FROM`] is read straight into memory of its own, which becomes the
//! message without another copy.

use super::Shard;
use super::conn::Phase;
use super::journal::NoClient;
use crate::codec::{DecodeError, PacketType, Split, split};
use crate::types::ConnKey;
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tracing::debug;

/// The scratch buffer, and so what one connection is read of per turn.
pub(super) const SCRATCH: usize = 256 << 10;
/// What all connections are read of per turn, or one more. Who is left over comes first in the next turn.
const PER_TURN: u64 = 256 << 10;
/// TLS handshakes that go a step on per turn: each costs as much as thousands of messages, and those wait no longer than
/// for so many.
const HANDSHAKES_PER_TURN: usize = 8;
/// What all connections of a core that have not finished their CONNECT may make it keep. Nearly all send it in one piece,
/// of which nothing is kept.
pub(super) const STRANGERS_BYTES_MAX: usize = 64 << 20;
/// Packets of at least this size are read into memory of their own.
pub(super) const DIRECT_FROM: usize = 64 << 10;
/// Memory for a large packet grows by this at first and then doubles, so that a length alone costs nobody memory.
pub(super) const DIRECT_FIRST: usize = 256 << 10;
/// What is read of a connection whose client has a new one: the rest of a packet that has begun, and some more.
const LAST: usize = 2 * DIRECT_FROM;
/// Responses that may wait beyond the bound of a connection's output before it is not read any more.
const RESPONSES_BEYOND: usize = 64 << 10;

/// The first byte of a CONNECT.
const CONNECT: u8 = (PacketType::Connect as u8) << 4;

/// What became of one read.
enum Read {
    /// So many bytes are in the scratch buffer, and there may be more in the socket.
    Some {
        len: usize,
        more: bool,
    },
    Nothing,
    /// Closed or failed.
    End,
}

impl Shard {
    /// Reads each connection that may have something, once; those that may have more stay in the list.
    pub(super) fn read_ready(&mut self) {
        let enough = self.world.traffic.bytes_received + PER_TURN;
        let mut handshakes = HANDSHAKES_PER_TURN;
        for _ in 0..self.ready.len() {
            if !self.reads() || self.world.traffic.bytes_received >= enough {
                return;
            }
            let Some(key) = self.ready.pop_front() else { return };
            self.unread = self.unread.map(|left| left.saturating_sub(1));
            let Some(conn) = self.world.conns.get_mut(key) else { continue };
            if conn.flags.handshaking {
                if handshakes == 0 {
                    self.ready.push_back(key);
                    continue;
                }
                handshakes -= 1;
            }
            if conn.flags.held || conn.flags.throttled {
                conn.flags.ready = false;
                self.look_for_end(key);
                continue;
            }
            if conn.output.len() > self.world.output_bytes_max + RESPONSES_BEYOND {
                conn.flags.paused = true;
                conn.flags.ready = false;
                continue;
            }
            let more = match conn.phase {
                // What still comes is for later, when all is sent.
                Phase::Closing(_) => false,
                Phase::Lingering(_) => self.discard(key),
                _ if conn.flags.header_due => self.read_header(key),
                _ if conn.channel.is_some() => self.read_through(key),
                _ if conn.need >= DIRECT_FROM => self.read_direct(key),
                _ => self.read_scratch(key),
            };
            if let Some(conn) = self.world.conns.get_mut(key) {
                conn.flags.ready = more;
                if more {
                    self.ready.push_back(key);
                }
            }
        }
    }

    /// Whether clients are read at the moment.
    pub(super) fn reads(&self) -> bool {
        // What cannot be passed on is left with the kernel, and so with the publishers.
        !self.world.port.congested() && !self.draining()
    }

    /// True when there may be more to read.
    fn read_scratch(&mut self, key: ConnKey) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let more = match self.fill(key, &mut scratch) {
            Read::Some { len, more } => {
                self.input(key, &scratch[..len]);
                more
            }
            Read::Nothing => false,
            Read::End => {
                self.end(key);
                false
            }
        };
        self.scratch = scratch;
        more
    }

    /// Reads what a client sent on a connection whose place its next one takes. That one may have come by another shard,
    /// and have overtaken a DISCONNECT without which the will would be sent.
    pub(super) fn read_last(&mut self, key: ConnKey) {
        let Some(conn) = self.world.conns.get(key) else { return };
        if self.reads() && conn.need < DIRECT_FROM {
            // The usual scratch buffer may hold the CONNECT because of which this happens.
            let usual = std::mem::replace(&mut self.scratch, vec![0; LAST]);
            if conn.channel.is_some() {
                self.read_through(key);
            } else {
                self.read_scratch(key);
            }
            self.scratch = usual;
        }
    }

    /// Puts what was left of the last read, and what the socket has, into the scratch buffer.
    fn fill(&mut self, key: ConnKey, scratch: &mut [u8]) -> Read {
        let Some(conn) = self.world.conns.get_mut(key) else { return Read::Nothing };
        let left = conn.input.len();
        let count = match recv(&conn.socket, &mut scratch[left..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Read::End,
            Ok((count, _)) => count,
            Err(Errno::AGAIN) => return Read::Nothing,
            Err(Errno::INTR) => return Read::Some { len: 0, more: true },
            Err(_) => return Read::End,
        };
        let hangup = conn.flags.hangup;
        if left > 0 {
            scratch[..left].copy_from_slice(&conn.input);
            self.world.keep_input(key, Vec::new(), 0);
        }
        self.world.traffic.bytes_received += count as u64;
        let len = left + count;
        Read::Some { len, more: len == scratch.len() || hangup }
    }

    /// Hands whole packets to the engine, and keeps the rest.
    pub(super) fn input(&mut self, key: ConnKey, bytes: &[u8]) {
        let mut at = 0;
        loop {
            let Some(conn) = self.world.conns.get(key) else { return };
            if conn.flags.held || conn.flags.throttled {
                // What was read already waits with what was not.
                self.world.keep_input(key, bytes[at..].to_vec(), bytes.len() - at);
                self.bound_strangers(key);
                return;
            }
            let max = match conn.phase {
                // Nobody yet, as before CONNECT.
                Phase::Open if self.engine.authenticates(key) => self.connect_bytes_max,
                Phase::Open => self.packet_bytes_max,
                // Whatever it is may be long in coming.
                Phase::Hello(_) if bytes.first().is_some_and(|&first| first != CONNECT) => {
                    return self.refuse_connection(key, NoClient::NotConnect);
                }
                Phase::Hello(_) => self.connect_bytes_max,
                // Nobody wants the rest.
                Phase::Closing(_) | Phase::Lingering(_) => return,
            };
            match split(&bytes[at..], max) {
                Ok(Split::Whole { frame, len }) => {
                    if conn.phase != Phase::Open {
                        at += self.hello(key, frame, len, &bytes[at..]);
                        continue;
                    }
                    self.open_packets(key, bytes, &mut at);
                }
                Ok(Split::Partial { need }) => {
                    if at < bytes.len() {
                        // No more than it takes: this may be all that ever comes, and buffers of the pool can be large.
                        self.world.keep_input(key, bytes[at..].to_vec(), need);
                        self.bound_strangers(key);
                    }
                    return;
                }
                Err(error) => return self.malformed(key, error),
            }
        }
    }

    /// Ends a connection whose unfinished CONNECT is too much together with all others.
    pub(super) fn bound_strangers(&mut self, key: ConnKey) {
        if self.world.strangers_bytes > STRANGERS_BYTES_MAX
            && self.world.conns.get(key).is_some_and(|conn| matches!(conn.phase, Phase::Hello(_)))
        {
            self.refuse_connection(key, NoClient::TooMuch);
        }
    }

    /// The loop that everything goes through: packets of a connection that the engine serves.
    fn open_packets(&mut self, key: ConnKey, bytes: &[u8], at: &mut usize) {
        let (now, max) = (self.world.now, self.packet_bytes_max);
        while let Ok(Split::Whole { frame, len }) = split(&bytes[*at..], max) {
            self.engine.packet(now, key, frame, None, &mut self.world);
            *at += len;
            if self.metered && frame.packet_type() == Some(PacketType::Publish) {
                self.published(key, len);
            }
            if self.world.holding {
                return;
            }
        }
    }

    /// Goes on with connections that were held, first with what was read of them.
    pub(super) fn go_on_reading(&mut self) {
        for key in std::mem::take(&mut self.world.released) {
            let bytes = self.world.keep_input(key, Vec::new(), 0);
            self.input(key, &bytes);
            if let Some(conn) = self.world.conns.get_mut(key)
                && !conn.flags.ready
            {
                conn.flags.ready = true;
                self.ready.push_back(key);
            }
        }
    }

    fn malformed(&mut self, key: ConnKey, error: DecodeError) {
        let Some(conn) = self.world.conns.get(key) else { return };
        if conn.phase == Phase::Open {
            self.engine.malformed(self.world.now, key, error, &mut self.world);
        } else {
            self.refuse_connection(key, NoClient::Malformed(error));
        }
    }

    /// Reads a large packet into memory of its own, and no byte more. True when there may be more to read.
    fn read_direct(&mut self, key: ConnKey) -> bool {
        let Some(conn) = self.world.conns.get_mut(key) else { return false };
        let missing = conn.need - conn.input.len();
        if conn.input.capacity() == conn.input.len() {
            conn.input.reserve_exact(missing.min(conn.input.len().max(DIRECT_FIRST)));
        }
        let mut room = conn.input.capacity() - conn.input.len();
        let read = if room <= missing {
            recv(&conn.socket, spare_capacity(&mut conn.input), RecvFlags::DONTWAIT).map(|(_, count)| count)
        } else {
            // The allocator gave more than was asked for: what follows the packet must not get into its memory.
            room = missing.min(self.scratch.len());
            let read = recv(&conn.socket, &mut self.scratch[..room], RecvFlags::DONTWAIT);
            read.map(|(count, _)| count)
                .inspect(|&count| conn.input.extend_from_slice(&self.scratch[..count]))
        };
        match read {
            Ok(count @ 1..) => {
                let more = count == room || conn.flags.hangup;
                self.world.traffic.bytes_received += count as u64;
                return self.direct_progress(key, count) || more;
            }
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => return true,
            Ok(_) | Err(_) => self.end(key),
        }
        false
    }

    /// Hands a large packet over once it is whole, `count` bytes later. True when it was.
    pub(super) fn direct_progress(&mut self, key: ConnKey, count: usize) -> bool {
        let Some(conn) = self.world.conns.get_mut(key) else { return false };
        let stranger = conn.phase != Phase::Open;
        if stranger {
            self.world.strangers_bytes += count;
        }
        if conn.input.len() < conn.need {
            self.bound_strangers(key);
            return false;
        }
        let packet = Bytes::from(self.world.keep_input(key, Vec::new(), 0));
        if stranger {
            self.input(key, &packet);
        } else if let Ok(Split::Whole { frame, .. }) = split(&packet, self.packet_bytes_max) {
            self.engine.packet(self.world.now, key, frame, Some(&packet), &mut self.world);
            if self.metered && frame.packet_type() == Some(PacketType::Publish) {
                self.published(key, packet.len());
            }
        }
        true
    }

    /// Throws away what a client still sends after its connection was closed.
    fn discard(&mut self, key: ConnKey) -> bool {
        let Some(conn) = self.world.conns.get_mut(key) else { return false };
        match recv(&conn.socket, &mut self.scratch[..], RecvFlags::DONTWAIT) {
            Ok((count @ 1.., _)) => count == self.scratch.len() || conn.flags.hangup,
            Err(Errno::AGAIN) => false,
            Err(Errno::INTR) => true,
            Ok(_) | Err(_) => {
                self.drop_conn(key);
                false
            }
        }
    }

    /// The socket was closed or failed, and all that it received is read.
    pub(super) fn end(&mut self, key: ConnKey) {
        let Some(conn) = self.world.conns.get(key) else { return };
        debug!(peer = %conn.peer, shard = self.id.0, "connection ended");
        match conn.phase {
            Phase::Open => self.engine.lost(self.world.now, key, &mut self.world),
            Phase::Hello(_) => self.world.traffic.strangers += 1,
            Phase::Closing(_) | Phase::Lingering(_) => {}
        }
        self.drop_conn(key);
    }
}
