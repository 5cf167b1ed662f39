//! The mesh as shards use it: ports on one thread, where what happens is plain to see, and on many, where each thread
//! sleeps only as the doorbell says. No test waits for a time; a lost wake-up hangs it.

use super::{ENDS_MAX, Mesh, Port, QUANTUM};
use crate::types::{Rng, ShardId};
use rustix::event::epoll;
use std::os::fd::OwnedFd;
use std::thread;

fn pair<T>(capacity: usize) -> (Port<T>, Port<T>) {
    let mut ports = Mesh::new(2, capacity).unwrap().into_iter();
    (ports.next().unwrap(), ports.next().unwrap())
}

const LEFT: ShardId = ShardId(0);
const RIGHT: ShardId = ShardId(1);

fn drain<T>(port: &mut Port<T>, budget: usize) -> Vec<T> {
    let mut items = Vec::new();
    port.drain(budget, &mut |_, item| items.push(item));
    items
}

/// Whether the port's shard would be woken now.
fn woken<T>(port: &Port<T>) -> bool {
    rustix::io::read(port.doorbell(), &mut [0; 8]).is_ok()
}

#[test]
fn nothing_leaves_before_the_flush_and_everything_with_it() {
    let (mut left, mut right) = pair(4);
    (0..10).for_each(|i| left.push(RIGHT, i));
    assert_eq!((left.pending(), drain(&mut right, 100)), (10, vec![]));
    left.flush();
    assert_eq!((left.pending(), drain(&mut right, 100)), (0, (0..10).collect()));
    assert_eq!((left.id(), right.id()), (LEFT, RIGHT));
}

#[test]
fn a_flush_wakes_a_sleeper_once_and_a_shard_that_is_awake_not_at_all() {
    let mut ports = Mesh::new(3, 4).unwrap();
    ports[0].push(ShardId(2), 'a');
    ports[0].flush();
    assert!(!woken(&ports[2]));
    assert!(!ports[2].prepare_sleep(), "something has arrived");
    assert_eq!(drain(&mut ports[2], 100), ['a']);
    assert!(ports[2].prepare_sleep());
    for from in [0, 1] {
        ports[from].push(ShardId(2), 'b');
        ports[from].push(ShardId(2), 'c');
        ports[from].flush();
    }
    assert!(woken(&ports[2]) && !woken(&ports[2]), "one wake-up for two flushes");
    ports[2].awake();
    assert_eq!(drain(&mut ports[2], 100), ['b', 'c', 'b', 'c']);
    assert!(!woken(&ports[0]) && !woken(&ports[1]));
}

#[test]
fn who_has_something_to_send_or_to_take_does_not_sleep() {
    let (mut left, mut right) = pair(4);
    left.push(RIGHT, 1);
    assert!(!left.prepare_sleep(), "it would keep that to itself");
    left.push(RIGHT, 2);
    left.flush();
    assert!(left.prepare_sleep());
    assert_eq!(drain(&mut right, 1), [1]);
    assert!(!right.prepare_sleep(), "one more is there");
    assert_eq!(drain(&mut right, 1), [2]);
    assert!(!right.drain(1, &mut |_, _| unreachable!("that was all")));
    assert!(right.prepare_sleep());
}

#[test]
fn a_full_link_holds_items_back_in_order_and_wakes_the_sender_when_there_is_room() {
    let (mut left, mut right) = pair(2);
    for i in 0..5 {
        left.push(RIGHT, i);
        left.flush();
        assert_eq!(left.congested(), i > 1);
    }
    assert_eq!(left.pending(), 3);
    assert!(left.prepare_sleep(), "it can do nothing before there is room");
    assert_eq!(drain(&mut right, 1), [0]);
    assert!(woken(&left));
    left.awake();
    assert!(left.congested(), "until it is flushed");
    drain(&mut left, 100);
    assert!(!left.prepare_sleep(), "the flush is due, although the ring has been heard");
    left.push(RIGHT, 5);
    left.flush();
    assert!(!left.congested() && left.pending() == 0);
    assert_eq!(drain(&mut right, 100), [1, 2, 3, 4, 5]);
    assert!(!woken(&left), "nobody waits for room any more");
}

#[test]
fn room_that_is_made_before_the_sender_says_that_it_waits_is_found() {
    let (mut left, mut right) = pair(1);
    left.push(RIGHT, 1);
    left.flush();
    left.push(RIGHT, 2);
    left.flush();
    assert_eq!(drain(&mut right, 100), [1]);
    assert!(left.congested() && !left.prepare_sleep(), "the room was made before it went to sleep");
    left.flush();
    left.flush();
    assert_eq!((left.congested(), drain(&mut right, 100)), (false, vec![2]));
}

#[test]
fn one_congested_peer_does_not_hold_back_the_others() {
    let mut ports = Mesh::new(3, 1).unwrap();
    for i in 0..3 {
        ports[0].push(ShardId(1), i);
        ports[0].push(ShardId(2), i);
        ports[0].flush();
        assert_eq!(drain(&mut ports[2], 100), [i]);
    }
    assert!(ports[0].congested());
    assert_eq!(drain(&mut ports[1], 100), [0]);
    ports[0].flush();
    assert_eq!(drain(&mut ports[1], 100), [1, 2]);
}

