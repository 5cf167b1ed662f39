//! One connection to the broker: raw packets, read and written in bulk.

use crate::tls::{Terms, TermsError, Tls};
use crate::web::{Stream, Web};
use bytes::BytesMut;
use pantala::codec::{
    self, ConnAck, Connect, DecodeError, Frame, Packet, PacketType, Properties, PropertiesBuf, Property,
    ReasonCode, Split, SubAck, Subscribe, SubscribeFilters, SubscriptionOptions, Version,
};
use pantala::types::{PacketId, QoS};
use pantala::websocket::Violation;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, connect, recv, send, socket_with, sockopt};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A sign of life, which the broker answers.
pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];
const PACKET_MAX: u32 = 256 << 20;

/// What went wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Terms(#[from] TermsError),
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, Errno),
    #[error("{0}: the broker did not answer {1}: {2}")]
    NoAnswer(String, &'static str, io::Error),
    #[error("{0}: CONNECT was refused with code {1:#04x}")]
    Refused(String, u8),
    #[error("{0}: SUBSCRIBE was answered with code {1:#04x} and not with the QoS that was asked for")]
    NotSubscribed(String, u8),
    #[error("{0}: the broker refused a message: {1:?}")]
    NotPublished(String, ReasonCode),
    #[error("{0}: the broker closed the connection")]
    Closed(String),
    #[error("{0}: the broker disconnected it: {1}")]
    Disconnected(String, String),
    #[error("{0}: {1}")]
    Socket(String, Errno),
    #[error("{0}: TLS: {1}")]
    Tls(String, io::Error),
    #[error("{0}: the broker sent bytes that are no MQTT packet: {1}")]
    Malformed(String, DecodeError),
    #[error("{0}: the broker sent bytes that are no frames of a WebSocket: {1}")]
    Frames(String, Violation),
    #[error("{0}: the broker sent an unexpected {1:?}")]
    Unexpected(String, PacketType),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    socket: OwnedFd,
    tls: Option<Box<Tls>>,
    web: Option<Box<Web>>,
    /// The beginning of a packet that is not whole yet.
    rest: Vec<u8>,
    /// What waits to be sent.
    pub(crate) output: Vec<u8>,
    sent: usize,
    /// How many unacknowledged messages the broker takes.
    pub(crate) receive_maximum: u16,
    /// Seconds without a packet after which the broker may close the connection; 0 is never.
    pub(crate) keep_alive_s: u16,
}

/// What a client says when it connects.
#[derive(Clone, Debug)]
pub(crate) struct Hello<'a> {
    pub(crate) broker: SocketAddr,
    pub(crate) tls: Option<&'a Terms>,
    /// Whether MQTT goes through a WebSocket.
    pub(crate) websocket: bool,
    /// The number of the source address.
    pub(crate) source: u8,
    pub(crate) version: Version,
    pub(crate) keep_alive_s: u16,
    pub(crate) id: String,
    /// Whether the session outlives the connection.
    pub(crate) persistent: bool,
    /// What to subscribe to.
    pub(crate) filter: Option<(&'a str, QoS)>,
}

