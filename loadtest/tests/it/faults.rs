//! One mistake of a broker, and the load generator names it.

use crate::proxy::{Mistake, What, proxy};
use crate::support::{Pantala, Result, load};
use pantala::codec::PacketType::{self, ConnAck, PingResp, PubAck, PubComp, PubRec, Publish, SubAck};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const SUBACK: [u8; 5] = [0x90, 3, 0, 1, 0];
const MESSAGES: u32 = 300;
/// A message in the middle.
const NTH: usize = 123;
/// Nothing is waited for that comes at all: a bound for machines that are slow.
const PATIENT: &str = "--quiet 30";
/// Something is waited for in vain.
const HASTY: &str = "--quiet 2";

/// A short run through a proxy that makes a mistake.
fn run(kind: PacketType, nth: usize, what: What, arguments: &str) -> Result {
    let broker = Pantala::start();
    let address = proxy(broker.address, Mistake { kind, nth, what });
    load(address, &format!("--warmup 0 --messages {MESSAGES} --inflight 20 {arguments}"))
}

/// Every QoS in both versions of the protocol that differ.
fn kinds() -> impl Iterator<Item = String> {
    ["3.1.1", "5"].into_iter().flat_map(|version| (0..3).map(move |qos| format!("-V {version} -q {qos}")))
}

#[track_caller]
fn found(result: &Result, faults: &[&str]) {
    assert_eq!(result.faults(), faults, "{}", result.error);
    assert_eq!(result.exit_code, Some(1), "{}", result.error);
}

#[track_caller]
fn gave_up(result: &Result, why: &str) {
    assert!(result.error.contains(why), "{:?} does not say {why:?}", result.error);
    assert_eq!(result.exit_code, Some(2));
}

#[test]
fn a_broker_that_makes_no_mistake_is_well() {
    for kind in kinds() {
        run(Publish, usize::MAX, What::Lose, &format!("{PATIENT} {kind}")).is_well(MESSAGES);
    }
}

#[test]
fn a_lost_message_is_found() {
    for kind in kinds() {
        found(&run(Publish, NTH, What::Lose, &format!("{PATIENT} {kind}")), &["lost 1"]);
    }
}

#[test]
fn the_first_and_the_last_message_are_found_to_be_lost() {
    found(&run(Publish, 1, What::Lose, PATIENT), &["lost 1"]);
    found(&run(Publish, 300, What::Lose, HASTY), &["lost 1"]);
}

#[test]
fn a_message_that_one_subscriber_of_many_does_not_get_is_found() {
    let result = run(Publish, NTH, What::Lose, &format!("{PATIENT} -s 10"));
    found(&result, &["lost 1"]);
    assert_eq!(result.number("delivered"), f64::from(10 * MESSAGES - 1));
    found(&run(Publish, 3, What::Lose, &format!("{HASTY} -p 10 -s 20 -t 5")), &["lost 1"]);
}

#[test]
fn a_duplicate_is_found() {
    for kind in kinds() {
        found(&run(Publish, NTH, What::Repeat, &format!("{PATIENT} {kind}")), &["duplicated 1"]);
    }
}

#[test]
fn a_duplicate_of_the_last_message_is_found() {
    found(&run(Publish, 300, What::Repeat, PATIENT), &["duplicated 1"]);
    // When all have been delivered already.
    found(&run(Publish, 300, What::RepeatLate, PATIENT), &["duplicated 1"]);
}

#[test]
fn two_messages_in_the_wrong_order_are_found() {
    for kind in kinds() {
        found(&run(Publish, NTH, What::Swap, &format!("{PATIENT} {kind}")), &["reordered 1"]);
    }
}

#[test]
fn an_altered_payload_is_stray_and_the_message_lost() {
    let last_byte = What::Change(|publish| *publish.last_mut().unwrap() ^= 1);
    for kind in kinds() {
        found(&run(Publish, NTH, last_byte, &format!("{PATIENT} {kind}")), &["lost 1", "stray 1"]);
    }
}

#[test]
fn a_message_with_another_topic_is_stray() {
    // Fixed header, length, and the first letter of the topic.
    let topic = What::Change(|publish| publish[4] = b'x');
    found(&run(Publish, NTH, topic, PATIENT), &["lost 1", "stray 1"]);
}

