//! What the kernel has of a listener's settings: options of TCP, owners of UNIX sockets.

use crate::support::{Broker, Connect, Raw, connack};
use rustix::net::{getpeername, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, geteuid, pidfd_getfd, pidfd_open};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

/// The broker's end of a client's connection.
fn accepted(broker: &Broker, client: &Raw) -> OwnedFd {
    let own = client.0.local_addr().expect("it is connected");
    let process = pidfd_open(broker.pid(), PidfdFlags::empty()).expect("it runs");
    let folder = format!("/proc/{}/fd", broker.pid().as_raw_nonzero());
    let all = std::fs::read_dir(folder).expect("our own child");
    let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let sockets = numbers.filter_map(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok());
    let leads_here = |socket: &OwnedFd| {
        let peer = getpeername(socket).ok().flatten().map(SocketAddr::try_from);
        matches!(peer, Some(Ok(peer)) if peer == own)
    };
    sockets.into_iter().find(leads_here).expect("the broker has the other end")
}

#[test]
fn options_of_tcp_reach_the_sockets_that_are_accepted() {
    let broker =
        Broker::with_listener("no_delay = false\ntcp_keep_alive_s = 43\ntcp_user_timeout_ms = 44000\n");
    let mut client = broker.raw();
    client.connect("client");
    let socket = accepted(&broker, &client);
    assert!(!sockopt::tcp_nodelay(&socket).expect("an option"));
    assert!(sockopt::socket_keepalive(&socket).expect("an option"));
    assert_eq!(sockopt::tcp_keepidle(&socket).expect("an option"), Duration::from_secs(43));
    assert_eq!(sockopt::tcp_user_timeout(&socket).expect("an option"), 44_000);
}

#[test]
fn small_messages_leave_at_once_unless_told_otherwise() {
    let broker = Broker::start();
    let mut client = broker.raw();
    client.connect("client");
    let socket = accepted(&broker, &client);
    assert!(sockopt::tcp_nodelay(&socket).expect("an option"));
    assert!(sockopt::socket_keepalive(&socket).expect("an option"));
    assert_eq!(sockopt::tcp_user_timeout(&socket).expect("an option"), 0, "the system's own");
}

#[test]
fn as_many_connections_may_wait_as_the_listener_says() {
    let broker = Broker::with_listener("backlog = 42\n");
    let port = format!("( sport = :{} )", broker.port());
    let listed =
        Command::new("ss").args(["--listening", "--tcp", "--numeric", "--no-header", &port]).output();
    let listed = String::from_utf8(listed.expect("ss of iproute2").stdout).expect("text");
    // State, what waits, what may wait.
    let bounds: Vec<_> = listed.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(bounds, ["42", "42"], "a socket of each shard: {listed}");
}

#[test]
fn a_unix_socket_belongs_to_whom_its_listener_says() {
    if !geteuid().is_root() {
        return eprintln!("SKIPPED: only root gives files away");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("mqtt");
    let listeners = format!(
        "[[listener]]\nurl = \"unix://{}\"\nowner = \"daemon\"\ngroup = \"4711\"\nmode = \"640\"\n\
         [[listener]]\nurl = \"tcp://127.0.0.1:0\"\n",
        path.display()
    );
    let broker = Broker::with_listener(&listeners);
    let stat = std::fs::metadata(&path).expect("a socket");
    // Debian's user daemon is number 1.
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o777), (1, 4711, 0o640));
    let mut local = UnixStream::connect(&path).expect("root may");
    local.write_all(&Connect::new("local").bytes()).expect("it is taken");
    let mut answer = connack(true, 1);
    local.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, connack(false, 0));
    broker.stop();
}
