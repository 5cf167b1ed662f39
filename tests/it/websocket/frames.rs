//! Frames from clients as they should be, and as they should not.

use super::broker;
use crate::support::{Broker, Connect, PINGREQ, PINGRESP, Raw, Web, connack, frame, publish, until};

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A client with a will, and somebody who would hear of it.
fn with_will(broker: &Broker) -> (Web, Raw) {
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("will", 0);
    let mut web = Web::open(broker.beside);
    let connect = Connect { will: Some(("will", "gone", 0, false)), ..Connect::new("mortal") };
    web.send(&connect.bytes());
    web.expect(&connack(false, 0));
    (web, watcher)
}

#[track_caller]
fn will_comes(watcher: &mut Raw) {
    watcher.expect(&publish(0, "will", None, b"gone"));
}

#[test]
fn control_frames_between_fragments_are_answered_and_leave_mqtt_alone() {
    let broker = broker("");
    let mut web = Web::open(broker.beside);
    web.connect("fragments");
    web.raw.send(&frame(BINARY, &PINGREQ[..1]));
    web.raw.send(&frame(PING, b"are you there?"));
    web.expect_frame(PONG, b"are you there?");
    web.raw.send(&frame(PONG, b"nobody asked"));
    web.raw.send(&frame(0x0, b""));
    web.raw.send(&frame(PING, &[7; 125]));
    web.expect_frame(PONG, &[7; 125]);
    web.raw.send(&frame(FIN, &PINGREQ[1..]));
    web.expect_frame(FIN | BINARY, &PINGRESP);
}

#[test]
fn pings_are_answered_before_connect_and_inside_half_a_frame() {
    let broker = broker("");
    let mut web = Web::open(broker.beside);
    web.raw.send(&frame(PING, b""));
    web.expect_frame(PONG, b"");
    let ping = frame(PING, b"in halves");
    web.raw.send(&ping[..3]);
    web.raw.send(&ping[3..9]);
    web.raw.send(&ping[9..]);
    web.expect_frame(PONG, b"in halves");
    web.connect("after-pings");
}

#[test]
fn messages_of_every_size_go_through_frames_of_every_size() {
    let broker = broker("");
    let (mut to, mut from) = (Web::open(broker.beside), Web::open(broker.beside));
    to.connect("to");
    to.subscribe("sizes", 0);
    from.connect("from");
    for len in [0, 1, 100, 125, 126, 127, 1_000, 65_520, 65_535, 65_536, 70_000, 300_000, 1_000_000] {
        let payload: Vec<u8> = (0..len).map(|at: usize| (at ^ at >> 8).to_le_bytes()[0]).collect();
        let packet = publish(0, "sizes", None, &payload);
        from.send(&packet);
        to.expect(&packet);
        // The same in fragments, and in a frame for each of them.
        for size in [1_000, 4_096, 100_000] {
            let mut fragments: Vec<Vec<u8>> = packet.chunks(size).map(|part| frame(0x0, part)).collect();
            fragments[0][0] |= BINARY;
            let last = fragments.len() - 1;
            fragments[last][0] |= FIN;
            from.raw.send(&fragments.concat());
            to.expect(&packet);
            packet.chunks(size).for_each(|part| from.send(part));
            to.expect(&packet);
        }
    }
}

#[test]
fn a_client_that_closes_is_answered_and_has_not_disconnected() {
    let broker = broker("");
    for (payload, echoed) in
        [(&b"\x03\xe9page left"[..], &b"\x03\xe9"[..]), (b"\x0f\xa0", b"\x0f\xa0"), (b"", b"")]
    {
        let (mut web, mut watcher) = with_will(&broker);
        web.raw
            .send(&[frame(CLOSE, payload), frame(FIN | BINARY, &publish(0, "will", None, b"late"))].concat());
        web.expect_frame(CLOSE, echoed);
        web.raw.expect_closed();
        will_comes(&mut watcher);
        watcher.expect_silence();
    }
}

#[test]
fn a_client_that_disconnects_gets_a_close_and_keeps_its_will() {
    let broker = broker("");
    let (mut web, mut watcher) = with_will(&broker);
    web.send(&[0xe0, 0]);
    web.expect_close(1000);
    watcher.expect_silence();
}

#[test]
fn what_is_against_the_rules_ends_the_connection_with_a_code_a_reason_and_a_line_in_the_log() {
    let broker = broker("");
    let wrong = [
        (vec![FIN | BINARY, 2, 0xc0, 0], 1002, "frame of a client without a mask"),
        (frame(0xc2, &PINGREQ), 1002, "reserved bits"),
        (frame(0x83, b""), 1002, "opcode 0x3"),
        (frame(0x8b, b""), 1002, "opcode 0xb"),
        (frame(0x09, b""), 1002, "fragmented control frame"),
        (frame(PING, &[0; 126]), 1002, "control frame of more than 125 bytes"),
        (frame(FIN, &PINGREQ), 1002, "continuation frame without"),
        ([frame(BINARY, &PINGREQ[..1]), frame(BINARY, &PINGREQ[1..])].concat(), 1002, "new message inside"),
        (vec![FIN | BINARY, 0xfe, 0, 2], 1002, "length not in its shortest form"),
        (frame(CLOSE, b"\x03"), 1002, "close frame of one byte"),
        (frame(CLOSE, b"\x03\xed"), 1002, "status code 1005"),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007, "not UTF-8"),
        (frame(FIN | TEXT, b"text"), 1003, "[MQTT-6.0.0-1]"),
    ];
    for (bytes, code, why) in wrong {
        let (mut web, mut watcher) = with_will(&broker);
        web.raw.send(&bytes);
        let (first, payload) = web.frame();
        let (told, reason) = payload.split_first_chunk().expect("a code");
        assert_eq!((first, u16::from_be_bytes(*told)), (CLOSE, code), "{why}");
        assert!(String::from_utf8_lossy(reason).contains(why), "{why}: {}", String::from_utf8_lossy(reason));
        web.raw.expect_closed();
        will_comes(&mut watcher);
        until(why, || broker.log().lines().any(|line| line.contains("WebSocket: ") && line.contains(why)));
    }
    broker.serves();
}

