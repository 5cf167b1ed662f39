//! Listening sockets: one per shard and address, all on the same port. The kernel spreads connections over them.

use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport};
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
    let first = open_one(address)?;
    let bound = getsockname(&first)?.try_into()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(open_one(bound)?);
    }
    Ok((bound, sockets))
}

fn open_one(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` can then both be listened on.
        set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
