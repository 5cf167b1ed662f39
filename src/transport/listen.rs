//! Listening sockets: one per shard and address, all on the same port. The kernel spreads connections over them.

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_ipv6_v6only, set_socket_keepalive, set_socket_reuseaddr, set_socket_reuseport, set_tcp_nodelay,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Connections that wait to be accepted, per shard; further ones are retried by their clients' kernels.
const BACKLOG: i32 = 4_096;

/// Opens an address for each of so many shards. Port 0 is any free port, the same for all; the address says which.
///
/// # Errors
/// Address in use, not an address of this machine, or not allowed to.
pub fn open(address: SocketAddr, shards: usize) -> Result<(SocketAddr, Vec<OwnedFd>), Errno> {
    // Sharing a port shares it with every process of the same user: a second broker would silently take half of the
    // connections of the first. A socket that does not share finds out.
    drop(bind_one(address, false)?);
    let first = open_one(address)?;
    let bound = getsockname(&first)?.try_into()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(open_one(bound)?);
    }
    Ok((bound, sockets))
}

fn open_one(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = bind_one(address, true)?;
    // What the sockets that are accepted inherit. Otherwise small messages wait for the peer's acknowledgement of the ones
    // before,
    set_tcp_nodelay(&socket, true)?;
    // and a client without keep alive whose machine is gone is never missed.
    set_socket_keepalive(&socket, true)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn bind_one(address: SocketAddr, shared: bool) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections of a broker that ran before may linger; only a listener is in the way.
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, shared)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` can then both be listened on.
        set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_a_port_and_nobody_else_gets_it() {
        let (address, sockets) = open(([127, 0, 0, 1], 0).into(), 3).unwrap();
        assert_ne!(address.port(), 0);
        assert_eq!(sockets.len(), 3);
        assert_eq!(open(address, 3).unwrap_err(), Errno::ADDRINUSE);
    }
}
