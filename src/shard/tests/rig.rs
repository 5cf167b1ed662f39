//! Several shards on one thread, clients that do nothing by themselves, and the few packets that these tests speak.

use crate::access::{AccessSettings, Checkers, Guard, Policy, mailbox};
use crate::mesh::Mesh;
use crate::sasl::Secret;
use crate::shard::{Clock, Door, Listener, Plan, Shard, Stop};
use crate::transport::{self, Address, Gate, ListenerSettings};
use crate::types::{Features, HashSeed, Limits, Now, ShardId, Span};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;

/// Rounds without the expected outcome after which a test fails. All but the first wait a millisecond for an event.
const ROUNDS: usize = 20_000;
const ROUNDS_AT_ONCE: usize = 100;

pub(super) struct Rig {
    pub(super) shards: Vec<Shard>,
    pub(super) now: Now,
    /// Shards that do not run at the moment.
    pub(super) stalled: Vec<usize>,
    pub(super) stop: Arc<Stop>,
    address: SocketAddr,
}

impl Rig {
    pub(super) fn new(shards: u16, limits: &Limits) -> Self {
        Self::with_links(shards, limits, 64)
    }

    /// With room for so many batches in each link.
    pub(super) fn with_links(shards: u16, limits: &Limits, batches: usize) -> Self {
        let gate = Arc::new(Gate::new(ListenerSettings::default(), true).expect("no files"));
        let (address, mut listeners) =
            transport::open(&Address::Net(([127, 0, 0, 1], 0).into()), gate.settings(), shards.into())
                .expect("a port is free");
        let address = address.port().expect("it is one");
        let stop = Arc::new(Stop::new().expect("a descriptor"));
        let ports = Mesh::new(shards, batches).expect("descriptors");
        let plan = |(id, port)| Plan {
            store: None,
            ready: None,
            id,
            shards,
            limits: limits.clone(),
            features: Features::default(),
            door: door(),
            seed: HashSeed(7),
            listeners: vec![Listener::new(listeners.pop().expect("one for each"), Arc::clone(&gate))],
            port,
            sys_interval: Some(Span::from_secs(10)),
            clock: Clock::start(Now(0)),
            stop: Arc::clone(&stop),
        };
        let shards =
            (0..).map(ShardId).zip(ports).map(plan).map(|plan| Shard::new(plan).expect("descriptors"));
        Self { shards: shards.collect(), now: Now(0), stalled: Vec::new(), stop: Arc::clone(&stop), address }
    }

    /// Every shard takes a turn, waiting for its events no longer than that.
    fn round(&mut self, wait: Span) {
        let mut events = Vec::with_capacity(64);
        for (index, shard) in self.shards.iter_mut().enumerate() {
            if !self.stalled.contains(&index) && !shard.finished() {
                shard.poll(wait, &mut events);
                shard.turn(self.now, &mut events);
            }
        }
    }

    /// Takes turns until `done`.
    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for round in 0..ROUNDS {
            self.round(Span(u64::from(round >= ROUNDS_AT_ONCE)));
            if done(self) {
                return;
            }
        }
        panic!("waited in vain: {what}");
    }

    /// Takes turns until nothing has happened for a while.
    pub(super) fn settle(&mut self) {
        (0..ROUNDS_AT_ONCE).for_each(|_| self.round(Span(0)));
    }

    /// Lets time pass, in steps in which timers fire as they would.
    pub(super) fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while self.now < end {
            self.now = (self.now + Span(50)).min(end);
            self.round(Span(0));
        }
    }

    /// A socket that has said nothing.
    pub(super) fn dial(&self) -> Client {
        let socket = TcpStream::connect(self.address).expect("the listener is there");
        socket.set_nonblocking(true).expect("a socket");
        Client { socket, unsent: Vec::new(), got: Vec::new(), closed: false }
    }

    /// A 3.1.1 client that is connected.
    pub(super) fn client(&mut self, id: &str) -> Client {
        let mut client = self.dial();
        client.send(&connect(id));
        self.expect(&mut client, &CONNACK);
        client
    }

    /// A 3.1.1 client that is connected and subscribed.
    pub(super) fn subscriber(&mut self, id: &str, filter: &str, qos: u8) -> Client {
        let mut client = self.client(id);
        client.send(&subscribe(1, filter, qos));
        self.expect(&mut client, &suback(1, qos));
        client
    }

    /// Takes turns until the client got that.
    pub(super) fn expect(&mut self, client: &mut Client, bytes: &[u8]) {
        self.until(&format!("{bytes:?}"), |_| {
            client.run();
            client.got.len() >= bytes.len() || client.closed
        });
        assert!(client.got.starts_with(bytes), "{:?} instead of {bytes:?}", client.got);
        client.got.drain(..bytes.len());
    }

    /// Takes turns until the client got that, and then nothing but the end.
    pub(super) fn expect_end(&mut self, client: &mut Client, bytes: &[u8]) {
        self.until("the end of a connection", |_| {
            client.run();
            client.closed
        });
        assert_eq!(client.got, bytes);
    }

    /// Takes turns until the client has sent everything.
    pub(super) fn sent(&mut self, client: &mut Client) {
        self.until("everything is sent", |_| {
            client.run();
            client.unsent.is_empty()
        });
    }

    /// The shard that a client belongs to.
    pub(super) fn owner(&self, id: &str) -> usize {
        self.shards[0].placement.owner(id).index()
    }

    /// A client id that belongs to a shard.
    pub(super) fn id_on(&self, shard: usize) -> String {
        (0..)
            .map(|n| format!("client-{n}"))
            .find(|id| self.owner(id) == shard)
            .expect("every shard has clients")
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn connections(&self) -> usize {
        self.shards.iter().map(|shard| shard.world.conns.len()).sum()
    }
}

