//! Connections that do nothing but stay: what one costs the broker.

use crate::args::Args;
use crate::client::{Client, Failure, Hello, PINGREQ};
use crate::clock::{Clock, nanos, seconds};
use crate::proc;
use crate::report::IdleOutcome;
use crate::tls::Terms;
use rustix::event::{Timespec, epoll};
use std::os::fd::OwnedFd;

const SLEEP_NANOS: u64 = 100_000_000;

/// Opens the connections, watches them, and says what they cost.
///
/// # Errors
/// The broker is not there, refuses, or closes a connection.
pub(crate) fn idle(args: &Args, count: u32) -> Result<IdleOutcome, Failure> {
    let memory = || args.pid.and_then(|pid| proc::resident(pid).ok());
    let cpu = || args.pid.and_then(|pid| proc::cpu_nanos(pid).ok());
    let (resident_before, cpu_before) = (memory(), cpu());
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Failure::Socket("epoll".into(), e))?;
    let (mut clients, terms, opening) = (Vec::new(), args.terms()?, Clock::start());
    for number in 0..count {
        args.await_turn(number, opening);
        let client = open(args, terms.as_ref(), number, count)?;
        epoll::add(&set, &client, epoll::EventData::new_u64(u64::from(number)), epoll::EventFlags::IN)
            .map_err(|error| Failure::Socket(client.id.clone(), error))?;
        clients.push(client);
    }
    let (opened, cpu_opened) = (seconds(opening.nanos()), cpu());
    let mut pings = Pings::new(&clients);
    pings.watch(&mut clients, &set, nanos(args.warmup))?;
    let (clock, begun) = (pings.clock.nanos(), cpu());
    pings.watch(&mut clients, &set, clock + nanos(args.duration))?;
    Ok(IdleOutcome {
        connections: count,
        opening_seconds: opened,
        opening_cpu_nanos: proc::between(cpu_before, cpu_opened),
        seconds: seconds(pings.clock.nanos() - clock),
        cpu_nanos: proc::between(begun, cpu()),
        resident_before,
        resident_after: memory(),
    })
}

fn open(args: &Args, terms: Option<&Terms>, number: u32, count: u32) -> Result<Client, Failure> {
    let pid = std::process::id();
    let topic = format!("pantala-load/{pid}/idle/{number}");
    Client::open(Hello {
        broker: args.broker,
        tls: terms,
        websocket: args.websocket,
        source: args.source(number, count),
        version: args.version(),
        keep_alive_s: args.keep_alive,
        id: format!("idle-{pid}-{number}"),
        persistent: false,
        filter: (!args.bare).then_some((topic.as_str(), args.qos())),
    })
}

/// Keeps the connections alive: each pings once per keep alive, evenly spread.
struct Pings {
    clock: Clock,
    spacing: u64,
    /// When the next connection pings, and which.
    next: u64,
    turn: usize,
}

impl Pings {
    fn new(clients: &[Client]) -> Self {
        let keep_alive_s = clients.iter().map(|client| client.keep_alive_s).filter(|&s| s > 0).min();
        let spacing = keep_alive_s.map_or(u64::MAX, |seconds| {
            (u64::from(seconds) * 1_000_000_000 / (clients.len() as u64).max(1)).max(1)
        });
        Self { clock: Clock::start(), spacing, next: spacing, turn: 0 }
    }

    /// Watches until a time.
    fn watch(&mut self, clients: &mut [Client], set: &OwnedFd, end: u64) -> Result<(), Failure> {
        let (mut events, mut scratch) = (Vec::with_capacity(1_024), vec![0; 4_096]);
        loop {
            let now = self.clock.nanos();
            if now >= end {
                return Ok(());
            }
            while now >= self.next {
                let index = self.turn % clients.len();
                clients[index].output.extend_from_slice(&PINGREQ);
                clients[index].flush()?;
                self.turn += 1;
                self.next = self.next.saturating_add(self.spacing);
            }
            let left = self.next.min(end).saturating_sub(now).min(SLEEP_NANOS);
            let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(left).unwrap_or(0) };
            // It fails only when interrupted, and then there are no events.
            let _ = epoll::wait(set, rustix::buffer::spare_capacity(&mut events), Some(&timeout));
            for event in events.drain(..) {
                let index = usize::try_from(event.data.u64()).unwrap_or(0);
                clients[index].read(&mut scratch, |_, _, _| Ok(()))?;
            }
        }
    }
}
