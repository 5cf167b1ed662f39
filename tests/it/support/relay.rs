//! TLS and WebSocket for clients that speak neither: a port that passes on every byte through them. Whatever a test says
//! to a broker over TCP it then says, and hears, over another transport.

use super::Certificates;
use pantala::websocket::{Decoder, Encoder, masked};
use rustix::event::{PollFd, PollFlags, poll};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Bytes that wait on one way at most before the other end is not read any more.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Payload of the frames that are sent, one after the other: every packet of any size meets a boundary somewhere.
const FRAMES: [usize; 5] = [1, 7, 126, 4_000, 70_000];

/// How clients reach a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Tls,
    Ws,
    Wss,
    /// HTTP over TLS: the client itself asks for the rest.
    Https,
}

impl Transport {
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Https => "https",
        }
    }

    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Https)
    }

    fn is_web(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// Opens a port that leads through a transport to a broker, for as long as the test runs.
pub(crate) fn relay(broker: SocketAddr, transport: Transport, certificates: &Certificates) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let config = transport.is_encrypted().then(|| client_config(transport, certificates));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let config = config.clone();
            // A connection that fails ends for its client as well, which is what the test sees.
            thread::spawn(move || Relayed::open(client, broker, transport, config)?.run());
        }
    });
    address
}

fn client_config(transport: Transport, certificates: &Certificates) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificates.authority.der().clone()).expect("a certificate");
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let protocol: &[u8] = if transport == Transport::Tls { b"mqtt" } else { b"http/1.1" };
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// One connection on its way through.
struct Relayed {
    client: TcpStream,
    broker: TcpStream,
    tls: Option<ClientConnection>,
    web: Option<Web>,
    /// For the client.
    down: Vec<u8>,
    /// For the broker, where there is no TLS that keeps it.
    up: Vec<u8>,
    client_ended: bool,
    broker_ended: bool,
}

struct Web {
    /// The response to the request, until it is whole; what follows it is frames.
    response: Option<Vec<u8>>,
    decoder: Decoder,
    encoder: Encoder,
    frames: usize,
}

impl Relayed {
    fn open(
        client: TcpStream,
        address: SocketAddr,
        transport: Transport,
        config: Option<Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let broker = TcpStream::connect(address)?;
        for socket in [&client, &broker] {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
        }
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = config.map(|config| ClientConnection::new(config, name).expect("a client"));
        let web = transport.is_web().then(|| Web {
            response: Some(Vec::new()),
            decoder: Decoder::client(u32::MAX),
            encoder: Encoder::client(),
            frames: 0,
        });
        let (down, up) = (Vec::new(), Vec::new());
        let mut relayed =
            Self { client, broker, tls, web, down, up, client_ended: false, broker_ended: false };
        if relayed.web.is_some() {
            relayed.send_up(
                b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Protocol: mqtt\r\n\r\n",
            );
        }
        Ok(relayed)
    }

    fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0; 256 << 10];
        while !self.is_over() {
            self.wait()?;
            self.read_client(&mut buffer)?;
            self.read_broker(&mut buffer)?;
            self.write_broker()?;
            self.write_client()?;
        }
        Ok(())
    }

    /// Once the broker has ended and all that it said is passed on, nothing is left to do; a client may end sooner.
    fn is_over(&self) -> bool {
        self.broker_ended && self.down.is_empty()
    }

    fn wait(&self) -> io::Result<()> {
        let mut client = PollFlags::empty();
        client.set(PollFlags::IN, self.reads_client());
        client.set(PollFlags::OUT, !self.down.is_empty());
        let mut broker = PollFlags::empty();
        broker.set(PollFlags::IN, self.down.len() < WAITING_BYTES_MAX && !self.broker_ended);
        let waits = !self.up.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write());
        broker.set(PollFlags::OUT, waits);
        // An end that nothing is asked of would be reported for ever.
        let ends = [(&self.client, client), (&self.broker, broker)];
        let mut asked: Vec<_> = ends
            .into_iter()
            .filter(|(_, flags)| !flags.is_empty())
            .map(|(socket, flags)| PollFd::new(socket, flags))
            .collect();
        poll(&mut asked, None)?;
        Ok(())
    }

    fn reads_client(&self) -> bool {
        let greeted = self.web.as_ref().is_none_or(|web| web.response.is_none())
            && self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking());
        greeted && !self.client_ended && self.up.len() < WAITING_BYTES_MAX
    }

    fn read_client(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if !self.reads_client() {
            return Ok(());
        }
        match self.client.read(buffer) {
            Ok(0) => self.client_ended = true,
            Ok(count) => self.frame(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Packs what the client said as the transport wants it.
    fn frame(&mut self, mut bytes: &[u8]) {
        let Some(web) = &mut self.web else { return self.send_up(bytes) };
        let mut framed = Vec::new();
        while !bytes.is_empty() {
            let (frame, rest) = bytes.split_at(bytes.len().min(FRAMES[web.frames % FRAMES.len()]));
            web.frames += 1;
            masked(frame, [web.frames.to_le_bytes()[0], 2, 3, 4], &mut framed);
            bytes = rest;
        }
        self.send_up(&framed);
    }

    fn send_up(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            Some(tls) => {
                tls.set_buffer_limit(None);
                tls.writer().write_all(bytes).expect("there is no limit");
            }
            None => self.up.extend_from_slice(bytes),
        }
    }

    fn read_broker(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if self.broker_ended || self.down.len() >= WAITING_BYTES_MAX {
            return Ok(());
        }
        let count = match self.broker.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // The client is to see the reset as what it is for it: the end.
            Err(_) => 0,
        };
        self.broker_ended = count == 0;
        let Some(tls) = &mut self.tls else { return self.unframe(&buffer[..count]) };
        let (mut cipher, mut plain) = (&buffer[..count], Vec::new());
        while !cipher.is_empty() {
            tls.read_tls(&mut cipher)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            // What there is; the end is the socket's to tell.
            let _ = tls.reader().read_to_end(&mut plain);
        }
        self.unframe(&plain)
    }

    /// Unpacks what the broker said.
    fn unframe(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(web) = &mut self.web else {
            self.down.extend_from_slice(bytes);
            return Ok(());
        };
        let mut frames = bytes.to_vec();
        if let Some(response) = &mut web.response {
            response.extend_from_slice(bytes);
            let Some(end) = response.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(()) };
            if !response.starts_with(b"HTTP/1.1 101 ") {
                return Err(io::Error::other("not upgraded"));
            }
            frames = response.split_off(end + 4);
            web.response = None;
        }
        let decoded = web.decoder.decode(&mut frames, &mut web.encoder);
        self.down.extend_from_slice(&frames[..decoded.len]);
        Ok(())
    }

    fn write_broker(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut self.broker) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    // It has ended; what it said last is still to be read.
                    Err(_) => break,
                }
            }
        } else {
            write_some(&mut self.broker, &mut self.up);
        }
        if self.client_ended && self.up.is_empty() {
            // As abruptly as the client did it.
            let _ = self.broker.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    fn write_client(&mut self) -> io::Result<()> {
        write_some(&mut self.client, &mut self.down);
        if self.broker_ended && self.down.is_empty() {
            self.client.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

/// Writes what the socket takes, or forgets what it will never take.
fn write_some(socket: &mut TcpStream, bytes: &mut Vec<u8>) {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(count) => drop(bytes.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => bytes.clear(),
        }
    }
}
