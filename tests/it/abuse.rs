//! Whatever bytes arrive, however slowly or fast: that one connection ends, and nobody else notices.

use crate::support::{
    Broker, Connect, Properties, Raw, Scram, connack, packet, property, publish, publish_v5, subscribe, text,
    until, user,
};
use std::io::{Read, Write};
use std::net::Shutdown;

/// What a 3.1.1 client sends after CONNECT, and what is wrong with it.
fn violations() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("packet type 0", vec![0x00, 0]),
        ("packet type 15 before 5.0", vec![0xf0, 0]),
        ("a server's packet", vec![0xd0, 0]),
        ("CONNACK", vec![0x20, 2, 0, 0]),
        ("QoS 3", packet(0x36, &[&text("a"), &[0, 1]])),
        ("DUP with QoS 0", packet(0x38, &[&text("a"), b"x"])),
        ("packet id 0", packet(0x32, &[&text("a"), &[0, 0], b"x"])),
        ("wildcard in a topic name", publish(0, "a/#", None, b"x")),
        ("empty topic name", publish(0, "", None, b"x")),
        ("topic that is no UTF-8", packet(0x30, &[&[0, 2, 0xff, 0xfe]])),
        ("topic with U+0000", publish(0, "a\0b", None, b"x")),
        ("topic longer than its packet", vec![0x30, 3, 0, 9, b'a']),
        ("SUBSCRIBE with flags 0", packet(0x80, &[&[0, 1], &text("a"), &[0]])),
        ("SUBSCRIBE without filters", packet(0x82, &[&[0, 1]])),
        ("SUBSCRIBE for QoS 3", subscribe(1, "a", 3)),
        ("SUBSCRIBE with reserved bits", subscribe(1, "a", 0x10)),
        ("UNSUBSCRIBE without filters", packet(0xa2, &[&[0, 1]])),
        ("PUBREL with flags 0", vec![0x60, 2, 0, 1]),
        ("PUBACK of one byte", vec![0x40, 1, 0]),
        ("PUBACK of three bytes", vec![0x40, 3, 0, 1, 0]),
        ("PINGREQ with a body", vec![0xc0, 1, 0]),
        ("a length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("a length that is not the shortest", vec![0xc0, 0x80, 0x00]),
    ]
}

#[test]
fn violations_end_their_connection_and_are_logged_with_the_peer_s_address() {
    let broker = Broker::start();
    for (index, (what, bytes)) in violations().into_iter().enumerate() {
        let mut raw = broker.raw();
        raw.connect(&format!("violator-{index}"));
        let address = raw.0.local_addr().expect("a live socket");
        raw.send(&bytes);
        raw.expect_closed();
        // Twenty lines a second are written; a slow machine takes longer than that for so many connections.
        if index < 15 {
            until(what, || broker.log().contains(&format!("peer={address}")));
        }
    }
    broker.serves();
}

#[test]
fn violations_of_5_0_are_answered_with_their_reason() {
    let broker = Broker::start();
    let long: Vec<u8> = vec![0x30, 0xff, 0xff, 0xff, 0x7f];
    let cases: [(&str, Vec<u8>, u8); 6] = [
        ("packet larger than the maximum", long, 0x95),
        ("malformed property", packet(0x30, &[&text("a"), &[2, 0x7f, 0]]), 0x81),
        ("property twice", packet(0x30, &[&text("a"), &[4, 1, 0, 1, 0]]), 0x82),
        ("topic alias above the maximum", packet(0x30, &[&text("a"), &[3, 0x23, 0, 33]]), 0x94),
        ("wildcard in a topic name", packet(0x30, &[&text("+"), &[0]]), 0x90),
        ("AUTH without a method", vec![0xf0, 0], 0x82),
    ];
    for (what, bytes, reason) in cases {
        let mut raw = broker.raw();
        raw.send(&Connect::v5(what).bytes());
        raw.packet();
        raw.send(&bytes);
        raw.expect_goodbye(reason);
    }
    broker.serves();
}

#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    let broker = Broker::start();
    let mut state = 1u64;
    for _ in 0..200 {
        let mut raw = broker.raw();
        let garbage: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .take(64)
        .collect();
        // The broker may close before all of it is written.
        let _ = raw.0.write_all(&garbage);
        let _ = raw.0.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = raw.0.read_to_end(&mut answer);
    }
    broker.serves();
}

#[test]
fn a_packet_above_the_limit_is_refused_before_its_body_comes() {
    let broker = Broker::with("[limits]\npacket_bytes_max = 1_000\nconnect_bytes_max = 500");
    let mut raw = broker.raw();
    raw.connect("large");
    raw.send(&publish(0, "a", None, &[0; 990]));
    raw.expect_silence();
    // Of 1,001 bytes, only the length is sent.
    raw.send(&[0x30, 0xe6, 0x07]);
    raw.expect_closed();
    let mut raw = broker.raw();
    raw.send(&[0x10, 0xff, 0x7f]);
    raw.expect_closed();
    broker.serves();
}

