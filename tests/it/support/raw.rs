use super::{Connect, PATIENCE, connack, suback, subscribe};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A connection on which a test says and hears bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a live socket");
        stream.set_nodelay(true).expect("a live socket");
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the broker takes what is sent");
    }

    /// The next bytes are these.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        let mut filled = 0;
        while filled < got.len() {
            match self.0.read(&mut got[filled..]) {
                Ok(0) => panic!("closed after {:02x?}, expected {bytes:02x?}", &got[..filled]),
                Ok(count) => filled += count,
                Err(error) => panic!("{error} after {:02x?}, expected {bytes:02x?}", &got[..filled]),
            }
            assert_eq!(got[..filled], bytes[..filled], "got {:02x?}", &got[..filled]);
        }
    }

    /// Reads one whole packet.
    #[track_caller]
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let mut got = vec![0; 2];
        self.0.read_exact(&mut got).expect("a packet");
        while got[got.len() - 1] & 0x80 != 0 {
            got.push(0);
            let last = got.len() - 1;
            self.0.read_exact(&mut got[last..]).expect("a packet's length");
        }
        let remaining = got[1..].iter().rev().fold(0, |sum, &digit| sum << 7 | usize::from(digit & 0x7f));
        let start = got.len();
        got.resize(start + remaining, 0);
        self.0.read_exact(&mut got[start..]).expect("a packet's body");
        got
    }

    /// Everything up to the end of the connection, and whether that came. A reset is an end as well.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut got = Vec::new();
        let closed = match self.0.read_to_end(&mut got) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        (got, closed)
    }

    /// The broker closes the connection, without another byte.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => panic!("expected the end and got {:#04x}", byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("expected the end and got {error}"),
        }
    }

    /// Nothing came before the answer to a ping.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self) {
        self.send(&super::PINGREQ);
        self.expect(&super::PINGRESP);
    }

    /// Connects with 3.1.1, a clean session and no keep alive.
    #[track_caller]
    pub(crate) fn connect(&mut self, id: &str) {
        self.send(&Connect::new(id).bytes());
        self.expect(&connack(false, 0));
    }

    /// Subscribes and waits for the acknowledgement.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&subscribe(1, filter, qos));
        self.expect(&suback(1, qos));
    }
}
