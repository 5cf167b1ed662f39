//! Who is at the other end of a connection, as the log names them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A client with an address: its own, or the one that a trusted proxy gives.
    Net(SocketAddr),
    /// A process of this machine, on a UNIX socket.
    Local {
        /// Its process id.
        pid: i32,
        /// Its user.
        uid: u32,
    },
    /// One that the kernel knows nothing of any more.
    Unknown,
}

impl Peer {
    /// Its address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Net(address) => Some(address.ip()),
            Self::Local { .. } | Self::Unknown => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => address.fmt(f),
            Self::Local { pid, uid } => write!(f, "unix:pid={pid},uid={uid}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
