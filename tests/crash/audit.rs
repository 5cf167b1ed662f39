//! What is retained, as somebody sees it who subscribes to everything.

use crate::PATIENCE;
use crate::link::Link;
use crate::wire::Heard;
use bytes::BytesMut;
use pantala::codec::{
    Packet, Properties, Publish, Subscribe, SubscribeFilters, SubscriptionOptions, Version,
};
use pantala::types::{PacketId, QoS};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Retained messages come subscription by subscription, so this one's comes after all that is looked for.
const MARK: &str = "mark";

/// All retained messages of the publishers, by topic.
pub(crate) fn retained(address: SocketAddr) -> BTreeMap<String, Vec<u8>> {
    let mut link = Link::new("auditor".to_owned(), Version::V311, 0);
    link.forget();
    link.connect(address, None);
    wait(&mut link, |heard| matches!(heard, Heard::ConnAck { code: 0, .. }).then_some(()));
    let packet_id = PacketId::new(1);
    link.say(&Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: MARK,
        packet_id,
        properties: Properties::EMPTY,
        payload: b"here",
    }));
    wait(&mut link, |heard| matches!(heard, Heard::PubAck(..)).then_some(()));
    for (id, filter) in [(2, "kept/#"), (3, MARK)] {
        let mut block = BytesMut::new();
        SubscribeFilters::write(&mut block, filter, SubscriptionOptions::of(QoS::AtMostOnce));
        let filters = SubscribeFilters::parse(&block, Version::V311).expect("a filter");
        let packet_id = PacketId::new(id).expect("not 0");
        link.say(&Packet::Subscribe(Subscribe { packet_id, properties: Properties::EMPTY, filters }));
    }
    let mut found = BTreeMap::new();
    wait(&mut link, |heard| match heard {
        Heard::Publish(arrival) if arrival.topic == MARK => Some(()),
        Heard::Publish(arrival) => {
            found.insert(arrival.topic, arrival.payload);
            None
        }
        _ => None,
    });
    link.leave(true);
    found
}

/// Hears packets until one is what is waited for.
fn wait<T>(link: &mut Link, mut wanted: impl FnMut(Heard) -> Option<T>) -> T {
    loop {
        let (heard, closed) = link.hear();
        if let Some(found) = heard.into_iter().find_map(&mut wanted) {
            return found;
        }
        assert!(!closed, "the broker closed the auditor's connection");
        let wire = link.wire().expect("it is connected");
        let mut sockets = [PollFd::new(&wire.stream, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).expect("a short time");
        assert_eq!(poll(&mut sockets, Some(&patience)), Ok(1), "the broker does not answer the auditor");
    }
}
