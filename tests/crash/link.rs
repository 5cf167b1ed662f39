//! A client's connection and session, for publishers and subscribers alike.

use crate::wire::{Heard, Wire};
use pantala::codec::{
    Connect, Disconnect, Packet, PropertiesBuf, Property, Publish, ReasonCode, Version, Will,
};
use std::net::SocketAddr;
use std::time::Instant;

/// Sessions outlive every run.
const EXPIRY_S: u32 = 100_000;

/// What CONNACK said of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// It goes on.
    Resumed,
    /// There was none that this client knew of.
    New,
    /// It is gone, and should be there.
    Lost,
    /// It is there, and should be gone.
    Undead,
}

/// Who a client is and whether it is connected.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) version: Version,
    /// For 5.0.
    receive_maximum: u16,
    wire: Option<Wire>,
    /// When that began.
    pub(crate) since: Instant,
    /// CONNACK came on this connection.
    pub(crate) is_online: bool,
    /// CONNACK told of a session, and no clean start was asked for since.
    is_established: bool,
    /// A clean start was asked for, and no CONNACK has confirmed it.
    pub(crate) starts_clean: bool,
}

impl Link {
    pub(crate) fn new(id: String, version: Version, receive_maximum: u16) -> Self {
        let (is_online, is_established, starts_clean) = (false, false, false);
        let since = Instant::now();
        Self { id, version, receive_maximum, wire: None, since, is_online, is_established, starts_clean }
    }

    /// With CRASH_TRACE, everything that clients say and hear is told.
    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if std::env::var_os("CRASH_TRACE").is_some() {
            println!("{}: {what}", self.id);
        }
    }

    /// How many unacknowledged messages it takes.
    pub(crate) fn window(&self) -> usize {
        if self.version.is_v5() { usize::from(self.receive_maximum) } else { usize::MAX }
    }

    pub(crate) fn wire(&mut self) -> Option<&mut Wire> {
        self.wire.as_mut()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.wire.is_some()
    }

    /// Sends CONNECT. A connection that it still has is lost without a word.
    pub(crate) fn connect(&mut self, address: SocketAddr, will: Option<Will<'_>>) {
        self.tell(format_args!("connects, clean start {}", self.starts_clean));
        let mut properties = PropertiesBuf::default();
        if self.version.is_v5() {
            properties.push(Property::SessionExpiryInterval(EXPIRY_S));
            if let Some(most) = std::num::NonZeroU16::new(self.receive_maximum) {
                properties.push(Property::ReceiveMaximum(most));
            }
        }
        self.since = Instant::now();
        let mut wire = Wire::open(address, self.version);
        wire.say(&Packet::Connect(Connect {
            version: self.version,
            clean_start: self.starts_clean,
            keep_alive_s: 0,
            properties: properties.as_properties(),
            client_id: &self.id,
            will,
            username: None,
            password: None,
        }));
        self.wire = Some(wire);
        self.is_online = false;
    }

    /// CONNACK came.
    pub(crate) fn accepted(&mut self, present: bool) -> Session {
        self.is_online = true;
        let session = match (self.starts_clean, self.is_established, present) {
            (true, _, true) => Session::Undead,
            (false, true, false) => Session::Lost,
            (_, _, true) => Session::Resumed,
            (_, _, false) => Session::New,
        };
        (self.starts_clean, self.is_established) = (false, true);
        session
    }

    /// The next connect asks for a new session.
    pub(crate) fn forget(&mut self) {
        (self.starts_clean, self.is_established) = (true, false);
    }

    pub(crate) fn say(&mut self, packet: &Packet<'_>) {
        let what = match packet {
            Packet::Publish(Publish { dup, topic, packet_id, .. }) => {
                format!("{topic} {packet_id:?} DUP {dup}")
            }
            other => format!("{other:?}"),
        };
        self.tell(format_args!("-> {what}"));
        if let Some(wire) = &mut self.wire {
            wire.say(packet);
        }
    }

    /// Goes, with or without a word.
    pub(crate) fn leave(&mut self, politely: bool) {
        if politely {
            let reason = ReasonCode::Success;
            self.say(&Packet::Disconnect(Disconnect { reason, properties: Default::default() }));
        }
        self.tell(format_args!("leaves"));
        self.wire = None;
        self.is_online = false;
    }

    /// What came since; the connection is given up when it has ended, which is told as well.
    pub(crate) fn hear(&mut self) -> (Vec<Heard>, bool) {
        let Some(wire) = &mut self.wire else { return (Vec::new(), false) };
        wire.flush();
        wire.read();
        let heard: Vec<_> = std::iter::from_fn(|| wire.next()).collect();
        let closed = wire.is_closed();
        heard.iter().for_each(|packet| self.tell(format_args!("<- {packet:?}")));
        if closed {
            self.leave(false);
        }
        (heard, closed)
    }
}