#[test]
fn a_message_that_was_kept_is_stray() {
    let retained = What::Change(|publish| publish[0] |= 1);
    found(&run(Publish, NTH, retained, PATIENT), &["lost 1", "stray 1"]);
}

#[test]
fn a_missing_acknowledgement_is_found() {
    // In the middle it holds up its publisher, and then the broker.
    found(&run(PubAck, NTH, What::Lose, &format!("{HASTY} -q 1")), &["unacknowledged 1"]);
    found(&run(PubComp, 300, What::Lose, &format!("{HASTY} -q 2 -V 5")), &["unacknowledged 1"]);
    found(&run(PubRec, 300, What::Lose, &format!("{HASTY} -q 2")), &["unacknowledged 1"]);
    found(&run(PingResp, 1, What::Lose, HASTY), &["unacknowledged 1"]);
}

#[test]
fn acknowledgements_twice_or_in_the_wrong_order_are_found() {
    found(&run(PubAck, NTH, What::Repeat, &format!("{PATIENT} -q 1")), &["stray 1"]);
    found(&run(PubAck, NTH, What::Swap, &format!("{PATIENT} -q 1")), &["reordered 1"]);
    found(&run(PubComp, NTH, What::Swap, &format!("{PATIENT} -q 2")), &["reordered 1"]);
}

#[test]
fn an_open_loop_finds_the_same() {
    let open = |what| {
        let broker = Pantala::start();
        let address = proxy(broker.address, Mistake { kind: Publish, nth: NTH, what });
        load(address, &format!("--warmup 0 --messages {MESSAGES} --rate 3000 {PATIENT}"))
    };
    found(&open(What::Lose), &["lost 1"]);
    found(&open(What::Repeat), &["duplicated 1"]);
    found(&open(What::Swap), &["reordered 1"]);
}

#[test]
fn a_broker_that_cannot_be_used_is_named_and_ends_the_run() {
    gave_up(&run(Publish, NTH, What::Close, PATIENT), "closed the connection");
    gave_up(
        &run(ConnAck, 1, What::Change(|connack| connack[3] = 5), PATIENT),
        "CONNECT was refused with code 0x05",
    );
    gave_up(&run(ConnAck, 1, What::Close, PATIENT), "did not answer CONNECT");
    gave_up(&run(SubAck, 1, What::Change(|suback| suback[4] = 0x80), PATIENT), "code 0x80");
    gave_up(&run(SubAck, 1, What::Close, PATIENT), "did not answer SUBSCRIBE");
    gave_up(&run(Publish, NTH, What::Change(|publish| publish[0] = 0), PATIENT), "no MQTT packet");
    let disconnect = What::Change(|publish| *publish = vec![0xe0, 1, 0x97]);
    gave_up(&run(Publish, NTH, disconnect, &format!("{PATIENT} -V 5")), "disconnected it: QuotaExceeded");
    let refusal = What::Change(|puback| *puback = vec![0x40, 3, puback[2], puback[3], 0x87]);
    gave_up(&run(PubAck, NTH, refusal, &format!("{PATIENT} -q 1 -V 5")), "refused a message: NotAuthorized");
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    gave_up(&load(address, ""), &format!("cannot connect to {address}"));
    gave_up(&load(address, "--pid 4294967295"), "cannot look at process");
    gave_up(&load(address, "-p 0"), "at least one publisher");
}

/// The kernel announces what was sent and the end in one event.
#[test]
fn a_connection_that_is_closed_behind_its_last_packet_is_noticed_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let broker = thread::spawn(move || {
        let accept = |answers: &[&[u8]]| {
            let (mut client, _) = listener.accept().unwrap();
            for answer in answers {
                assert!(client.read(&mut [0; 200]).unwrap() > 0);
                client.write_all(answer).unwrap();
            }
            client
        };
        let publisher = accept(&[&CONNACK]);
        // A ping's answer that nobody asked for comes with the subscription's.
        drop(accept(&[&CONNACK, &[&SUBACK[..], &[0xd0, 0]].concat()]));
        let subscriber = accept(&[&CONNACK, &SUBACK]);
        // They stay open until the load generator is gone.
        for mut client in [publisher, subscriber] {
            while client.read(&mut [0; 1_000]).is_ok_and(|count| count > 0) {}
        }
    });
    gave_up(&load(address, "-s 2 --keep-alive 0 --duration 1e6"), "-sub1: the broker closed the connection");
    broker.join().unwrap();
}
