//! A connection that never blocks, and what is heard on it.

use bytes::{Buf, BytesMut};
use pantala::codec::{Packet, ReasonCode, Split, Version, decode, split};
use pantala::types::{PacketId, QoS};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A PUBLISH that was heard.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) dup: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    pub(crate) id: Option<PacketId>,
    pub(crate) payload: Vec<u8>,
    /// In so many seconds.
    pub(crate) expires: Option<u32>,
    /// Only then can it say so.
    pub(crate) is_v5: bool,
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dup, qos, retain, topic, id, payload, .. } = self;
        let start = String::from_utf8_lossy(&payload[..payload.len().min(10)]);
        write!(
            f,
            "{topic} {start:?}.. {} bytes, {id:?} QoS {}, DUP {dup}, RETAIN {retain}",
            payload.len(),
            *qos as u8
        )
    }
}

/// A packet from the broker.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    ConnAck {
        present: bool,
        code: u8,
    },
    Publish(Arrival),
    PubAck(PacketId, ReasonCode),
    PubRec(PacketId, ReasonCode),
    PubRel(PacketId),
    PubComp(PacketId),
    SubAck(PacketId, Vec<u8>),
    UnsubAck(PacketId),
    PingResp,
    /// Anything else, in words: a client does not expect it.
    Other(#[expect(dead_code, reason = "it is told with Debug")] String),
}

impl Heard {
    fn of(packet: &Packet<'_>, version: Version) -> Self {
        match packet {
            Packet::ConnAck(connack) => {
                Self::ConnAck { present: connack.session_present, code: connack.code }
            }
            Packet::Publish(publish) => Self::Publish(Arrival {
                dup: publish.dup,
                qos: publish.qos,
                retain: publish.retain,
                topic: publish.topic.to_owned(),
                id: publish.packet_id,
                payload: publish.payload.to_vec(),
                expires: publish.properties.message_expiry_interval(),
                is_v5: version.is_v5(),
            }),
            Packet::PubAck(ack) => Self::PubAck(ack.packet_id, ack.reason),
            Packet::PubRec(ack) => Self::PubRec(ack.packet_id, ack.reason),
            Packet::PubRel(ack) => Self::PubRel(ack.packet_id),
            Packet::PubComp(ack) => Self::PubComp(ack.packet_id),
            Packet::SubAck(suback) => Self::SubAck(suback.packet_id, suback.codes.to_vec()),
            Packet::UnsubAck(unsuback) => Self::UnsubAck(unsuback.packet_id),
            Packet::PingResp => Self::PingResp,
            other => Self::Other(format!("{other:?}")),
        }
    }
}

/// A connection of one client.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    version: Version,
    inbox: BytesMut,
    outbox: BytesMut,
    closed: bool,
}

impl Wire {
    pub(crate) fn open(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a live socket");
        stream.set_nonblocking(true).expect("a live socket");
        Self { stream, version, inbox: BytesMut::new(), outbox: BytesMut::new(), closed: false }
    }

    /// Sends a packet, or as much of it as the socket takes; [`Self::flush`] sends the rest.
    pub(crate) fn say(&mut self, packet: &Packet<'_>) {
        packet.encode(self.version, &mut self.outbox);
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        while !self.outbox.is_empty() && !self.closed {
            match self.stream.write(&self.outbox) {
                Ok(count) => self.outbox.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.closed = true,
            }
        }
    }

    /// Reads what is there.
    pub(crate) fn read(&mut self) {
        let mut buffer = [0; 16_384];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break self.closed = true,
                Ok(count) => self.inbox.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => break self.closed = true,
            }
        }
    }

    /// The next whole packet of what was read.
    pub(crate) fn next(&mut self) -> Option<Heard> {
        let whole =
            split(&self.inbox, u32::MAX).unwrap_or_else(|error| panic!("{error}: {:02x?}", self.inbox));
        let Split::Whole { frame, len } = whole else { return None };
        let heard = match decode(frame, self.version) {
            Ok(packet) => Heard::of(&packet, self.version),
            Err(error) => Heard::Other(format!("{error} in {:02x?}", &self.inbox[..len])),
        };
        self.inbox.advance(len);
        Some(heard)
    }

    /// Whether the other side has ended it, once nothing more comes from [`Self::next`].
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }
}
