//! A run in words, for people who look into a failure.

use super::shard::{Cause, Event};
use pantala::codec::{Frame, Packet, PacketType, Publish, Split, Version, decode, split};
use pantala::engine::PeerMessage;
use pantala::types::ConnKey;

/// `version` says what a connection speaks.
pub(crate) fn cause(cause: &Cause<'_>, version: impl Fn(ConnKey) -> Version) -> String {
    match cause {
        Cause::Connect { conn, connect, client } => format!(
            "{} CONNECT {:?} {:?} clean {} {:?}",
            name(*conn),
            connect.version,
            client.text,
            connect.clean_start,
            connect.will
        ),
        Cause::Packet { conn, frame, .. } => {
            format!("{} sends {}", name(*conn), body(frame.first, frame.body, version(*conn)))
        }
        Cause::Malformed { conn, error } => format!("{} sends garbage: {error}", name(*conn)),
        Cause::Lost { conn } => format!("{} is lost", name(*conn)),
        Cause::Writable { conn } => format!("{} has drained", name(*conn)),
        Cause::Peer { from, message } => format!("hears from {from}: {}", peer(message)),
        other => format!("{other:?}"),
    }
}

pub(crate) fn event(event: &Event, version: impl Fn(ConnKey) -> Version) -> String {
    match event {
        Event::Sent { conn, frame } => format!("-> {} {}", name(*conn), bytes(frame, version(*conn))),
        Event::Offered { conn, frame, taken: true } => {
            format!("-> {} {}", name(*conn), bytes(frame, version(*conn)))
        }
        Event::Offered { conn, frame, taken: false } => {
            format!("-| {} {}", name(*conn), bytes(frame, version(*conn)))
        }
        Event::Closed { conn, why } => format!("{} closed: {why:?}", name(*conn)),
        Event::Peer { to, message } => format!("tells {to}: {}", peer(message)),
    }
}

fn name(conn: ConnKey) -> String {
    format!("conn {}.{}", conn.slot, conn.generation)
}

fn peer(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Publish { message: m, .. } => {
            format!("deliver {:?} {}", m.topic(), payload(m.payload()))
        }
        PeerMessage::RetainedSet(m) => format!("retain {:?} {}", m.topic(), payload(m.payload())),
        other => format!("{other:?}"),
    }
}

fn bytes(frame: &[u8], version: Version) -> String {
    match split(frame, u32::MAX) {
        Ok(Split::Whole { frame, .. }) => body(frame.first, frame.body, version),
        other => format!("{other:?}"),
    }
}

fn body(first: u8, body: &[u8], version: Version) -> String {
    match decode(Frame { first, body }, version) {
        Ok(Packet::Publish(message)) => publish(&message),
        Ok(packet) => format!("{packet:?}"),
        Err(_) => format!("{:?} {body:02x?}", PacketType::from_first(first)),
    }
}

pub(crate) fn publish(publish: &Publish<'_>) -> String {
    format!(
        "PUBLISH {:?} {} q{}{}{} {}",
        publish.topic,
        payload(publish.payload),
        publish.qos as u8,
        if publish.retain { " retain" } else { "" },
        if publish.dup { " dup" } else { "" },
        publish.packet_id.map_or(String::new(), |id| format!("#{id}"))
    )
}

fn payload(payload: &[u8]) -> String {
    format!("\"{}\"", payload[..payload.len().min(12)].escape_ascii())
}
