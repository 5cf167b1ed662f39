//! From a readable socket to packets for the engine.
//!
//! All connections of a core are read through one scratch buffer; a connection has memory of its own only while a packet
//! of it is not whole. A packet larger than [`DIRECT_FROM`] is read straight into memory of its own, which becomes the
//! message without another copy.

use super::Shard;
use super::conn::Phase;
use super::journal::NoClient;
use crate::codec::{DecodeError, Frame, PacketType, Split, split};
use crate::types::ConnKey;
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tracing::debug;

/// The scratch buffer, and so what one connection is read of per turn.
pub(super) const SCRATCH: usize = 256 << 10;
/// Packets of at least this size are read into memory of their own.
const DIRECT_FROM: usize = 64 << 10;
/// Memory for a large packet grows by this at first and then doubles, so that a length alone costs nobody memory.
const DIRECT_FIRST: usize = 256 << 10;
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
        for _ in 0..self.ready.len() {
            if !self.reads() {
                return;
            }
            let Some(key) = self.ready.pop_front() else { return };
            let Some(conn) = self.world.conns.get_mut(key) else { continue };
            if conn.output.len() > self.world.output_bytes_max + RESPONSES_BEYOND {
                conn.flags.paused = true;
                conn.flags.ready = false;
                continue;
            }
            let more = match conn.phase {
                Phase::Lingering(_) => self.discard(key),
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

    /// Handles bytes that another shard read.
    pub(super) fn input(&mut self, key: ConnKey, bytes: &[u8]) {
        let used = self.packets(key, bytes);
        self.keep(key, &bytes[used..]);
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
        if left > 0 {
            scratch[..left].copy_from_slice(&conn.input);
            conn.input = Vec::new();
            conn.need = 0;
        }
        self.world.traffic.bytes_in += count as u64;
        let len = left + count;
        Read::Some { len, more: len == scratch.len() || conn.flags.hangup }
    }

    /// Hands whole packets to the engine. Returns how many bytes they took.
    fn packets(&mut self, key: ConnKey, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let Some(conn) = self.world.conns.get_mut(key) else { return bytes.len() };
            let max = match conn.phase {
                Phase::Open => self.packet_bytes_max,
                // Whatever it is may be long in coming.
                Phase::Hello(_) if bytes.first().is_some_and(|&first| first != CONNECT) => {
                    self.refuse_connection(key, NoClient::NotConnect);
                    return bytes.len();
                }
                Phase::Hello(_) => self.connect_bytes_max,
                // Nobody wants the rest.
                Phase::Closing(_) | Phase::Lingering(_) => return bytes.len(),
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
                    conn.need = if at < bytes.len() { need } else { 0 };
                    return at;
                }
                Err(error) => {
                    self.malformed(key, error);
                    return bytes.len();
                }
            }
        }
    }

    /// The loop that everything goes through: packets of a connection that the engine serves.
    fn open_packets(&mut self, key: ConnKey, bytes: &[u8], at: &mut usize) {
        let (now, max) = (self.world.now, self.packet_bytes_max);
        while let Ok(Split::Whole { frame, len }) = split(&bytes[*at..], max) {
            self.engine.packet(now, key, frame, None, &mut self.world);
            *at += len;
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

    /// Keeps the beginning of a packet until the rest comes.
    fn keep(&mut self, key: ConnKey, rest: &[u8]) {
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        if rest.is_empty() {
            conn.need = 0;
            return;
        }
        // No more than it takes: this may be all that ever comes, and buffers of the pool can be large.
        conn.input = rest.to_vec();
    }

    /// Reads a large packet into memory of its own, and no byte more.
    fn read_direct(&mut self, key: ConnKey) -> bool {
        let Some(conn) = self.world.conns.get_mut(key) else { return false };
        let missing = conn.need - conn.input.len();
        if conn.input.capacity() == conn.input.len() {
            conn.input.reserve_exact(missing.min(conn.input.len().max(DIRECT_FIRST)));
        }
        let room = conn.input.capacity() - conn.input.len();
        if room > missing {
            // The allocator gave more than was asked for: what follows the packet must not get into its memory.
            return self.read_limited(key, missing);
        }
        match recv(&conn.socket, spare_capacity(&mut conn.input), RecvFlags::DONTWAIT) {
            Ok((_, 0)) => self.end(key),
            Ok((_, count)) => {
                self.world.traffic.bytes_in += count as u64;
                let more = count == room || conn.flags.hangup;
                return self.direct_progress(key) || more;
            }
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => return true,
            Err(_) => self.end(key),
        }
        false
    }

    /// The same through the scratch buffer.
    fn read_limited(&mut self, key: ConnKey, missing: usize) -> bool {
        let Some(conn) = self.world.conns.get_mut(key) else { return false };
        let room = missing.min(self.scratch.len());
        match recv(&conn.socket, &mut self.scratch[..room], RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.end(key),
            Ok((count, _)) => {
                conn.input.extend_from_slice(&self.scratch[..count]);
                self.world.traffic.bytes_in += count as u64;
                let more = count == room || conn.flags.hangup;
                return self.direct_progress(key) || more;
            }
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => return true,
            Err(_) => self.end(key),
        }
        false
    }

    /// Hands a large packet over once it is whole. True when it was.
    fn direct_progress(&mut self, key: ConnKey) -> bool {
        let Some(conn) = self.world.conns.get_mut(key) else { return false };
        if conn.input.len() < conn.need {
            return false;
        }
        conn.need = 0;
        let packet = Bytes::from(std::mem::take(&mut conn.input));
        if conn.phase != Phase::Open {
            self.input(key, &packet);
        } else if let Ok(Split::Whole { frame, .. }) = split(&packet, self.packet_bytes_max) {
            let Frame { first, body } = frame;
            self.engine.packet(self.world.now, key, Frame { first, body }, Some(&packet), &mut self.world);
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
    fn end(&mut self, key: ConnKey) {
        let Some(conn) = self.world.conns.get(key) else { return };
        debug!(peer = %conn.peer, shard = self.id.0, "connection ended");
        if conn.phase == Phase::Open {
            self.engine.lost(self.world.now, key, &mut self.world);
        }
        self.drop_conn(key);
    }
}
