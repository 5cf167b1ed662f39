//! Bounds of queues that lie on disk, and of the store itself.

use super::{Life, clean, persistent};
use crate::support::{Raw, publish, publish_v5};

/// A sleeper's queue is full of messages, most of them on disk; returns what its client gets then.
fn overflow(policy: &str, bound: &str, restarts: bool) -> Vec<u8> {
    let settings = format!("[session]\nqueue_memory_bytes = 4_096\n{bound}\noverflow = \"{policy}\"");
    let mut life = Life::begin(2, &settings);
    let mut sleeper = persistent(&life, "sleeper", false);
    sleeper.subscribe("b", 1);
    sleeper.leave_v3();
    let mut publisher = life.v5("publisher");
    for n in 0..200u8 {
        publisher.send(&publish_v5(2, "b", Some(1), &[], &[&[n][..], &[0; 99]].concat()));
        assert_eq!(publisher.packet()[0], 0x40);
        if restarts && n == 100 {
            life.restart();
            publisher = life.v5("publisher");
        }
    }
    life.restart();
    let mut sleeper = persistent(&life, "sleeper", true);
    // While its window has room, what comes now goes behind what waited.
    let mut got = Vec::new();
    loop {
        let packet = sleeper.packet();
        sleeper.send(&[0x40, 2, packet[5], packet[6]]);
        got.push(packet[7]);
        if packet[7] == 255 {
            return got;
        }
        if got.len() == 50 {
            clean(&life, "marker").publishes_v3(0, "b", &[255; 100]);
        }
    }
}

#[test]
fn a_full_queue_on_disk_drops_the_newest() {
    for restarts in [false, true] {
        let got = overflow("drop_newest", "queue_messages_max = 100", restarts);
        assert_eq!(got, (0..100).chain([255]).collect::<Vec<u8>>());
    }
}

#[test]
fn a_queue_full_of_bytes_on_disk_drops_the_newest() {
    // Each counts 100 bytes of payload, its topic, and 64 for itself.
    for restarts in [false, true] {
        let got = overflow("drop_newest", "queue_bytes_max = 16_500", restarts);
        assert_eq!(got, (0..100).chain([255]).collect::<Vec<u8>>());
    }
}

#[test]
fn a_full_queue_on_disk_that_drops_the_oldest_keeps_order_and_its_bound() {
    for restarts in [false, true] {
        let got = overflow("drop_oldest", "queue_messages_max = 100", restarts);
        // While the oldest are on disk and not in memory, the newest is dropped instead.
        assert_eq!(got.len(), 101, "{got:?}");
        assert!(got.is_sorted() && got[0] > 0, "{got:?}");
    }
}

#[test]
fn a_full_queue_of_a_client_that_is_away_drops_where_others_disconnect() {
    let got = overflow("disconnect", "queue_messages_max = 100", true);
    assert_eq!(got, (0..100).chain([255]).collect::<Vec<u8>>());
}

#[test]
fn a_connected_client_whose_queue_on_disk_is_full_is_disconnected_and_keeps_what_waits() {
    let settings = "[session]\nqueue_memory_bytes = 4_096\nqueue_messages_max = 100\noverflow = \"disconnect\"\ninflight_max = 10";
    let mut life = Life::begin(2, settings);
    let mut slow = life.kept_v5("slow", false);
    slow.subscribe_v5("b", 1);
    let mut publisher = clean(&life, "publisher");
    for n in 0..111u8 {
        publisher.publishes_v3(0, "b", &[n; 100]);
    }
    (0..10u8).for_each(|n| assert_eq!(slow.publication().payload, [n; 100]));
    slow.expect_goodbye(0x97);
    life.restart();
    let mut slow = life.kept_v5("slow", true);
    for n in 0..110u8 {
        let got = slow.publication();
        assert_eq!(got.payload, [n; 100]);
        let [high, low] = got.id.expect("QoS 1").to_be_bytes();
        slow.send(&[0x40, 2, high, low]);
    }
}

/// Publishes with QoS 1 by 5.0 until that is refused for want of room; how many were taken.
fn fill(publisher: &mut Raw, topic: &str) -> usize {
    let payload = vec![b'x'; 60_000];
    for taken in 0..10_000 {
        publisher.send(&publish_v5(2, topic, Some(1), &[], &payload));
        match publisher.packet()[..] {
            [0x40, 2, 0, 1] => {}
            [0x40, _, 0, 1, 0x97, ..] => return taken,
            ref other => panic!("{other:02x?}"),
        }
    }
    panic!("there is always room");
}

#[test]
fn a_store_at_its_bound_refuses_what_it_would_have_to_keep_and_serves_all_others() {
    for shards in [1, 2] {
        let settings = "bytes_max = 8_000_000\n[session]\nqueue_messages_max = 1_000_000\nqueue_bytes_max = 1_000_000_000";
        let mut life = Life::begin(shards, settings);
        let mut sleeper = persistent(&life, "sleeper", false);
        sleeper.subscribe("full", 1);
        sleeper.leave_v3();
        let mut publisher = life.v5("publisher");
        let taken = fill(&mut publisher, "full");
        assert!(taken > 20, "{taken}");
        // 3.1.1 knows no reason: it gets no acknowledgement and is disconnected.
        let mut old = clean(&life, "old");
        old.send(&publish(2, "full", Some(1), b"x"));
        old.expect_closed();
        publisher.send(&publish_v5(3, "retained", Some(2), &[], b"x"));
        let refused = publisher.packet();
        assert_eq!((refused[0], &refused[2..5]), (0x40, &[0, 2, 0x97][..]), "{refused:02x?}");
        life.serves();
        life.restart();
        let mut sleeper = persistent(&life, "sleeper", true);
        for n in 0..taken {
            let packet = sleeper.packet();
            assert_eq!(packet.len(), 4 + 2 + 4 + 2 + 60_000, "message {n} of {taken}");
        }
    }
}
