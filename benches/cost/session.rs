//! Layer 2: one client's window and queue.

use super::Scenario;
use pantala::session::{Awaiting, Outbound, Queue, Queued, Stored};
use pantala::types::{Delivery, Limits, Message, Now, PacketId, QoS};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

const SIZES: [u16; 3] = [1, 16, 256];

fn queued() -> Queued {
    let delivery = Delivery { qos: QoS::AtLeastOnce, retain: false, received: Now(0), expiry: None };
    let message = Arc::new(Message::new("plant/7/line/3/temperature", &[], &[b'x'; 64], delivery));
    let (qos, stored) = (QoS::AtLeastOnce, Stored::Never);
    Queued { message, seq: 0, qos, retain: false, ids: None, share: None, stored }
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for size in SIZES {
        all.push(window(format!("session/window/clean/{size}"), size, false));
        all.push(window(format!("session/window/persistent/{size}"), size, true));
        all.push(queue(size));
    }
    all.push(Scenario::new("session/window/qos2/1".into(), 1, || {
        let (mut window, mut seq) = (Outbound::default(), 0);
        window.resume(u16::MAX);
        move || {
            let id = window.take(seq, true, || None).expect("it has room");
            seq += 1;
            assert!(window.received(id).is_some(), "it was sent");
            assert!(window.acknowledged(id, Awaiting::PubComp).is_some(), "it was received");
        }
    }));
    all
}

/// One more message in flight, and the oldest is acknowledged.
fn window(name: String, in_flight: u16, kept: bool) -> Scenario {
    Scenario::new(name, 1, move || {
        let (mut window, message) = (Outbound::default(), queued());
        window.resume(u16::MAX);
        let take = move |window: &mut Outbound, seq: &mut u64| -> PacketId {
            *seq += 1;
            window.take(*seq, false, || kept.then(|| message.clone())).expect("it has room")
        };
        let mut seq = 0;
        let mut ids: VecDeque<_> = (0..in_flight).map(|_| take(&mut window, &mut seq)).collect();
        move || {
            ids.push_back(take(&mut window, &mut seq));
            let oldest = ids.pop_front().expect("at least one is in flight");
            black_box(window.acknowledged(oldest, Awaiting::PubAck));
        }
    })
}

fn queue(waiting: u16) -> Scenario {
    Scenario::new(format!("session/queue/{waiting}"), 1, move || {
        let (limits, message, mut queue) = (Limits::default(), queued(), Queue::default());
        for _ in 0..waiting {
            queue.push(message.clone(), &limits, drop);
        }
        move || {
            queue.push(message.clone(), &limits, drop);
            black_box(queue.pop());
        }
    })
}
