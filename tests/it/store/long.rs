//! Queues that are much longer than the memory that they may take.

use super::{End, Life, clean, persistent};
use crate::support::{Broker, Raw, publish};

const SETTINGS: &str = "checkpoint_bytes = 1_048_576\n[session]\nqueue_memory_bytes = 4_096\nqueue_messages_max = 1_000_000\nqueue_bytes_max = 1_000_000_000";

/// Messages on their way at a time.
const WINDOW: u32 = 500;

/// Publishes numbered messages of 100 bytes, a window of them at a time.
fn fill(broker: &Broker, qos: u8, count: u32) {
    let mut publisher = clean(broker, "publisher");
    for window in (0..count).step_by(WINDOW as usize) {
        let ids =
            (window..count.min(window + WINDOW)).map(|n| (n, u16::try_from(n - window + 1).expect("few")));
        let mut sent = Vec::new();
        for (n, id) in ids.clone() {
            sent.extend(publish(qos << 1, "long", Some(id), &[&n.to_be_bytes()[..], &[0; 96]].concat()));
        }
        publisher.send(&sent);
        for (_, id) in ids.clone() {
            let [high, low] = id.to_be_bytes();
            publisher.expect(&[if qos == 1 { 0x40 } else { 0x50 }, 2, high, low]);
        }
        if qos == 2 {
            let releases: Vec<u8> = ids.clone().flat_map(|(_, id)| pair(0x62, id)).collect();
            publisher.send(&releases);
            ids.for_each(|(_, id)| publisher.expect(&pair(0x70, id)));
        }
    }
}

fn pair(first: u8, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [first, 2, high, low]
}

/// The packet id and the number in a message.
fn of(packet: &[u8]) -> (u16, u32) {
    let number = packet[10..14].try_into().expect("four bytes");
    (u16::from_be_bytes([packet[8], packet[9]]), u32::from_be_bytes(number))
}

fn sleeper(broker: &Broker, qos: u8) {
    let mut sleeper = persistent(broker, "sleeper", false);
    sleeper.subscribe("long", qos);
    sleeper.leave_v3();
}

/// Takes messages with QoS 2 as they come until there were so many in all, or all; each counts when PUBREL comes for it.
fn take_exactly_once(raw: &mut Raw, got: &mut Vec<u32>, until: usize) {
    while got.len() < until {
        let packet = raw.packet();
        if packet[0] >> 4 == 3 {
            let (id, number) = of(&packet);
            // Sent again it is the same message, unless this client has said that it has it.
            if !got.contains(&number) || packet[0] & 8 == 0 {
                got.push(number);
            }
            raw.send(&pair(0x50, id));
        } else {
            assert_eq!(packet[0], 0x62, "{packet:02x?}");
            raw.send(&pair(0x70, u16::from_be_bytes([packet[2], packet[3]])));
        }
    }
}

#[test]
fn a_long_queue_comes_back_complete_and_in_order() {
    for end in [End::Killed, End::Stopped] {
        let mut life = Life::ending((end, 2, 1), SETTINGS);
        sleeper(&life, 1);
        fill(&life, 1, 20_000);
        life.restart();
        let mut sleeper = persistent(&life, "sleeper", true);
        for n in 0..20_000 {
            let packet = sleeper.packet();
            let (id, number) = of(&packet);
            assert_eq!((packet[0], number), (0x32, n));
            sleeper.send(&pair(0x40, id));
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_a_long_queue_loses_nothing_with_qos_1() {
    let mut life = Life::ending((End::Killed, 2, 2), SETTINGS);
    sleeper(&life, 1);
    fill(&life, 1, 5_000);
    let (mut seen, mut highest) = (vec![false; 5_000], 0);
    for share in [1_000, 2_500, 4_000, 5_000] {
        let mut sleeper = persistent(&life, "sleeper", true);
        let mut previous = None;
        while highest < share {
            let packet = sleeper.packet();
            let (id, number) = of(&packet);
            assert!(previous.is_none_or(|previous| number == previous + 1), "{number} after {previous:?}");
            previous = Some(number);
            seen[number as usize] = true;
            highest = highest.max(number + 1);
            sleeper.send(&pair(0x40, id));
        }
        life.restart();
    }
    assert!(seen.into_iter().all(|seen| seen));
}

#[test]
fn a_kill_in_the_middle_of_a_long_queue_delivers_once_with_qos_2() {
    let mut life = Life::ending((End::Killed, 2, 2), SETTINGS);
    sleeper(&life, 2);
    fill(&life, 2, 3_000);
    let mut got = Vec::new();
    for share in [500, 1_500, 3_000] {
        let mut sleeper = persistent(&life, "sleeper", true);
        take_exactly_once(&mut sleeper, &mut got, share);
        life.restart();
    }
    assert_eq!(got, (0..3_000).collect::<Vec<_>>());
}

/// Resident memory in bytes.
fn resident(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid().as_raw_nonzero()));
    let status = status.expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("is told");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") << 10
}

#[test]
fn memory_does_not_grow_with_the_queue() {
    let mut life = Life::ending((End::Killed, 2, 2), SETTINGS);
    sleeper(&life, 1);
    fill(&life, 1, 20_000);
    let before = resident(&life);
    fill(&life, 1, 200_000);
    let after = resident(&life);
    assert!(after < before + (64 << 20), "from {before} to {after}");
    life.restart();
    let opened = resident(&life);
    assert!(opened < before + (64 << 20), "{opened} after the restart");
}
