//! Whatever bytes come.

use super::rig::*;
use crate::types::{Limits, Rng};

#[test]
fn garbage_closes_its_own_connection_and_nothing_else() {
    let mut rig = Rig::new(2, &Limits::default());
    let mut subscriber = rig.subscriber("subscriber", "t", 0);
    let mut publisher = rig.client("publisher");
    let mut rng = Rng::new(1);
    for round in 0..200u32 {
        let mut client = rig.dial();
        let mut bytes = if rng.chance(1, 2) { connect("garbage") } else { Vec::new() };
        let len = rng.below(2_000);
        bytes.extend((0..len).map(|_| rng.next_u64().to_le_bytes()[0]));
        // A way into each type of packet.
        bytes.extend(packet(round.to_le_bytes()[0], b"\0\x01\0\x03abc\0"));
        client.send(&bytes);
        rig.sent(&mut client);
        let message = publish("t", &round.to_be_bytes());
        publisher.send(&message);
        rig.expect(&mut subscriber, &message);
        if rng.chance(1, 2) {
            client.vanish();
        }
    }
    rig.until("only two connections are left", |rig| rig.connections() == 2);
    assert!(rig.shards.iter().all(|shard| shard.ready.is_empty() && shard.world.dirty.is_empty()));
}

#[test]
fn a_packet_above_the_bound_ends_the_connection_before_its_body_comes() {
    let mut rig = Rig::new(1, &Limits { packet_bytes_max: 1_000, ..Limits::default() });
    let (mut old, mut new) = (rig.client("old"), rig.dial());
    new.send(&connect_v5("new"));
    rig.until("CONNACK", |_| {
        new.run();
        !new.got.is_empty()
    });
    new.got.clear();
    // 1,001 bytes in all.
    old.send(&[0x30, 0xe6, 0x07]);
    new.send(&[0x30, 0xe6, 0x07]);
    rig.expect_end(&mut old, b"");
    rig.expect_end(&mut new, &[0xe0, 2, 0x95, 0]);
}

#[test]
fn last_words_are_not_overtaken_by_a_reset() {
    let mut rig = Rig::new(1, &Limits { packet_bytes_max: 1_000, ..Limits::default() });
    let mut client = rig.dial();
    client.send(&connect_v5("talkative"));
    rig.until("CONNACK", |_| {
        client.run();
        !client.got.is_empty()
    });
    client.got.clear();
    client.send(&[0x30, 0xff, 0xff, 0x7f]);
    rig.expect_end(&mut client, &[0xe0, 2, 0x95, 0]);
    // A socket closed with unread bytes, or that gets more of them, answers with a reset.
    assert_eq!(rig.connections(), 1, "it is there to throw them away");
    client.send(&vec![0; 1 << 20]);
    rig.sent(&mut client);
    assert_eq!(rig.connections(), 1);
    drop(client);
    rig.until("it ends with its peer", |rig| rig.connections() == 0);
}

#[test]
fn what_follows_a_large_packet_does_not_get_into_its_memory() {
    let mut rig = Rig::new(1, &Limits::default());
    let mut subscriber = rig.subscriber("subscriber", "t", 0);
    let mut publisher = rig.client("publisher");
    let large = publish("t", &vec![7; 100_000]);
    publisher.send(&large[..90_000]);
    rig.sent(&mut publisher);
    rig.settle();
    // As an allocator may do that rounds up.
    rig.shards[0].world.conns.iter_mut().for_each(|(_, conn)| conn.input.reserve_exact(50_000));
    publisher.send(&[&large[90_000..], &PINGREQ].concat());
    rig.expect(&mut publisher, &PINGRESP);
    rig.expect(&mut subscriber, &large);
}

#[test]
fn payloads_of_every_size_arrive_as_they_were_sent() {
    let mut rig = Rig::new(2, &Limits { output_bytes_max: 8 << 20, ..Limits::default() });
    let mut subscribers = [0, 1].map(|shard| {
        let id = rig.id_on(shard);
        rig.subscriber(&id, "t", 0)
    });
    let mut publisher = rig.client("publisher");
    // Around what is copied or referenced, read through the scratch buffer or directly, at once or in steps.
    for near in [16 << 10, 64 << 10, 256 << 10, 512 << 10, 1 << 20] {
        for len in near - 12..near + 3 {
            let payload: Vec<u8> = (0..len).map(|n: u32| n.wrapping_mul(len).to_le_bytes()[2]).collect();
            let message = publish("t", &payload);
            publisher.send(&[&message[..], &PINGREQ].concat());
            rig.until("the payload", |_| {
                publisher.run();
                subscribers.iter_mut().for_each(Client::run);
                subscribers.iter().all(|subscriber| subscriber.got.len() >= message.len())
            });
            assert!(subscribers.iter().all(|subscriber| subscriber.got == message), "{len} bytes");
            subscribers.iter_mut().for_each(|subscriber| subscriber.got.clear());
            rig.expect(&mut publisher, &PINGRESP);
        }
    }
}

#[test]
fn a_large_packet_in_small_pieces_leaves_room_for_others() {
    let mut rig = Rig::new(1, &Limits::default());
    let mut subscriber = rig.subscriber("subscriber", "t", 0);
    let (mut slow, mut quick) = (rig.client("slow"), rig.client("quick"));
    let large = publish("t", &vec![7; 300_000]);
    for piece in large.chunks(7_001) {
        slow.send(piece);
        rig.sent(&mut slow);
        if !std::ptr::eq(piece.as_ptr_range().end, large.as_ptr_range().end) {
            quick.send(&publish("t", b"x"));
            rig.expect(&mut subscriber, &publish("t", b"x"));
        }
    }
    rig.expect(&mut subscriber, &large);
}
