//! Clients that are there besides those that are measured: with filters that match nothing, or without any wish to read.

use crate::args::Args;
use crate::client::{Client, Failure, Hello};
use bytes::BytesMut;
use pantala::codec::{self, Frame, Packet, Properties, Subscribe, SubscribeFilters, SubscriptionOptions};
use pantala::types::PacketId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Filters of one client, and of one SUBSCRIBE.
const EACH: u32 = 10_000;
const AT_ONCE: u32 = 500;
const SCRATCH: usize = 64 << 10;
const WAIT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Connects them all. They stay as long as what is returned does.
///
/// # Errors
/// The broker refuses, or closes a connection.
pub(crate) fn bystanders(args: &Args, topics: &[String]) -> Result<Vec<Client>, Failure> {
    let (mut all, mut scratch) = (Vec::new(), vec![0; SCRATCH]);
    for number in 0..args.ballast.div_ceil(EACH) {
        let mut client = open(args, &format!("ballast{number}"), None)?;
        let end = args.ballast.min((number + 1) * EACH);
        for first in (number * EACH..end).step_by(AT_ONCE as usize) {
            ask(args, &mut client, first..end.min(first + AT_ONCE));
            answered(args, &mut client, &mut scratch)?;
        }
        all.push(client);
    }
    for number in 0..args.slow {
        for (at, topic) in topics.iter().enumerate() {
            all.push(open(args, &format!("slow{number}-{at}"), Some(topic))?);
        }
    }
    Ok(all)
}

fn open(args: &Args, role: &str, filter: Option<&str>) -> Result<Client, Failure> {
    let terms = args.terms()?;
    Client::open(Hello {
        broker: args.broker,
        tls: terms.as_ref(),
        websocket: args.websocket,
        source: 0,
        version: args.version(),
        keep_alive_s: 0,
        id: format!("load-{}-{role}", std::process::id()),
        persistent: false,
        filter: filter.map(|filter| (filter, args.qos())),
    })
}

/// Subscribes to so many filters, as devices have them.
fn ask(args: &Args, client: &mut Client, numbers: std::ops::Range<u32>) {
    let (mut block, mut out) = (BytesMut::new(), BytesMut::new());
    for number in numbers {
        let filter = format!("pantala-load/site/{}/device/{number}/+/value", number % 1_000);
        SubscribeFilters::write(&mut block, &filter, SubscriptionOptions::of(args.qos()));
    }
    if let Ok(filters) = SubscribeFilters::parse(&block, args.version()) {
        let packet = Subscribe { packet_id: PacketId::MIN, properties: Properties::EMPTY, filters };
        Packet::Subscribe(packet).encode(args.version(), &mut out);
        client.output.extend_from_slice(&out);
    }
}

/// Waits for one answer, which is to grant all of it.
fn answered(args: &Args, client: &mut Client, scratch: &mut [u8]) -> Result<(), Failure> {
    let mut done = false;
    while !done {
        client.flush()?;
        let flags = if client.backlog() > 0 { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        // Interrupted or not, it is tried again.
        let _ = poll(&mut [PollFd::new(client, flags)], Some(&WAIT));
        while client.read(scratch, |id, frame, _| {
            done = true;
            granted(args, id, frame)
        })? {}
    }
    Ok(())
}

fn granted(args: &Args, id: &str, frame: Frame<'_>) -> Result<(), Failure> {
    match codec::decode(frame, args.version()).map_err(|error| Failure::Malformed(id.to_owned(), error))? {
        Packet::SubAck(answer) => match answer.codes.iter().find(|&&code| code != args.qos() as u8) {
            Some(&code) => Err(Failure::NotSubscribed(id.to_owned(), code)),
            None => Ok(()),
        },
        other => Err(Failure::Unexpected(id.to_owned(), other.packet_type())),
    }
}