#[test]
fn mqtt_before_a_broken_frame_is_served() {
    let broker = broker("");
    let (mut web, mut watcher) = with_will(&broker);
    let good = frame(FIN | BINARY, &publish(0, "will", None, b"good"));
    web.raw.send(&[good.clone(), frame(FIN | TEXT, b"bad"), good].concat());
    watcher.expect(&publish(0, "will", None, b"good"));
    will_comes(&mut watcher);
    web.expect_close(1003);
}

#[test]
fn what_is_too_large_is_refused_before_it_comes() {
    let broker = Broker::beside("ws", 2, "[limits]\npacket_bytes_max = 100_000", "");
    let mut web = Web::open(broker.beside);
    web.connect("large");
    // A frame may be larger than a packet, and have many.
    let packet = publish(0, "large", None, &[7; 90_000]);
    web.send(&[&packet[..], &packet, &PINGREQ].concat());
    web.expect(&PINGRESP);
    // A frame of two GiB, and of it no more than the packet's length.
    let header = [&[FIN | BINARY, 0xff][..], &(1u64 << 31).to_be_bytes(), &[0; 4]].concat();
    web.raw.send(&[&header[..], &publish(0, "large", None, &[7; 100_000])[..4]].concat());
    web.expect_close(1008);
    until("it is logged", || broker.log().contains("more than the maximum of 100000"));
    let mut web = Web::open(broker.beside);
    web.connect("larger");
    web.raw.send(&[&[FIN | BINARY, 0xff][..], &(1u64 << 32).to_be_bytes()].concat());
    web.expect_close(1009);
}

#[test]
fn what_mqtt_refuses_ends_with_a_violation_of_the_rules_of_the_house() {
    let broker = Broker::beside("ws", 2, "", "versions = [\"3.1.1\"]");
    let mut web = Web::open(broker.beside);
    web.send(&Connect { level: 3, ..Connect::new("old") }.bytes());
    web.expect(&connack(false, 1));
    web.expect_close(1008);
    let mut web = Web::open(broker.beside);
    web.send(&PINGREQ);
    web.expect_close(1008);
    let mut web = Web::open(broker.beside);
    web.connect("twice");
    web.send(&Connect::new("twice").bytes());
    web.expect_close(1008);
}

#[test]
fn a_client_changes_between_websocket_and_tcp_and_keeps_its_session() {
    let broker = broker("");
    let connect = Connect { clean: false, ..Connect::new("wanderer") };
    let mut web = Web::open(broker.beside);
    web.send(&connect.bytes());
    web.expect(&connack(false, 0));
    web.subscribe("w", 1);
    // Its next connection takes the place of the last one, which ends.
    let mut raw = broker.raw();
    raw.send(&connect.bytes());
    raw.expect(&connack(true, 0));
    web.expect_close(1008);
    let mut other = broker.raw();
    other.connect("other");
    other.send(&publish(2, "w", Some(1), b"first"));
    raw.expect(&publish(2, "w", Some(1), b"first"));
    let mut web = Web::open(broker.beside);
    web.send(&connect.bytes());
    web.expect(&connack(true, 0));
    web.expect(&publish(10, "w", Some(1), b"first"));
    raw.expect_closed();
}

#[test]
fn who_pings_and_does_not_read_costs_nothing_and_is_answered_in_the_end() {
    let broker = broker("");
    let mut web = Web::open(broker.beside);
    web.connect("pinger");
    // Far more pongs than the sockets hold.
    let pings = frame(PING, &[7; 125]).repeat(1_000);
    for _ in 0..100 {
        web.raw.send(&pings);
    }
    broker.serves();
    web.raw.send(&frame(PING, b"the last one"));
    while web.frame() != (PONG, b"the last one".to_vec()) {}
    web.send(&PINGREQ);
    web.expect(&PINGRESP);
}

#[test]
fn clients_are_told_that_the_broker_stops() {
    let mut broker = broker("");
    let mut web = Web::open(broker.beside);
    web.connect("left-behind");
    let mut stranger = Web::open(broker.beside);
    stranger.raw.send(&frame(PING, b""));
    stranger.expect_frame(PONG, b"");
    broker.terminate();
    web.expect_close(1001);
    stranger.expect_close(1001);
    assert!(broker.wait().success());
}