impl Client {
    /// Connects and subscribes, waiting for each answer.
    ///
    /// # Errors
    /// The broker is not there or refuses.
    pub(crate) fn open(hello: Hello<'_>) -> Result<Self, Failure> {
        let socket = dial(hello.broker, hello.source).map_err(|e| Failure::Connect(hello.broker, e))?;
        let no_answer = |what: &'static str| {
            let id = hello.id.clone();
            move |error| Failure::NoAnswer(id, what, error)
        };
        let first = if hello.tls.is_some() { "the handshake of TLS" } else { "CONNECT" };
        let mut stream = Stream::new(TcpStream::from(socket), hello.tls).map_err(no_answer(first))?;
        if hello.websocket {
            stream.upgrade(hello.broker).map_err(no_answer("the request for a WebSocket"))?;
        }
        let (receive_maximum, keep_alive_s) = greet(&mut stream, &hello)?;
        if let Some((filter, qos)) = hello.filter {
            subscribe(&mut stream, &hello.id, hello.version, filter, qos)?;
        }
        // What came with the answers is read with what comes next.
        let Stream { socket, tls, web, mqtt: rest } = stream;
        socket.set_nonblocking(true).map_err(no_answer("CONNECT"))?;
        let (socket, id, output) = (OwnedFd::from(socket), hello.id, Vec::new());
        Ok(Self { id, socket, tls, web, rest, output, sent: 0, receive_maximum, keep_alive_s })
    }

    /// Bytes that wait to be sent.
    pub(crate) fn backlog(&self) -> usize {
        self.output.len() + self.tls.as_ref().map_or(0, |tls| tls.backlog())
    }

    /// Reads once and hands over whole packets, with what they may be answered into. True when there may be more to read.
    ///
    /// `scratch` bounds the size of a packet.
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        mut packet: impl FnMut(&str, Frame<'_>, &mut Vec<u8>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let left = self.rest.len();
        let socket = &self.socket;
        let received = match &mut self.tls {
            Some(tls) => tls.open(&mut scratch[left..], |bytes| receive(socket, bytes)),
            None => receive(socket, &mut scratch[left..]),
        };
        let count = match received {
            Ok(count) => count,
            Err(Missed::Later) => return Ok(false),
            Err(Missed::Interrupted) => return Ok(true),
            Err(missed) => return Err(missed.failure(&self.id)),
        };
        let len = match &mut self.web {
            Some(web) => web.open(&mut scratch[left..left + count]),
            None => Ok(count),
        };
        let len = len.map_err(|violation| Failure::Frames(self.id.clone(), violation))?;
        let max = u32::try_from(scratch.len()).unwrap_or(PACKET_MAX);
        scratch[..left].copy_from_slice(&self.rest);
        let (bytes, mut at) = (&scratch[..left + len], 0);
        loop {
            match codec::split(&bytes[at..], max) {
                Ok(Split::Whole { frame, len }) => {
                    packet(&self.id, frame, &mut self.output)?;
                    at += len;
                }
                Ok(Split::Partial { .. }) => break,
                Err(error) => return Err(Failure::Malformed(self.id.clone(), error)),
            }
        }
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[at..]);
        Ok(left + count == scratch.len() || self.tls.as_mut().is_some_and(|tls| tls.has_more()))
    }

    /// Writes what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.web.iter_mut().for_each(|web| web.frame(&mut self.output));
        let socket = &self.socket;
        let taken = match &mut self.tls {
            // It keeps what the socket does not take.
            Some(tls) => tls.seal(&mut self.output, |bytes| transmit(socket, bytes)).map(|()| true),
            None => loop {
                if self.sent == self.output.len() {
                    break Ok(true);
                }
                match transmit(socket, &self.output[self.sent..]) {
                    Ok(0) => break Ok(false),
                    Ok(count) => self.sent += count,
                    Err(missed) => break Err(missed),
                }
            },
        };
        if taken.map_err(|missed| missed.failure(&self.id))? {
            self.output.clear();
            self.web.iter_mut().for_each(|web| web.sent());
            self.sent = 0;
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why nothing was received or sent.
#[derive(Debug)]
enum Missed {
    Later,
    Interrupted,
    End,
    Socket(Errno),
    Tls(io::Error),
}

impl Missed {
    fn failure(self, id: &str) -> Failure {
        let id = id.to_owned();
        match self {
            Self::End => Failure::Closed(id),
            Self::Later => Failure::Socket(id, Errno::AGAIN),
            Self::Interrupted => Failure::Socket(id, Errno::INTR),
            Self::Socket(error) => Failure::Socket(id, error),
            Self::Tls(error) => Failure::Tls(id, error),
        }
    }
}

impl From<io::Error> for Missed {
    fn from(error: io::Error) -> Self {
        Self::Tls(error)
    }
}

fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> Result<usize, Missed> {
    match recv(socket, bytes, RecvFlags::DONTWAIT) {
        Ok((0, _)) => Err(Missed::End),
        Ok((count, _)) => Ok(count),
        Err(Errno::AGAIN) => Err(Missed::Later),
        Err(Errno::INTR) => Err(Missed::Interrupted),
        Err(error) => Err(Missed::Socket(error)),
    }
}

/// 0 when the socket takes nothing at present.
fn transmit(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Missed> {
    loop {
        match send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) => return Ok(count),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Missed::Socket(error)),
        }
    }
}

