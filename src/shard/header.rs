//! What a load balancer says before anything else: for whom it connects.

use super::Shard;
use super::journal::NoClient;
use crate::transport::settings::CertificateName;
use crate::transport::{HEADER_BYTES_MAX, Header, Peer, read_proxy_header};
use crate::types::ConnKey;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

impl Shard {
    /// Takes the header off a connection, and no byte more. True when there may be more to read.
    pub(super) fn read_header(&mut self, key: ConnKey) -> bool {
        let Some(conn) = self.world.conns.get(key) else { return false };
        // What follows may be for another layer than the header, so that it is looked at before it is taken.
        let header = &mut self.scratch[..HEADER_BYTES_MAX];
        let peeked = recv(&conn.socket, &mut *header, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        let found = match peeked {
            Err(Errno::AGAIN) => return false,
            Err(Errno::INTR) => return true,
            Ok((0, _)) | Err(_) => {
                self.end(key);
                return false;
            }
            Ok((count, _)) => read_proxy_header(&header[..count]),
        };
        match found {
            Ok(Some(Header { len, client, common_name })) => {
                // Cannot fail: so many bytes were there a moment ago.
                let _ = recv(&conn.socket, &mut header[..len], RecvFlags::DONTWAIT);
                self.world.traffic.bytes_received += len as u64;
                self.introduce(key, client.map(Peer::Net), common_name);
                true
            }
            Ok(None) if conn.flags.hangup => {
                self.end(key);
                false
            }
            Ok(None) => false,
            Err(bad) => {
                self.refuse_connection(key, NoClient::Header(bad));
                true
            }
        }
    }

    /// Notes for whom a load balancer connects, if it is for anybody, and whether that one may.
    fn introduce(&mut self, key: ConnKey, client: Option<Peer>, common_name: Option<Box<str>>) {
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        conn.flags.header_due = false;
        conn.peer = client.unwrap_or(conn.peer);
        let gate = conn.seat.gate();
        if gate.settings().username_from_cert == Some(CertificateName::CommonName) {
            conn.user = common_name;
        }
        let peer = conn.peer;
        if !gate.admits(peer.ip()) {
            return self.refuse_connection(key, NoClient::Denied);
        }
        self.place(key, peer);
    }
}
