//! Seeded bugs in what the broker makes of packets: its engine is called for something else than the oracle knows of, or
//! what it says is changed on the way out.

use super::faults::Mutant;
use super::shard::{Cause, Event};
use bytes::BytesMut;
use pantala::codec::{
    Connect, Disconnect, Frame, Packet, Properties, PropertiesBuf, Property, Publish, ReasonCode, Split,
    Subscribe, SubscribeFilters, Version, Will, decode, split,
};
use pantala::engine::PeerMessage;
use pantala::types::Now;
use std::num::NonZeroU16;

/// Calls an engine for what a broker with this bug understands; `version` is the connection's.
pub(crate) fn misheard(
    mutant: Option<Mutant>,
    now: Now,
    cause: &Cause<'_>,
    version: Option<Version>,
    call: impl FnOnce(&Cause<'_>),
) {
    match (mutant, cause) {
        (Some(Mutant::WindowIgnored | Mutant::WillAtOnce), Cause::Connect { conn, connect, client }) => {
            let window = mutant == Some(Mutant::WindowIgnored);
            let properties = without(connect.properties, |property| {
                window && matches!(property, Property::ReceiveMaximum(_))
            });
            let of_will = connect.will.map_or(Properties::EMPTY, |will| will.properties);
            let of_will =
                without(of_will, |property| !window && matches!(property, Property::WillDelayInterval(_)));
            let will = connect.will.map(|will| Will { properties: of_will.as_properties(), ..will });
            let connect = Connect { properties: properties.as_properties(), will, ..*connect };
            call(&Cause::Connect { conn: *conn, connect, client: *client });
        }
        (Some(mutant), Cause::Packet { conn, frame, .. }) if version == Some(Version::V5) => {
            let bytes = repacked(mutant, *frame);
            let frame = bytes.as_deref().and_then(first).unwrap_or(*frame);
            call(&Cause::Packet { conn: *conn, frame, shared: None });
        }
        (Some(Mutant::ExpiryBeginsAnew), Cause::Peer { from, message }) => {
            let mut message = message.clone();
            match &mut message {
                PeerMessage::Publish { message, .. } => message.delivery.received = now,
                PeerMessage::RetainedChunk { messages, .. } => {
                    messages.iter_mut().for_each(|message| message.delivery.received = now);
                }
                _ => {}
            }
            call(&Cause::Peer { from: *from, message });
        }
        _ => call(cause),
    }
}

/// A packet as a broker with this bug reads it, if that differs.
fn repacked(mutant: Mutant, frame: Frame<'_>) -> Option<BytesMut> {
    let mut out = BytesMut::new();
    match (mutant, decode(frame, Version::V5).ok()?) {
        (Mutant::ExpiryIgnored, Packet::Publish(publish)) => {
            let properties = without(publish.properties, |property| {
                matches!(property, Property::MessageExpiryInterval(_))
            });
            let publish = Publish { properties: properties.as_properties(), ..publish };
            Packet::Publish(publish).encode(Version::V5, &mut out);
        }
        (Mutant::AliasConfused, Packet::Publish(publish)) if publish.topic.is_empty() => {
            let mut properties =
                without(publish.properties, |property| matches!(property, Property::TopicAlias(_)));
            properties.push(Property::TopicAlias(NonZeroU16::MIN));
            let publish = Publish { properties: properties.as_properties(), ..publish };
            Packet::Publish(publish).encode(Version::V5, &mut out);
        }
        (Mutant::ShareIgnored, Packet::Subscribe(subscribe)) => {
            let mut block = BytesMut::new();
            for (filter, options) in subscribe.filters.iter() {
                let plain = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
                SubscribeFilters::write(&mut block, plain.map_or(filter, |(_, plain)| plain), options);
            }
            let filters = SubscribeFilters::parse(&block, Version::V5).ok()?;
            Packet::Subscribe(Subscribe { filters, ..subscribe }).encode(Version::V5, &mut out);
        }
        (Mutant::LeaverStays, Packet::Unsubscribe(_)) => Packet::PingReq.encode(Version::V5, &mut out),
        (Mutant::GoodbyeHalfHeard, Packet::Disconnect(Disconnect { reason, .. })) => {
            let properties = Properties::EMPTY;
            Packet::Disconnect(Disconnect { reason, properties }).encode(Version::V5, &mut out);
        }
        _ => return None,
    }
    Some(out)
}

/// What a broker with this bug does, where that differs from what its engine did.
pub(crate) fn undone(mutant: Option<Mutant>, events: &mut Vec<Event>) {
    let overrun = [0xe0, ReasonCode::ReceiveMaximumExceeded as u8];
    let told = |event: &Event| matches!(event, Event::Sent { frame, .. } if frame[0] == overrun[0] && frame.get(2) == Some(&overrun[1]));
    if mutant == Some(Mutant::OverrunForgiven) && events.iter().any(told) {
        events.clear();
    }
}

/// A message that gives its topic an alias, as a broker sends it that believes that the client has it already.
pub(crate) fn unexplained(frame: &[u8]) -> Option<Vec<u8>> {
    let Packet::Publish(publish) = decode(first(frame)?, Version::V5).ok()? else { return None };
    publish.properties.topic_alias()?;
    let mut out = BytesMut::new();
    Packet::Publish(Publish { topic: "", ..publish }).encode(Version::V5, &mut out);
    Some(out.to_vec())
}

fn first(bytes: &[u8]) -> Option<Frame<'_>> {
    match split(bytes, u32::MAX) {
        Ok(Split::Whole { frame, .. }) => Some(frame),
        _ => None,
    }
}

fn without(properties: Properties<'_>, goes: impl Fn(&Property<'_>) -> bool) -> PropertiesBuf {
    let mut rest = PropertiesBuf::default();
    properties.iter().filter(|property| !goes(property)).for_each(|property| rest.push(property));
    rest
}
