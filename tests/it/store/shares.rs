//! Members of groups that leave for good, with far more messages than fit into memory.

use super::{End, Life, clean, persistent};
use crate::support::{Connect, Raw, connack, packet, publish, text};
use std::collections::BTreeSet;

const SETTINGS: &str = "checkpoint_bytes = 1_048_576\n[session]\nqueue_memory_bytes = 4_096\nqueue_messages_max = 1_000_000\nqueue_bytes_max = 1_000_000_000";
const FILTER: &str = "$share/group/work";
const COUNT: u32 = 10_000;

/// Messages on their way at a time.
const WINDOW: u32 = 500;

fn pair(first: u8, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [first, 2, high, low]
}

/// Publishes numbered messages.
fn fill(life: &Life, qos: u8, count: u32) {
    let mut publisher = clean(life, "publisher");
    for first in (0..count).step_by(WINDOW as usize) {
        let numbers = first..count.min(first + WINDOW);
        let ids: Vec<u16> = numbers.clone().map(|n| u16::try_from(n - first + 1).expect("few")).collect();
        let sent = numbers.zip(&ids).map(|(n, &id)| publish(qos << 1, "work", Some(id), &n.to_be_bytes()));
        publisher.send(&sent.collect::<Vec<_>>().concat());
        ids.iter().for_each(|&id| publisher.expect(&pair(if qos == 1 { 0x40 } else { 0x50 }, id)));
        if qos == 2 {
            publisher.send(&ids.iter().flat_map(|&id| pair(0x62, id)).collect::<Vec<u8>>());
            ids.iter().for_each(|&id| publisher.expect(&pair(0x70, id)));
        }
    }
}

/// A broker with a member that is away and has all messages, and another member that is away.
fn with_backlog(shards: u16, qos: u8) -> Life {
    let life = Life::ending((End::Killed, shards, shards), SETTINGS);
    let mut leaver = persistent(&life, "leaver", false);
    leaver.subscribe(FILTER, qos);
    leaver.leave_v3();
    fill(&life, qos, COUNT);
    let mut other = persistent(&life, "other", false);
    other.subscribe(FILTER, qos);
    other.leave_v3();
    life
}

/// A client that counts each message once, as QoS 2 has it.
#[derive(Default)]
struct Member {
    got: Vec<u32>,
    held: BTreeSet<u16>,
}

impl Member {
    /// Takes messages until there were so many.
    fn take(&mut self, raw: &mut Raw, until: usize) {
        while self.got.len() < until {
            let packet = raw.packet();
            let (first, rest) = (packet[0], &packet[2..]);
            if first >> 4 == 6 {
                let id = u16::from_be_bytes([rest[0], rest[1]]);
                self.held.remove(&id);
                raw.send(&pair(0x70, id));
                continue;
            }
            assert_eq!(first >> 4, 3, "{packet:02x?}");
            let id = u16::from_be_bytes([rest[6], rest[7]]);
            let number = u32::from_be_bytes(rest[8..12].try_into().expect("four bytes"));
            let exactly_once = first & 4 != 0;
            if !exactly_once || self.held.insert(id) {
                self.got.push(number);
            }
            raw.send(&pair(if exactly_once { 0x50 } else { 0x40 }, id));
        }
    }

    fn has_all(mut self) {
        self.got.sort_unstable();
        assert_eq!(self.got, (0..COUNT).collect::<Vec<_>>());
    }
}

#[test]
fn all_that_waits_for_a_member_goes_to_another_when_its_session_ends() {
    for (shards, qos) in [(1, 1), (2, 1), (2, 2)] {
        let life = with_backlog(shards, qos);
        drop(clean(&life, "leaver"));
        let mut member = Member::default();
        member.take(&mut persistent(&life, "other", true), COUNT as usize);
        member.has_all();
    }
}

#[test]
fn all_that_waits_for_a_member_goes_to_another_when_it_unsubscribes() {
    for qos in [1, 2] {
        let life = with_backlog(2, qos);
        // Its window holds one message, which stays its own.
        let mut leaver = life.raw();
        let one = [0x21, 0, 1];
        leaver.send(&Connect { clean: false, properties: &one, ..Connect::v5("leaver") }.bytes());
        let connack = leaver.packet();
        assert_eq!(connack[..4], [0x20, connack[1], 1, 0]);
        let sent = leaver.packet();
        assert_eq!(sent[0] >> 4, 3);
        leaver.send(&packet(0xa2, &[&[0, 1], &[0], &text(FILTER)]));
        assert_eq!(leaver.packet(), [0xb0, 4, 0, 1, 0, 0]);
        let mut member = Member::default();
        member.take(&mut persistent(&life, "other", true), COUNT as usize - 1);
        member.got.push(0);
        member.has_all();
    }
}

#[test]
fn a_kill_in_the_middle_of_that_loses_nothing_and_doubles_nothing_of_qos_2() {
    for shards in [1, 2] {
        let mut life = with_backlog(shards, 2);
        drop(clean(&life, "leaver"));
        let mut member = Member::default();
        for part in [100, 2_000, 5_000, COUNT as usize] {
            member.take(&mut persistent(&life, "other", true), part);
            life.restart();
        }
        member.has_all();
        // The old one is not there to be resumed, and nothing of it waits.
        let mut leaver = life.raw();
        leaver.send(&Connect { clean: false, ..Connect::new("leaver") }.bytes());
        leaver.expect(&connack(false, 0));
    }
}

#[test]
fn a_session_that_expires_hands_on_what_waits_for_it() {
    let mut life = Life::ending((End::Killed, 2, 2), SETTINGS);
    let expiry = [0x11, 0, 0, 0, 1];
    let mut leaver = life.raw();
    leaver.send(&Connect { clean: false, properties: &expiry, ..Connect::v5("leaver") }.bytes());
    leaver.packet();
    leaver.subscribe_v5(FILTER, 1);
    fill(&life, 1, COUNT);
    let mut other = persistent(&life, "other", false);
    other.subscribe(FILTER, 1);
    other.leave_v3();
    // It expires while the broker is dead, or soon after.
    life.restart();
    drop(leaver);
    let mut member = Member::default();
    let mut raw = persistent(&life, "other", true);
    // What was on its way to the one that vanished may come twice.
    let mut all = BTreeSet::new();
    while all.len() < COUNT as usize {
        let next = member.got.len() + 1;
        member.take(&mut raw, next);
        all.extend(member.got.last().copied());
    }
}
