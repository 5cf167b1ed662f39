//! Several shards on threads of their own: what clients on different ones can rely on, and what happens when the process
//! runs out of descriptors.

use crate::support::{Broker, Connect, Raw, connack, publish, until};
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use std::thread;

const PUBLISHERS: u16 = 4;
const MESSAGES: u16 = 3_000;
const WINDOW: u16 = 100;

/// Publishes numbered messages with QoS 1, some at a time, and waits for every acknowledgement in turn.
fn publish_all(mut raw: Raw, publisher: u16) {
    raw.connect(&format!("publisher-{publisher}"));
    for number in 1..=MESSAGES {
        raw.send(&publish(2, &format!("p/{publisher}"), Some(number), &number.to_be_bytes()));
        let acknowledged = number.saturating_sub(WINDOW);
        if acknowledged > 0 {
            let [high, low] = acknowledged.to_be_bytes();
            raw.expect(&[0x40, 2, high, low]);
        }
    }
    for number in MESSAGES - WINDOW + 1..=MESSAGES {
        let [high, low] = number.to_be_bytes();
        raw.expect(&[0x40, 2, high, low]);
    }
}

/// Receives everything, and expects each publisher's messages in their order and once.
fn receive_all(mut raw: Raw) {
    let mut last = [0; PUBLISHERS as usize];
    for _ in 0..PUBLISHERS * MESSAGES {
        let packet = raw.packet();
        let &[_, _, _, _, b'p', b'/', publisher, high, low, upper, lower] = &packet[..] else {
            panic!("{packet:02x?}")
        };
        raw.send(&[0x40, 2, high, low]);
        let last = &mut last[usize::from(publisher - b'0')];
        assert_eq!(u16::from_be_bytes([upper, lower]), *last + 1, "publisher {publisher}");
        *last += 1;
    }
    raw.expect_silence();
}

#[test]
fn every_message_arrives_once_and_in_order_while_connections_come_and_go() {
    let broker = Broker::sharded(4, "");
    let subscribers: Vec<Raw> = (0..4)
        .map(|n| {
            let mut raw = broker.raw();
            raw.connect(&format!("subscriber-{n}"));
            raw.subscribe("p/#", 1);
            raw
        })
        .collect();
    thread::scope(|scope| {
        let publishing: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let raw = broker.raw();
                scope.spawn(move || publish_all(raw, publisher))
            })
            .collect();
        for raw in subscribers {
            scope.spawn(move || receive_all(raw));
        }
        for n in 0.. {
            // On whatever shard it is accepted, and often not the one that it belongs to.
            let mut passer_by = broker.raw();
            passer_by
                .send(&[Connect::new(&format!("passer-by-{n}")).bytes(), vec![0xc0, 0, 0xe0, 0]].concat());
            passer_by.expect(&[&connack(false, 0)[..], &[0xd0, 0]].concat());
            passer_by.expect_closed();
            if publishing.iter().all(|thread| thread.is_finished()) {
                break;
            }
        }
    });
}

/// Whether the first shard keeps a client that is connected, by what the log says.
fn is_on_the_first_shard(log: &str, id: &str) -> bool {
    let line = log.lines().find(|line| line.contains(&format!("client_id=\"{id}\"")));
    line.expect("it is connected").ends_with("shard=0")
}

#[test]
fn a_goodbye_counts_before_the_next_connection_of_its_client_however_busy_its_shard_is() {
    let broker = Broker::start();
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("will", 0);
    let clients = (0..80)
        .map(|n| {
            let (id, mut raw) = (format!("client-{n}"), broker.raw());
            raw.send(&Connect { will: Some(("will", &id, 0, false)), ..Connect::new(&id) }.bytes());
            raw.expect(&connack(false, 0));
            (id, raw)
        })
        .collect::<Vec<_>>();
    // While the broker is stopped one shard gets more than it reads in a turn, and after that the goodbyes. The other has
    // nothing to do but accept the next connections and hand them over.
    let log = broker.log();
    let (mut busy, _others): (Vec<_>, Vec<_>) =
        clients.into_iter().partition(|(id, _)| is_on_the_first_shard(&log, id));
    let mut leaving = busy.split_off(busy.len() / 2);
    broker.freeze();
    for (_, raw) in &mut busy {
        raw.send(&publish(0, "noise", None, &[0; 60_000]));
    }
    let back: Vec<Raw> = leaving
        .iter_mut()
        .map(|(id, before)| {
            before.send(&[0xe0, 0]);
            let mut raw = broker.raw();
            raw.send(&Connect::new(id).bytes());
            raw
        })
        .collect();
    broker.thaw();
    for mut raw in back {
        raw.expect(&connack(false, 0));
        raw.send(&publish(0, "will", None, b"no will"));
        watcher.expect(&publish(0, "will", None, b"no will"));
    }
}

#[test]
fn without_descriptors_the_others_are_served_and_who_waits_gets_in_later() {
    let broker = Broker::start();
    let (mut subscriber, mut publisher) = (broker.raw(), broker.raw());
    subscriber.connect("subscriber");
    subscriber.subscribe("t", 1);
    publisher.connect("publisher");
    let folder = format!("/proc/{}/fd", broker.pid().as_raw_nonzero());
    let open = || std::fs::read_dir(&folder).expect("a folder").count() as u64;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let few = Rlimit { current: Some(open() + 8), maximum };
    let before = prlimit(Some(broker.pid()), Resource::Nofile, few).expect("it is our child");
    let mut clients: Vec<Raw> = (0..40).map(|_| broker.raw()).collect();
    until("it cannot accept", || broker.log().contains("cannot accept connections"));
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&Connect::new(&format!("waits-{n}")).bytes());
    }
    for number in 1..=10 {
        publisher.send(&publish(2, "t", Some(number), b"x"));
        subscriber.expect(&publish(2, "t", Some(number), b"x"));
    }
    // Eight are in. As they leave, others follow.
    let mut served = 0;
    let mut waiting = clients;
    while !waiting.is_empty() {
        let before = served;
        waiting.retain_mut(|client| {
            client.0.set_nonblocking(true).expect("a live socket");
            let accepted = client.0.peek(&mut [0]).is_ok();
            client.0.set_nonblocking(false).expect("a live socket");
            if accepted {
                client.expect(&connack(false, 0));
                served += 1;
            }
            !accepted
        });
        if served == before {
            thread::yield_now();
        }
    }
    assert_eq!(served, 40);
    // One line for each listener and episode, not one for each attempt.
    assert!(broker.log().matches("cannot accept connections").count() <= 40);
    prlimit(Some(broker.pid()), Resource::Nofile, before).expect("it is our child");
    broker.serves();
}