#[test]
fn a_connect_that_never_completes_is_closed_in_time() {
    let broker = Broker::with("[limits]\nconnect_timeout_ms = 300");
    let whole = Connect::new("never").bytes();
    for sent in [0, 1, 2, whole.len() - 1] {
        let mut raw = broker.raw();
        raw.send(&whole[..sent]);
        raw.expect_closed();
    }
    until("the log says why", || broker.log().contains("connect_timeout_ms"));
    let mut raw = broker.raw();
    raw.send(&whole);
    raw.expect(&connack(false, 0));
    broker.serves();
}

#[test]
fn a_flood_of_connections_costs_others_nothing() {
    let broker = Broker::start();
    let mut subscriber = broker.raw();
    subscriber.connect("subscriber");
    subscriber.subscribe("calm", 1);
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    for round in 0..100u16 {
        let flood: Vec<Raw> = (0..10)
            .map(|n| {
                let mut raw = broker.raw();
                match n % 3 {
                    0 => {}
                    1 => raw.send(&[0x10]),
                    _ => raw.send(&Connect::new("the same").bytes()),
                }
                raw
            })
            .collect();
        publisher.send(&publish(2, "calm", Some(round + 1), &round.to_be_bytes()));
        drop(flood);
        let got = subscriber.packet();
        assert!(got.ends_with(&round.to_be_bytes()), "round {round}");
        let &[.., high, low, _, _] = &got[..] else { panic!("{got:?}") };
        subscriber.send(&[0x40, 2, high, low]);
        let [high, low] = (round + 1).to_be_bytes();
        publisher.expect(&[0x40, 2, high, low]);
    }
    broker.serves();
}

#[test]
fn a_subscriber_that_never_reads_loses_its_own_messages_and_slows_nobody() {
    let broker = Broker::with("[sys]\ninterval_s = 1\n[limits]\noutput_bytes_max = 100_000");
    let mut frozen = broker.raw();
    frozen.connect("frozen");
    frozen.subscribe("busy", 0);
    let mut reader = broker.raw();
    reader.connect("reader");
    reader.subscribe("busy", 0);
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    let payload = [7; 10_000];
    // 40 MB: more than the sockets' buffers and the bound together take. A few at a time, so that the reader is not
    // outrun: it would lose messages as well, and rightly.
    for _ in 0..800 {
        for _ in 0..5 {
            publisher.send(&publish(0, "busy", None, &payload));
        }
        for _ in 0..5 {
            assert!(reader.packet() == publish(0, "busy", None, &payload));
        }
    }
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("$SYS/broker/dropped/output_full", 0);
    until("the drops are counted", || {
        let counted = watcher.packet();
        let payload = counted.rsplit(|&byte| byte == b'l').next().unwrap_or_default();
        std::str::from_utf8(payload).is_ok_and(|count| count.parse::<u64>().is_ok_and(|count| count > 0))
    });
    broker.serves();
}

#[test]
fn who_has_yet_to_prove_who_it_is_sends_no_more_than_a_connect() {
    let broker =
        Broker::with(&["[limits]\nconnect_bytes_max = 300\n".to_owned(), user("user", "pencil")].concat());
    let said = |data: &[u8]| {
        [property::data(property::AUTH_METHOD, "SCRAM-SHA-256"), property::data(property::AUTH_DATA, data)]
            .concat()
    };
    let mut scram = Scram::new("user", "pencil");
    let properties = &said(&scram.first());
    let begun = || {
        let mut raw = broker.raw();
        raw.send(&Connect { properties, ..Connect::v5("proves") }.bytes());
        let challenge = raw.packet();
        (raw, challenge)
    };
    // The length alone is enough: 301 bytes with the header.
    let (mut stranger, _) = begun();
    stranger.send(&[0xf0, 0xaa, 0x02]);
    let refused = stranger.packet();
    assert_eq!((refused[0], refused[3]), (0x20, 0x95), "{refused:02x?}");
    stranger.expect_closed();

    let (mut known, challenge) = begun();
    let challenge = Properties::within(&challenge[3..]);
    let data = challenge.all(property::AUTH_DATA).next().expect("a challenge")[2..].to_vec();
    let answer = said(&scram.answer(&data));
    let length = u8::try_from(answer.len()).expect("a short answer");
    known.send(&packet(0xf0, &[&[0x18, length], &answer]));
    let accepted = known.packet();
    assert_eq!((accepted[0], accepted[3]), (0x20, 0), "{accepted:02x?}");
    known.send(&publish_v5(2, "large", Some(1), &[], &[b'x'; 10_000]));
    known.expect(&[0x40, 3, 0, 1, 0x10]);
}
