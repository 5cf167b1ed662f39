//! Connections that do nothing but stay: what one costs the broker.

use crate::args::Args;
use crate::client::{Client, Failure, Hello};
use crate::clock::{Clock, nanos, seconds};
use crate::proc;
use crate::report::IdleOutcome;
use rustix::event::{Timespec, epoll};
use std::os::fd::OwnedFd;

/// Opens the connections, watches them, and says what they cost.
///
/// # Errors
/// The broker is not there, refuses, or closes a connection.
pub(crate) fn idle(args: &Args, count: u32) -> Result<IdleOutcome, Failure> {
    let memory = || args.pid.and_then(|pid| proc::resident(pid).ok());
    let cpu = || args.pid.and_then(|pid| proc::cpu_nanos(pid).ok());
    let resident_before = memory();
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Failure::Socket("epoll".into(), e))?;
    let mut clients = Vec::new();
    for number in 0..count {
        let client = open(args, number, count)?;
        epoll::add(&set, client.as_fd(), epoll::EventData::new_u64(u64::from(number)), epoll::EventFlags::IN)
            .map_err(|error| Failure::Socket(client.id.clone(), error))?;
        clients.push(client);
    }
    let clock = Clock::start();
    let begun = cpu();
    watch(args, &mut clients, &set, clock)?;
    Ok(IdleOutcome {
        connections: count,
        seconds: seconds(clock.nanos()),
        cpu_nanos: proc::between(begun, cpu()),
        resident_before,
        resident_after: memory(),
    })
}

fn open(args: &Args, number: u32, count: u32) -> Result<Client, Failure> {
    let pid = std::process::id();
    let topic = format!("pantala-load/{pid}/idle/{number}");
    Client::open(Hello {
        broker: args.broker,
        source: args.source(number, count),
        version: args.version(),
        keep_alive_s: args.keep_alive,
        id: format!("idle-{pid}-{number}"),
        filter: (!args.bare).then_some((topic.as_str(), args.qos())),
    })
}

/// Keeps the connections alive: each pings once per keep alive, evenly spread.
fn watch(args: &Args, clients: &mut [Client], set: &OwnedFd, clock: Clock) -> Result<(), Failure> {
    let end = nanos(args.duration);
    let keep_alive_s = clients.iter().map(|client| client.keep_alive_s).filter(|&s| s > 0).min();
    let every = u64::from(keep_alive_s.unwrap_or(0)) * 1_000_000_000;
    let spacing = if every == 0 { u64::MAX } else { (every / (clients.len() as u64).max(1)).max(1) };
    let (mut next, mut turn) = (spacing, 0);
    let (mut events, mut scratch) = (Vec::with_capacity(1_024), vec![0; 4_096]);
    while clock.nanos() < end {
        while clock.nanos() >= next && !clients.is_empty() {
            let index = turn % clients.len();
            clients[index].output.extend_from_slice(&[0xc0, 0]);
            clients[index].flush()?;
            turn += 1;
            next = next.saturating_add(spacing);
        }
        let left = next.min(end).saturating_sub(clock.nanos()).min(100_000_000);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(left).unwrap_or(0) };
        // It fails only when interrupted, and then there are no events.
        let _ = epoll::wait(set, rustix::buffer::spare_capacity(&mut events), Some(&timeout));
        for event in events.drain(..) {
            let index = usize::try_from(event.data.u64()).unwrap_or(0);
            clients[index].read(&mut scratch, |_, _, _| Ok(()))?;
        }
    }
    Ok(())
}