fn dial(broker: SocketAddr, source: u8) -> Result<OwnedFd, Errno> {
    let family = if broker.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if source > 0 && matches!(broker.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
        bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + source), 0)))?;
    }
    connect(&socket, &broker)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}

/// CONNECT and CONNACK. Returns the Receive Maximum and the keep alive that holds.
fn greet(stream: &mut Stream, hello: &Hello<'_>) -> Result<(u16, u16), Failure> {
    let mut properties = PropertiesBuf::default();
    if hello.persistent && hello.version.is_v5() {
        properties.push(Property::SessionExpiryInterval(86_400));
    }
    let connect = Connect {
        version: hello.version,
        clean_start: !hello.persistent,
        keep_alive_s: hello.keep_alive_s,
        properties: properties.as_properties(),
        client_id: &hello.id,
        will: None,
        username: None,
        password: None,
    };
    let mut out = BytesMut::new();
    Packet::Connect(connect).encode(hello.version, &mut out);
    let no_answer = |error| Failure::NoAnswer(hello.id.clone(), "CONNECT", error);
    let (first, body) = ask(stream, &out).map_err(no_answer)?;
    let frame = Frame { first, body: &body };
    match codec::decode(frame, hello.version).map_err(|e| Failure::Malformed(hello.id.clone(), e))? {
        Packet::ConnAck(ConnAck { code: 0, properties, .. }) => {
            let receive_maximum = properties.receive_maximum().map_or(u16::MAX, std::num::NonZeroU16::get);
            Ok((receive_maximum, properties.server_keep_alive().unwrap_or(hello.keep_alive_s)))
        }
        Packet::ConnAck(refused) => Err(Failure::Refused(hello.id.clone(), refused.code)),
        other => Err(Failure::Unexpected(hello.id.clone(), other.packet_type())),
    }
}

fn subscribe(stream: &mut Stream, id: &str, version: Version, filter: &str, qos: QoS) -> Result<(), Failure> {
    let malformed = |error| Failure::Malformed(id.to_owned(), error);
    let (mut block, mut out) = (BytesMut::new(), BytesMut::new());
    SubscribeFilters::write(&mut block, filter, SubscriptionOptions::of(qos));
    let filters = SubscribeFilters::parse(&block, version).map_err(malformed)?;
    let packet = Subscribe { packet_id: PacketId::MIN, properties: Properties::EMPTY, filters };
    Packet::Subscribe(packet).encode(version, &mut out);
    let (first, body) =
        ask(stream, &out).map_err(|error| Failure::NoAnswer(id.to_owned(), "SUBSCRIBE", error))?;
    match codec::decode(Frame { first, body: &body }, version).map_err(malformed)? {
        Packet::SubAck(SubAck { codes: &[code], .. }) if code == qos as u8 => Ok(()),
        Packet::SubAck(SubAck { codes, .. }) => {
            Err(Failure::NotSubscribed(id.to_owned(), codes.first().copied().unwrap_or(0xff)))
        }
        other => Err(Failure::Unexpected(id.to_owned(), other.packet_type())),
    }
}

/// Sends bytes and waits for one packet.
fn ask(stream: &mut Stream, bytes: &[u8]) -> io::Result<(u8, Vec<u8>)> {
    stream.write_all(bytes)?;
    let mut packet = vec![0; 2];
    let mut have = 0;
    loop {
        stream.read_exact(&mut packet[have..])?;
        have = packet.len();
        match codec::split(&packet, PACKET_MAX).map_err(io::Error::other)? {
            Split::Whole { frame, .. } => return Ok((frame.first, frame.body.to_vec())),
            Split::Partial { need } => packet.resize(need, 0),
        }
    }
}
