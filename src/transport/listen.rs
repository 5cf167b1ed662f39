//! Listening sockets. TCP: one per shard and address, all on the same port, over which the kernel spreads connections.
//! UNIX: one, from which all shards accept.

use super::settings::{ListenerSettings, TcpSettings, UnixSettings};
use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{AtFlags, CWD, FileType, Mode, chmodat, chownat, lstat, unlink};
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_ipv6_v6only, set_socket_keepalive, set_socket_reuseaddr, set_socket_reuseport, set_tcp_keepidle,
    set_tcp_nodelay, set_tcp_user_timeout,
};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, ipproto, listen,
    socket_with,
};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port; 0 is any free one.
    Net(SocketAddr),
    /// A UNIX socket's absolute path.
    Unix(PathBuf),
}

impl Address {
    /// The port with its host; none of a UNIX socket.
    pub fn port(&self) -> Option<SocketAddr> {
        match self {
            Self::Net(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether only clients on this machine can connect.
    pub fn is_local(&self) -> bool {
        self.port().is_none_or(|address| address.ip().to_canonical().is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Address in use, not an address of this machine, not allowed to, and what else the kernel says.
    #[error("{0}")]
    System(#[from] Errno),
    /// The path of a UNIX socket is taken by something that is no socket.
    #[error("the path is taken by something that is no socket; remove it, or name another path")]
    NoSocket,
    /// The owner of a UNIX socket is nobody's name.
    #[error("there is no user {0}")]
    NoUser(Box<str>),
    /// The group of a UNIX socket is nobody's name.
    #[error("there is no group {0}")]
    NoGroup(Box<str>),
}

/// Opens an address for each of so many shards. Port 0 is any free port, the same for all; the address says which.
///
/// # Errors
/// Whatever is in the way of it.
pub fn open(
    address: &Address,
    settings: &ListenerSettings,
    shards: usize,
) -> Result<(Address, Vec<OwnedFd>), ListenError> {
    match address {
        Address::Net(address) => {
            let (address, sockets) = open_ports(*address, &settings.tcp, shards)?;
            Ok((Address::Net(address), sockets))
        }
        Address::Unix(path) => {
            let first = open_path(path, settings)?;
            let others = (1..shards).map(|_| rustix::io::fcntl_dupfd_cloexec(&first, 0));
            let others = others.collect::<Result<Vec<_>, _>>()?;
            Ok((Address::Unix(path.clone()), std::iter::once(first).chain(others).collect()))
        }
    }
}

fn open_ports(
    address: SocketAddr,
    tcp: &TcpSettings,
    shards: usize,
) -> Result<(SocketAddr, Vec<OwnedFd>), Errno> {
    // Sharing a port shares it with every process of the same user: a second broker would silently take half of the
    // connections of the first. A socket that does not share finds out.
    drop(bind_port(address, false)?);
    let first = open_port(address, tcp)?;
    let bound = getsockname(&first)?.try_into()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(open_port(bound, tcp)?);
    }
    Ok((bound, sockets))
}

/// Sets what the sockets that are accepted inherit, too.
fn open_port(address: SocketAddr, tcp: &TcpSettings) -> Result<OwnedFd, Errno> {
    let socket = bind_port(address, true)?;
    // Otherwise small messages wait for the peer's acknowledgement of the ones before,
    set_tcp_nodelay(&socket, tcp.no_delay)?;
    // and a client without keep alive whose machine is gone is never missed.
    set_socket_keepalive(&socket, tcp.keep_alive.is_some())?;
    if let Some(silence) = tcp.keep_alive {
        set_tcp_keepidle(&socket, Duration::from_millis(silence.0))?;
    }
    if let Some(timeout) = tcp.user_timeout {
        set_tcp_user_timeout(&socket, u32::try_from(timeout.0).unwrap_or(u32::MAX))?;
    }
    listen(&socket, tcp.backlog.into())?;
    Ok(socket)
}

fn bind_port(address: SocketAddr, shared: bool) -> Result<OwnedFd, Errno> {
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

fn open_path(path: &Path, settings: &ListenerSettings) -> Result<OwnedFd, ListenError> {
    let UnixSettings { owner, group, mode } = &settings.unix;
    let owner = owner.as_deref().map(user).transpose()?;
    let group = group.as_deref().map(self::group).transpose()?;
    let address = SocketAddrUnix::new(path)?;
    remove_stale(path, &address)?;
    let socket = unix_socket()?;
    bind(&socket, &address)?;
    // Nobody connects before it listens, and then it is whose it is to be.
    let opened = own(path, owner, group, *mode).and_then(|()| listen(&socket, settings.tcp.backlog.into()));
    if let Err(error) = opened {
        remove(path);
        return Err(error.into());
    }
    Ok(socket)
}

fn unix_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Removes the socket that a broker left behind which was killed, but none that somebody listens on.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), ListenError> {
    let Ok(stat) = lstat(path) else { return Ok(()) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(ListenError::NoSocket);
    }
    match connect(unix_socket()?, address) {
        Err(Errno::CONNREFUSED) => Ok(unlink(path)?),
        // It is gone meanwhile.
        Err(Errno::NOENT) => Ok(()),
        // AGAIN: its queue is full, so it has one.
        Ok(()) | Err(Errno::AGAIN) => Err(Errno::ADDRINUSE.into()),
        Err(error) => Err(error.into()),
    }
}

fn own(
    path: &Path,
    owner: Option<rustix::fs::Uid>,
    group: Option<rustix::fs::Gid>,
    mode: u32,
) -> Result<(), Errno> {
    if owner.is_some() || group.is_some() {
        chownat(CWD, path, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())
}

/// Removes the socket of a listener that has ended.
pub fn remove(path: &Path) {
    // It may be gone already; if it cannot be removed, the next start will say so.
    let _ = unlink(path);
}

fn user(name: &str) -> Result<rustix::fs::Uid, ListenError> {
    let found = name.parse().ok().map(Uid::from_raw);
    let found = found.or_else(|| User::from_name(name).ok().flatten().map(|user| user.uid));
    let found = found.ok_or_else(|| ListenError::NoUser(name.into()))?;
    Ok(rustix::fs::Uid::from_raw(found.as_raw()))
}

fn group(name: &str) -> Result<rustix::fs::Gid, ListenError> {
    let found = name.parse().ok().map(Gid::from_raw);
    let found = found.or_else(|| Group::from_name(name).ok().flatten().map(|group| group.gid));
    let found = found.ok_or_else(|| ListenError::NoGroup(name.into()))?;
    Ok(rustix::fs::Gid::from_raw(found.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    fn settings() -> ListenerSettings {
        ListenerSettings::default()
    }

    #[test]
    fn shards_share_a_port_and_nobody_else_gets_it() {
        let free = Address::Net(([127, 0, 0, 1], 0).into());
        let (address, sockets) = open(&free, &settings(), 3).unwrap();
        assert_ne!(address, free);
        assert_eq!(sockets.len(), 3);
        assert!(matches!(open(&address, &settings(), 3), Err(ListenError::System(Errno::ADDRINUSE))));
    }

    #[test]
    fn a_unix_socket_is_whose_it_is_to_be_and_one_listener_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = Address::Unix(path.clone());
        let mut settings = settings();
        settings.unix = UnixSettings { mode: 0o640, group: Some("0".into()), owner: None };
        let as_root = rustix::process::geteuid().is_root();
        if !as_root {
            settings.unix.group = None;
        }
        let (_, sockets) = open(&address, &settings, 2).unwrap();
        assert_eq!(sockets.len(), 2);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        UnixStream::connect(&path).unwrap();
        assert!(matches!(open(&address, &settings, 1), Err(ListenError::System(Errno::ADDRINUSE))));
        drop(sockets);
        open(&address, &settings, 1).expect("what a killed broker left behind is no obstacle");
    }

    #[test]
    fn what_is_in_the_way_of_a_unix_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert!(matches!(open(&Address::Unix(path.clone()), &settings(), 1), Err(ListenError::NoSocket)));
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
    }

    #[test]
    fn owners_who_do_not_exist_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix(folder.path().join("socket"));
        let mut settings = settings();
        settings.unix.owner = Some("nobody-has-this-name".into());
        assert_eq!(
            open(&address, &settings, 1).unwrap_err().to_string(),
            "there is no user nobody-has-this-name"
        );
    }
}
