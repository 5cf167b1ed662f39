//! What came of messages, packet by packet.

use super::*;
use clap::Parser;
use pantala::codec::{Split, split};

/// Frames one after the other.
fn frames(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let Ok(Split::Whole { frame, len }) = split(bytes, 1 << 20) else { panic!("{bytes:02x?}") };
        frames.push(frame);
        bytes = &bytes[len..];
    }
    frames
}

fn flow(arguments: &str) -> Flow {
    let args = Args::parse_from(std::iter::once("pantala-load").chain(arguments.split_whitespace()));
    Flow::new(&args, "t")
}

/// So many messages of each publisher, as the bytes it sends.
fn published(flow: &mut Flow, each: usize) -> Vec<Vec<u8>> {
    let publishers = flow.publishers.len();
    let publish = |publisher| {
        let mut bytes = Vec::new();
        (0..each).for_each(|n| flow.publish(publisher, n as u64, &mut bytes));
        bytes
    };
    (0..publishers).map(publish).collect()
}

/// Hands frames to a connection and returns its answers.
fn give(flow: &mut Flow, connection: usize, frames: &[Frame<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        flow.packet(connection, "client", *frame, 1_000_000, &mut out).unwrap();
    }
    out
}

#[test]
fn what_everybody_gets_is_on_its_way_no_longer() {
    let mut flow = flow("-p 4 -s 6 -t 2");
    let sent = published(&mut flow, 3);
    assert_eq!((flow.published, flow.on_their_way()), (12, 12));
    // Publishers 0 and 2 and subscribers 0, 2 and 4 have topic 0, the others topic 1.
    for subscriber in 0..6 {
        assert_eq!(flow.filter(4 + subscriber), Some(["t/0", "t/1"][subscriber % 2]));
        for publisher in [subscriber % 2, subscriber % 2 + 2] {
            give(&mut flow, 4 + subscriber, &frames(&sent[publisher]));
        }
    }
    assert_eq!((flow.delivered, flow.on_their_way()), (36, 0));
    assert_eq!(flow.latencies.len(), 36);
    assert!(!flow.faults().any());
    assert_eq!(flow.filter(0), None);
}

#[test]
fn a_message_for_another_topic_or_that_nobody_sent_is_stray() {
    let mut flow = flow("-p 2 -s 2 -t 2");
    let sent = published(&mut flow, 1);
    give(&mut flow, 3, &frames(&sent[0]));
    give(&mut flow, 0, &frames(&sent[0]));
    assert_eq!((flow.stray, flow.delivered), (2, 0));
    let mut future = sent[0].clone();
    let sequence_end = future.len() - 64 + 8;
    future[sequence_end - 1] = 99;
    give(&mut flow, 2, &frames(&future));
    let mut unknown = sent[0].clone();
    unknown[sequence_end - 8] = 0xff;
    give(&mut flow, 2, &frames(&unknown));
    assert_eq!(flow.faults(), Faults { stray: 4, lost: 2, ..Faults::default() });
}

#[test]
fn a_lost_message_does_not_hold_up_its_publisher() {
    let mut flow = flow("");
    let sent = published(&mut flow, 5);
    let all = frames(&sent[0]);
    give(&mut flow, 1, &[all[0], all[3]]);
    assert_eq!(flow.window(0).len(), 1, "only the last one is still on its way");
    assert_eq!(flow.faults().lost, 3);
    give(&mut flow, 1, &[all[1], all[4], all[4]]);
    let expected = Faults { lost: 1, reordered: 1, duplicated: 1, ..Faults::default() };
    assert_eq!(flow.faults(), expected);
    assert_eq!((flow.window(0).len(), flow.delivered), (0, 4));
}

#[test]
fn qos_1_is_delivered_and_acknowledged() {
    let mut flow = flow("-q 1");
    let sent = published(&mut flow, 3);
    let acknowledgements = give(&mut flow, 1, &frames(&sent[0]));
    assert_eq!(acknowledgements, [0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3]);
    assert_eq!((flow.delivered, flow.on_their_way(), flow.faults().unacknowledged), (3, 3, 3));
    give(&mut flow, 0, &frames(&acknowledgements[..8]));
    assert_eq!((flow.on_their_way(), flow.faults().unacknowledged), (1, 1));
    give(&mut flow, 0, &frames(&acknowledgements[4..]));
    assert_eq!((flow.on_their_way(), flow.acknowledgements.len()), (0, 3));
    assert_eq!(flow.faults(), Faults { stray: 1, ..Faults::default() }, "one came twice");
    give(&mut flow, 1, &frames(&[0x40, 2, 0, 1]));
    assert_eq!(flow.faults().stray, 2, "a subscriber has nothing to be acknowledged");
}

#[test]
fn qos_2_goes_there_and_back_twice() {
    let mut flow = flow("-q 2 -V 5");
    let sent = published(&mut flow, 1);
    assert_eq!(give(&mut flow, 1, &frames(&sent[0])), [0x50, 2, 0, 1]);
    assert_eq!(give(&mut flow, 0, &frames(&[0x50, 2, 0, 1])), [0x62, 2, 0, 1]);
    assert_eq!(flow.on_their_way(), 1);
    assert_eq!(give(&mut flow, 1, &frames(&[0x62, 2, 0, 1])), [0x70, 2, 0, 1]);
    assert_eq!(give(&mut flow, 0, &frames(&[0x70, 2, 0, 1])), Vec::<u8>::new());
    assert_eq!(flow.on_their_way(), 0);
    assert!(!flow.faults().any());
}

#[test]
fn what_no_client_may_get_ends_the_run() {
    let mut out = Vec::new();
    for (arguments, bytes) in [
        ("-q 1", &[0x50, 2, 0, 1][..]),
        ("-q 0", &[0x40, 2, 0, 1]),
        ("-q 2", &[0x40, 2, 0, 1]),
        ("-q 1", &[0x40, 2, 0, 0]),
        ("-q 1 -V 5", &[0x40, 3, 0, 1, 0x97]),
        ("-q 2 -V 5", &[0x50, 3, 0, 1, 0x97]),
        ("-V 5", &[0xe0, 1, 0x8b]),
        ("", &[0x20, 2, 0, 0]),
    ] {
        let mut flow = flow(arguments);
        flow.publish(0, 0, &mut out);
        let result = flow.packet(0, "client", frames(bytes)[0], 0, &mut out);
        assert!(result.is_err(), "{arguments} {bytes:02x?}");
    }
}

#[test]
fn a_ping_without_an_answer_is_unacknowledged() {
    let (mut flow, mut out) = (flow(""), Vec::new());
    flow.ping(&mut out);
    flow.ping(&mut out);
    assert_eq!(out, [0xc0, 0, 0xc0, 0]);
    give(&mut flow, 0, &frames(&[0xd0, 0]));
    assert_eq!(flow.faults().unacknowledged, 1);
    give(&mut flow, 1, &frames(&[0xd0, 0, 0xd0, 0]));
    assert_eq!(flow.faults().unacknowledged, 0);
}
