//! One connection as its shard sees it: a socket, what was read and not understood yet, what waits to be sent.

use super::login::Login;
use super::meter::Meter;
use crate::access::Places;
use crate::transport::{Channel, Output, Peer, Pool, Seat, Written};
use crate::types::Now;
use rustix::net::{Shutdown, shutdown};
use std::os::fd::{AsFd, OwnedFd};

/// What a connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its CONNECT is awaited, until then.
    Hello(Now),
    /// The engine serves it.
    Open,
    /// The engine has forgotten it; what is queued still goes out, until then at the latest.
    Closing(Now),
    /// All is sent and the end is announced: what still comes is thrown away, so that the kernel does not answer it with
    /// a reset that would overtake our last words. Until then at the latest.
    Lingering(Now),
}

/// A connection. Small, and without buffers while idle: there may be a hundred thousand.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) socket: OwnedFd,
    pub(super) peer: Peer,
    /// The listener that it came through.
    pub(super) seat: Seat,
    /// What lies between its socket and MQTT, if anything does.
    pub(super) channel: Option<Box<Channel>>,
    /// Its user's name according to its certificate, which counts more than what its CONNECT says.
    pub(super) user: Option<Box<str>>,
    /// How far its login has come, where it has to wait for that.
    pub(super) login: Option<Box<Login>>,
    /// Its places among those of its address and user, where they are counted.
    pub(super) places: Option<Box<Places>>,
    /// What it has published lately, where that is bounded.
    pub(super) meter: Option<Box<Meter>>,
    pub(super) phase: Phase,
    /// The beginning of a packet that is not whole yet.
    pub(super) input: Vec<u8>,
    /// How many bytes that packet has, as far as known; 0 while `input` is empty.
    pub(super) need: usize,
    pub(super) output: Output,
    pub(super) flags: Flags,
}

/// What the shard has to do for a connection, and may.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// In the list of connections to write.
    pub(super) dirty: bool,
    /// In the list of connections to read.
    pub(super) ready: bool,
    /// The socket takes output, as far as known.
    pub(super) writable: bool,
    /// The engine was refused a message: tell it when there is room.
    pub(super) refused: bool,
    /// A load balancer's header comes first.
    pub(super) header_due: bool,
    /// Its TLS handshake goes on, and counts among those.
    pub(super) handshaking: bool,
    /// The peer has closed: read to the end, whatever a short read says.
    pub(super) hangup: bool,
    /// Not read until its responses are taken.
    pub(super) paused: bool,
    /// Nothing of the output is written: it says what is not true yet.
    pub(super) corked: bool,
    /// Not read until the engine says so: what it sends has no room.
    pub(super) held: bool,
    /// Not read for a while, because it has published too much.
    pub(super) throttled: bool,
    /// Writing failed. What was received before is read, then the connection ends.
    pub(super) failed: bool,
}

impl Conn {
    pub(super) fn new(socket: OwnedFd, peer: Peer, seat: Seat, deadline: Now) -> Self {
        Self {
            socket,
            peer,
            seat,
            channel: None,
            user: None,
            login: None,
            places: None,
            meter: None,
            phase: Phase::Hello(deadline),
            input: Vec::new(),
            need: 0,
            output: Output::default(),
            flags: Flags { writable: true, ..Flags::default() },
        }
    }

    /// Writes what the socket takes now. Returns how many bytes that was.
    pub(super) fn write(&mut self, pool: &mut Pool) -> u64 {
        if !self.flags.writable || self.flags.corked || !self.has_output() {
            return 0;
        }
        let written = match &mut self.channel {
            None => self.output.write(&self.socket, pool),
            Some(channel) => channel.write(&mut self.output, self.socket.as_fd(), pool),
        };
        let count = match written {
            Ok(Written::All(count)) => count,
            Ok(Written::Part(count)) => {
                self.flags.writable = false;
                count
            }
            Err(_) => {
                self.output.clear(pool);
                self.channel.iter_mut().for_each(|channel| channel.fail());
                self.flags.writable = false;
                self.flags.failed = true;
                // So that reading comes to an end, whatever it was that failed.
                let _ = shutdown(&self.socket, Shutdown::Both);
                0
            }
        };
        count as u64
    }

    /// Whether something waits to be sent.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty() || self.channel.as_ref().is_some_and(|channel| channel.has_output())
    }

    /// The moment at which its phase ends by itself.
    pub(super) fn deadline(&self) -> Option<Now> {
        match self.phase {
            Phase::Hello(deadline) | Phase::Closing(deadline) | Phase::Lingering(deadline) => Some(deadline),
            Phase::Open => None,
        }
    }
}
