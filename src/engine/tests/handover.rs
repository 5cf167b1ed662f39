//! Messages of shared subscriptions that lie in the store, when those who were to get them leave.

use super::shelf::Cores;
use super::*;

/// One message in flight, and a few more in memory.
fn narrow() -> Limits {
    Limits { inflight_max: 1, queue_memory_bytes: 300, ..Limits::default() }
}

const COUNT: u32 = 20;

fn publish_all(cores: &mut Cores, qos: u8) {
    cores.send(1, 9, &connect("1-publisher", true));
    for n in 1..=COUNT {
        let id = u16::try_from(n).unwrap();
        cores.send(1, 9, &publish(qos << 1, "t", Some(id), &n.to_string()));
        if qos == 2 {
            cores.send(1, 9, &[0x62, 2, 0, u8::try_from(n).unwrap()]);
        }
    }
}

/// A member with all of the messages, the most in the store alone, and another one, on this core, that takes what it gets.
fn with_backlog(qos: u8, other: usize) -> Cores {
    let mut cores = Cores::new(2, &narrow());
    cores.member(0, 0, qos);
    publish_all(&mut cores, qos);
    cores.taker(other, 1);
    cores.send(other, 1, &subscribe("$share/g/t", qos));
    assert_eq!(cores.got(other, 1), [0u32; 0]);
    cores
}

/// Levels of QoS, and cores of the other member.
const ALL: [(u8, usize); 4] = [(1, 0), (1, 1), (2, 0), (2, 1)];

/// Each message once; with QoS 1 a crash may have doubled some.
fn settled(got: &[u32], qos: u8) -> Vec<u32> {
    let mut got = sorted(got);
    if qos == 1 {
        got.dedup();
    }
    got
}

/// Ends the session by a clean start, which may be repeated.
fn end(cores: &mut Cores) {
    cores.send(0, 0, &connect("0-0", true));
}

fn sorted(got: &[u32]) -> Vec<u32> {
    let mut got = got.to_vec();
    got.sort_unstable();
    got
}

/// All that may go to another: QoS 2 that was sent may not.
fn expected(qos: u8) -> Vec<u32> {
    (u32::from(qos)..=COUNT).collect()
}

#[test]
fn what_lies_in_the_store_goes_to_another_member_when_its_session_ends() {
    for (qos, other) in ALL {
        let mut cores = with_backlog(qos, other);
        end(&mut cores);
        assert_eq!(sorted(cores.got(other, 1)), expected(qos), "QoS {qos}");
        assert_eq!(cores.shelf.sessions(), 1, "the one that took them");
        assert_eq!((cores.report(0).queued_messages, cores.report(0).queued_bytes), (0, 0));
    }
}

#[test]
fn a_crash_at_any_moment_of_that_loses_nothing_and_doubles_nothing_of_qos_2() {
    for (qos, other) in ALL {
        let mut whole = with_backlog(qos, other);
        let before = whole.commits;
        end(&mut whole);
        for after in 0..=whole.commits - before {
            let mut cores = with_backlog(qos, other);
            cores.commits_left = after;
            end(&mut cores);
            cores.crash();
            cores.taker(other, 1);
            // Its CONNECT may not have reached the disk.
            end(&mut cores);
            cores.tick(Span(0));
            let killed = format!("QoS {qos}, core {other}, killed after {after}");
            assert_eq!(settled(cores.got(other, 1), qos), expected(qos), "{killed}");
            assert_eq!(cores.shelf.sessions(), 1, "{killed}");
        }
    }
}

#[test]
fn a_crash_at_any_moment_of_an_unsubscribe_loses_nothing_and_doubles_nothing_of_qos_2() {
    let unsubscribe = |cores: &mut Cores| cores.send(0, 0, &packet(0xa2, &[&[0, 3], &text("$share/g/t")]));
    for (qos, other) in ALL {
        let mut whole = with_backlog(qos, other);
        let before = whole.commits;
        unsubscribe(&mut whole);
        for after in 0..=whole.commits - before {
            let mut cores = with_backlog(qos, other);
            cores.commits_left = after;
            unsubscribe(&mut cores);
            cores.crash();
            cores.taker(other, 1);
            cores.taker(0, 0);
            let got = [cores.got(0, 0), cores.got(other, 1)].concat();
            assert_eq!(settled(&got, qos), expected(1), "QoS {qos}, core {other}, killed after {after}");
            assert_eq!(cores.report(0).queued_messages, 0);
        }
    }
}

#[test]
fn a_session_that_was_ending_at_a_crash_ends_though_its_client_does_not_come_back() {
    let mut cores = with_backlog(1, 1);
    cores.commits_left = 2;
    end(&mut cores);
    assert_eq!(cores.commits_left, 0, "in the middle of it");
    cores.crash();
    cores.taker(1, 1);
    cores.tick(Span(0));
    assert_eq!(settled(cores.got(1, 1), 1), expected(1));
    assert_eq!((cores.shelf.sessions(), cores.report(0).sessions), (1, 0));
}