#[test]
fn every_peer_gets_its_share_of_a_budget() {
    let mut ports = Mesh::new(4, 4).unwrap();
    for from in [0, 1, 2] {
        (0..10 * QUANTUM).for_each(|i| ports[from].push(ShardId(3), i));
        ports[from].flush();
    }
    let mut counts = [0; 3];
    let mut next = [0; 3];
    for call in 1..=30 {
        let more = ports[3].drain(QUANTUM, &mut |from, item| {
            assert_eq!(item, next[from.index()], "in order from each");
            next[from.index()] += 1;
            counts[from.index()] += 1;
        });
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= QUANTUM, "{counts:?}");
        assert!(more || call == 30);
    }
    assert_eq!(counts, [10 * QUANTUM; 3]);
}

#[test]
fn batches_come_back_and_are_used_again() {
    let (mut left, mut right) = pair(4);
    for _ in 0..3 {
        (0..100).for_each(|i| left.push(RIGHT, i));
        left.flush();
        assert_eq!(drain(&mut right, 1_000).len(), 100);
    }
    let pending = &left.outlets[RIGHT.index()].as_ref().unwrap().pending;
    assert!(pending.is_empty() && pending.capacity() >= 100);
}

#[test]
fn there_is_room_for_all_shards_and_for_those_who_serve_them() {
    let mut ports: Vec<Port<u16>> = Mesh::new(u16::try_from(ENDS_MAX).unwrap(), 1).unwrap();
    let last = ShardId(u16::try_from(ports.len() - 1).unwrap());
    ports[0].push(last, 7);
    ports[0].flush();
    ports[last.index()].push(ShardId(0), 8);
    ports[last.index()].flush();
    assert_eq!((drain(&mut ports[last.index()], 9), drain(&mut ports[0], 9)), (vec![7], vec![8]));
}

#[test]
fn what_goes_to_a_shard_that_ended_is_dropped_and_nobody_waits_for_it() {
    let (mut left, right) = pair(1);
    for i in 0..3 {
        left.push(RIGHT, i);
        left.flush();
    }
    assert!(left.congested() && left.prepare_sleep());
    drop(right);
    assert!(woken(&left));
    left.awake();
    left.flush();
    assert!(!left.congested() && left.pending() == 0);
    assert!(drain(&mut left, 100).is_empty());
}

#[test]
#[should_panic(expected = "no link to itself")]
fn a_shard_does_not_send_to_itself() {
    pair(1).0.push(LEFT, ());
}

/// A shard's way to sleep: on an epoll set that watches the doorbell's edges.
struct Bed(OwnedFd);

impl Bed {
    fn new<T>(port: &Port<T>) -> Self {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&set, port.doorbell(), epoll::EventData::new_u64(0), edge).unwrap();
        Self(set)
    }

    fn sleep_unless_busy<T>(&self, port: &mut Port<T>) {
        if port.prepare_sleep() {
            let mut events = Vec::with_capacity(1);
            epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        }
        port.awake();
    }
}

/// Sends `items` numbers to each peer, in batches of random sizes, while it takes what they send; ends when it has
/// everything and has sent everything.
fn exchange(mut port: Port<u64>, shards: u16, items: u64, seed: u64) {
    let bed = Bed::new(&port);
    let mut rng = Rng::new(seed ^ u64::from(port.id().0));
    let peers: Vec<_> = (0..shards).map(ShardId).filter(|&peer| peer != port.id()).collect();
    let mut expected = vec![0; usize::from(shards)];
    let (mut sent, mut received) = (0, 0);
    loop {
        let budget = usize::try_from(1 + rng.below(64)).unwrap();
        port.drain(budget, &mut |from, item| {
            let expected = &mut expected[from.index()];
            assert_eq!(item, *expected, "from {from}, seed {seed}");
            *expected += 1;
            received += 1;
        });
        if !port.congested() {
            let batch = rng.below(20).min(items - sent);
            for item in sent..sent + batch {
                peers.iter().for_each(|&peer| port.push(peer, item));
            }
            sent += batch;
        }
        port.flush();
        let may_send = sent < items && !port.congested();
        if !may_send && !port.congested() && received == items * peers.len() as u64 {
            return assert_eq!(port.pending(), 0);
        }
        if !may_send {
            bed.sleep_unless_busy(&mut port);
        }
    }
}

#[test]
fn nothing_is_lost_or_out_of_order_and_no_wake_up_is_missed_between_threads() {
    for (shards, capacity, items) in [(2, 1, 20_000), (2, 16, 20_000), (4, 1, 3_000), (5, 2, 3_000)] {
        let seed = u64::from(shards) * 1_000 + capacity as u64;
        let ports = Mesh::new(shards, capacity).unwrap();
        let threads =
            ports.into_iter().map(|port| thread::spawn(move || exchange(port, shards, items, seed)));
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
    }
}

#[test]
fn every_single_message_wakes_whoever_sleeps_for_it() {
    const ROUNDS: u64 = 20_000;
    let (mut left, mut right) = pair(1);
    let echo = thread::spawn(move || {
        let bed = Bed::new(&right);
        let mut rounds = 0;
        while rounds < ROUNDS {
            let items = drain(&mut right, 1);
            rounds += items.len() as u64;
            items.into_iter().for_each(|item| right.push(LEFT, item));
            right.flush();
            if rounds < ROUNDS {
                bed.sleep_unless_busy(&mut right);
            }
        }
        // Gone only when the other side has taken the last one.
        right
    });
    let bed = Bed::new(&left);
    for round in 0..ROUNDS {
        left.push(RIGHT, round);
        left.flush();
        loop {
            let items = drain(&mut left, 10);
            if let [item] = items[..] {
                assert_eq!(item, round);
                break;
            }
            bed.sleep_unless_busy(&mut left);
        }
    }
    drop(echo.join().unwrap());
}