/// One end of a connection that does something only when it is told to [run](Client::run).
pub(super) struct Client {
    socket: TcpStream,
    unsent: Vec<u8>,
    pub(super) got: Vec<u8>,
    pub(super) closed: bool,
}

impl Client {
    /// Sends as much as the socket takes, the rest whenever it runs.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.try_send();
    }

    /// Sends and receives.
    pub(super) fn run(&mut self) {
        self.try_send();
        let mut buffer = [0; 64 << 10];
        while !self.closed {
            match self.socket.read(&mut buffer) {
                Ok(count @ 1..) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => self.closed = true,
            }
        }
    }

    /// Sends what the socket takes, and receives nothing.
    pub(super) fn try_send(&mut self) {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.unsent.clear(),
            }
        }
    }

    /// Bytes that its socket did not take yet.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Leaves the kernel little room for what it does not read.
    pub(super) fn narrow(self) -> Self {
        rustix::net::sockopt::set_socket_recv_buffer_size(self.socket.as_fd(), 256 << 10).expect("a socket");
        self
    }

    /// Ends its own direction.
    pub(super) fn finish(&self) {
        self.socket.shutdown(Shutdown::Write).expect("a connected socket");
    }

    /// Is gone in a way that answers everything with a reset.
    pub(super) fn vanish(self) {
        let at_once = Some(std::time::Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(self.socket.as_fd(), at_once).expect("a socket");
    }
}

pub(super) const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(super) const PINGRESP: [u8; 2] = [0xd0, 0];
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

fn text(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("short");
    [&len.to_be_bytes(), text.as_bytes()].concat()
}

/// A packet with its length before its body.
pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut left) = (vec![first], body.len());
    while left >= 128 {
        packet.push(u8::try_from(left % 128 + 128).expect("a byte"));
        left /= 128;
    }
    packet.push(u8::try_from(left).expect("a byte"));
    [&packet, body].concat()
}

/// CONNECT of 3.1.1, clean session, keep alive of 60 s.
pub(super) fn connect(id: &str) -> Vec<u8> {
    packet(0x10, &[&[0, 4], &b"MQTT\x04\x02\x00\x3c"[..], &text(id)].concat())
}

/// CONNECT of 5.0, clean start, keep alive of 60 s.
/// Request Problem Information 0: no reasons in words.
pub(super) fn connect_v5(id: &str) -> Vec<u8> {
    packet(0x10, &[&[0, 4], &b"MQTT\x05\x02\x00\x3c\x02\x17\x00"[..], &text(id)].concat())
}

pub(super) fn subscribe(packet_id: u16, filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&packet_id.to_be_bytes()[..], &text(filter), &[qos]].concat())
}

pub(super) fn suback(packet_id: u16, qos: u8) -> Vec<u8> {
    packet(0x90, &[&packet_id.to_be_bytes()[..], &[qos]].concat())
}

/// PUBLISH with QoS 0.
pub(super) fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&text(topic), payload].concat())
}

/// PUBLISH with QoS 1.
pub(super) fn publish_1(packet_id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x32, &[&text(topic), &packet_id.to_be_bytes()[..], payload].concat())
}

pub(super) fn puback(packet_id: u16) -> Vec<u8> {
    packet(0x40, &packet_id.to_be_bytes())
}

/// One that everybody comes through.
fn door() -> Door {
    let policy = Policy::load(&AccessSettings::default(), 1, Secret([7; 32]), HashSeed(7)).expect("no files");
    let (desk, _) = Checkers::start(0, 1, &tokio::sync::mpsc::channel(1).0).expect("no threads");
    let mail = mailbox().expect("descriptors");
    Door { policy: Arc::new(policy), desk, mail, remembered: Span(0), guard: Guard::default() }
}