#[test]
fn a_client_that_comes_back_before_its_old_session_has_ended_gets_another_one() {
    let mut cores = with_backlog(1, 1);
    cores.commits_left = 2;
    end(&mut cores);
    cores.crash();
    cores.send(0, 0, &connect("0-0", false));
    cores.tick(Span(0));
    cores.lost(0, 0);
    assert_eq!((cores.shelf.sessions(), cores.report(0).sessions), (2, 1));
    cores.send(0, 0, &connect("0-0", false));
    assert_eq!((cores.shelf.sessions(), cores.report(0).sessions), (2, 1), "the client id leads to it");
    cores.taker(1, 1);
    assert_eq!(settled(cores.got(1, 1), 1), expected(1));
}

#[test]
fn the_next_session_of_the_same_client_is_another_one() {
    let mut cores = with_backlog(1, 1);
    cores.commits_left = 2;
    end(&mut cores);
    // What it handed on is on its way to the disk.
    cores.lost(0, 0);
    cores.send(0, 0, &connect("0-0", false));
    cores.send(0, 0, &subscribe("u", 1));
    cores.commits_left = usize::MAX;
    cores.settle();
    assert_eq!((cores.shelf.sessions(), cores.report(0).sessions), (2, 1));
    cores.crash();
    cores.send(1, 9, &connect("1-publisher", true));
    cores.send(1, 9, &publish(2, "u", Some(1), "77"));
    cores.taker(0, 0);
    cores.taker(1, 1);
    assert_eq!((cores.got(0, 0), settled(cores.got(1, 1), 1)), (&[77][..], expected(1)));
}

#[test]
fn a_member_that_unsubscribes_hands_on_what_lies_in_the_store_and_keeps_the_rest() {
    for qos in [1, 2] {
        let mut cores = Cores::new(2, &narrow());
        cores.member(0, 0, qos);
        cores.send(0, 0, &packet(0x82, &[&[0, 2], &text("u"), &[1]]));
        publish_all(&mut cores, qos);
        for n in 101..=105u16 {
            cores.send(1, 9, &publish(2, "u", Some(n), &n.to_string()));
            cores.send(1, 9, &publish(qos << 1, "t", Some(n + 100), &(n + 100).to_string()));
        }
        cores.taker(1, 1);
        cores.send(1, 1, &subscribe("$share/g/t", qos));
        cores.send(0, 0, &packet(0xa2, &[&[0, 3], &text("$share/g/t")]));
        // The one in flight is still the first one's to acknowledge.
        let all: Vec<u32> = (2..=COUNT).chain(201..=205).collect();
        assert_eq!(sorted(cores.got(1, 1)), all, "QoS {qos}");
        assert_eq!(cores.report(0).queued_messages, 5);
        cores.lost(0, 0);
        cores.taker(0, 0);
        assert_eq!(cores.got(0, 0), [1, 101, 102, 103, 104, 105]);
        assert_eq!((cores.report(0).queued_messages, cores.report(0).queued_bytes), (0, 0));
    }
}

#[test]
fn what_a_crash_leaves_with_a_member_that_unsubscribed_goes_to_another_when_it_is_read() {
    let mut cores = with_backlog(1, 1);
    cores.commits_left = 1;
    cores.send(0, 0, &packet(0xa2, &[&[0, 3], &text("$share/g/t")]));
    cores.crash();
    cores.taker(1, 1);
    cores.taker(0, 0);
    assert_eq!((cores.got(0, 0), settled(cores.got(1, 1), 1)), (&[][..], expected(1)));
}

#[test]
fn what_expires_after_it_was_sent_and_the_broker_was_killed_gives_its_packet_id_back() {
    let limits = Limits { queued_expiry: Some(Span::from_secs(10)), ..narrow() };
    let mut cores = Cores::new(2, &limits);
    cores.send(0, 0, &connect("0-0", false));
    cores.send(0, 0, &subscribe("t", 2));
    publish_all(&mut cores, 2);
    cores.taken(0, 0);
    cores.crash();
    cores.tick(Span::from_secs(20));
    cores.send(0, 0, &connect("0-0", false));
    // Of what the client may have only one was on its way at a time.
    assert_eq!(cores.taken(0, 0), [RESUMED, [0x62, 2, 0, 1]].concat());
    assert_eq!(cores.shelf.owed(), 1);
    cores.send(0, 0, &[0x70, 2, 0, 1]);
    assert_eq!((cores.shelf.owed(), cores.report(0).queued_messages), (0, 0));
}

#[test]
fn a_store_that_takes_nothing_new_gets_room_by_what_others_take() {
    let mut cores = with_backlog(1, 1);
    cores.refuse();
    end(&mut cores);
    let mut seconds = 0;
    while cores.got(1, 1).len() < COUNT as usize {
        let before = cores.got(1, 1).len();
        cores.tick(Span::from_secs(1));
        assert!(cores.got(1, 1).len() < before + 5, "a batch at a time");
        seconds += 1;
        assert!(seconds < 50);
    }
    cores.tick(Span::from_secs(1));
    assert_eq!((sorted(cores.got(1, 1)), cores.shelf.sessions()), (expected(1), 1));
}

#[test]
fn without_another_member_it_ends_at_once() {
    let mut cores = Cores::new(2, &narrow());
    cores.member(0, 0, 1);
    publish_all(&mut cores, 1);
    end(&mut cores);
    assert_eq!((cores.shelf.sessions(), cores.report(0).queued_messages), (0, 0));
}
