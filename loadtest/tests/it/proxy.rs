//! A proxy between clients and a broker that makes one mistake in what the broker says.

use pantala::codec::{Frame, PacketType, Split, split};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const PACKET_MAX: u32 = 1 << 20;

/// The mistake: what happens to the `nth` packet of a kind, counted from 1, on the first connection that gets so many.
#[derive(Clone, Copy)]
pub(crate) struct Mistake {
    pub(crate) kind: PacketType,
    pub(crate) nth: usize,
    pub(crate) what: What,
}

/// What happens to a packet.
#[derive(Clone, Copy)]
pub(crate) enum What {
    /// It does not come.
    Lose,
    /// It comes twice.
    Repeat,
    /// It comes again, before the next packet of another kind.
    RepeatLate,
    /// It comes after the next one of its kind.
    Swap,
    /// It is changed.
    Change(fn(&mut Vec<u8>)),
    /// Instead of it the connection ends.
    Close,
}

/// Listens in front of a broker for as long as the process runs.
pub(crate) fn proxy(broker: SocketAddr, mistake: Mistake) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    let made = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, made) = (client.expect("a connection"), Arc::clone(&made));
            let broker = TcpStream::connect(broker).expect("the broker listens");
            relay(client, broker, Faulty { mistake, made, seen: 0, held: None });
        }
    });
    address
}

fn relay(client: TcpStream, broker: TcpStream, faulty: Faulty) {
    let (mut from_client, mut to_broker) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
    thread::spawn(move || {
        // One that vanishes is as gone as one that says goodbye.
        let _ = io::copy(&mut from_client, &mut to_broker);
        let _ = to_broker.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let _ = faulty.relay(&broker, &client);
        let _ = client.shutdown(Shutdown::Both);
        let _ = broker.shutdown(Shutdown::Both);
    });
}

/// One connection's way from the broker to the client.
struct Faulty {
    mistake: Mistake,
    /// Whether it was made, on whichever connection.
    made: Arc<AtomicBool>,
    seen: usize,
    /// A packet that comes later.
    held: Option<Vec<u8>>,
}

impl Faulty {
    fn relay(mut self, mut broker: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let count = broker.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            bytes.extend_from_slice(&chunk[..count]);
            let (mut at, mut out) = (0, Vec::new());
            while let Ok(Split::Whole { frame, len }) = split(&bytes[at..], PACKET_MAX) {
                let whole = &bytes[at..at + len];
                at += len;
                if !self.pass(frame, whole, &mut out) {
                    return client.write_all(&out);
                }
            }
            bytes.drain(..at);
            client.write_all(&out)?;
        }
    }

    /// Passes a packet on. False when the connection ends before it.
    fn pass(&mut self, frame: Frame<'_>, whole: &[u8], out: &mut Vec<u8>) -> bool {
        if frame.packet_type() != Some(self.mistake.kind) {
            if matches!(self.mistake.what, What::RepeatLate) {
                out.extend(self.held.take().unwrap_or_default());
            }
            out.extend_from_slice(whole);
            return true;
        }
        self.seen += 1;
        if self.seen != self.mistake.nth || self.made.swap(true, Ordering::Relaxed) {
            out.extend_from_slice(whole);
            if matches!(self.mistake.what, What::Swap) {
                out.extend(self.held.take().unwrap_or_default());
            }
            return true;
        }
        match self.mistake.what {
            What::Lose => {}
            What::Repeat => out.extend([whole, whole].concat()),
            What::RepeatLate => {
                out.extend_from_slice(whole);
                self.held = Some(whole.to_vec());
            }
            What::Swap => self.held = Some(whole.to_vec()),
            What::Change(change) => {
                let mut changed = whole.to_vec();
                change(&mut changed);
                out.extend(changed);
            }
            What::Close => return false,
        }
        true
    }
}
