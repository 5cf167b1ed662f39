//! `overflow = "hold"`: a full queue holds its publishers back, and nothing is lost.

use crate::support::{Broker, Connect, PINGREQ, PINGRESP, Raw, connack, publish};
use std::io::Write;

const MESSAGES: u16 = 1_000;
const SETTINGS: &str =
    "[session]\noverflow = \"hold\"\nqueue_messages_max = 10\ninflight_max = 5\n[sys]\ninterval_s = 1\n";

fn sleeper(broker: &Broker, present: bool) -> Raw {
    let mut raw = broker.raw();
    raw.send(&Connect { clean: false, ..Connect::new("sleeper") }.bytes());
    raw.expect(&connack(present, 0));
    raw
}

fn clean(broker: &Broker, id: &str) -> Raw {
    let mut raw = broker.raw();
    raw.connect(id);
    raw
}

/// Together far more than a core reads at once.
fn message(id: u16) -> Vec<u8> {
    let payload = [&[b'x'; 4_000][..], &id.to_be_bytes()].concat();
    publish(2, "held", Some(id), &payload)
}

/// The number in the next report of what waits that is at least `least`.
fn waiting(observer: &mut Raw, least: u64) -> u64 {
    loop {
        let report = observer.packet();
        let text = std::str::from_utf8(&report[4..]).expect("a report is text");
        let digits = text.rsplit_once("count").expect("the topic that was asked for").1;
        let count = digits.parse().expect("a number");
        if count >= least {
            return count;
        }
    }
}

#[test]
fn a_full_queue_holds_its_publishers_back_and_nothing_is_lost() {
    for shards in [1, 2, 4] {
        let broker = Broker::sharded(shards, SETTINGS);
        let mut subscriber = sleeper(&broker, false);
        subscriber.subscribe("held", 1);
        subscriber.send(&[0xe0, 0]);
        subscriber.expect_closed();

        let mut publisher = clean(&broker, "publisher");
        let mut all: Vec<u8> = (1..=MESSAGES).flat_map(message).collect();
        all.extend(PINGREQ);
        // What is not read fills the socket.
        let sending = publisher.0.try_clone().expect("a live socket");
        let sender = std::thread::spawn(move || (&sending).write_all(&all).expect("all is taken in the end"));
        let mut observer = clean(&broker, "observer");
        observer.subscribe("$SYS/broker/queued messages/count", 0);
        let waits = waiting(&mut observer, 10);
        assert!(waits < u64::from(MESSAGES), "{waits} of {MESSAGES} wait, and 10 may");

        let mut other = clean(&broker, "other");
        other.send(&publish(2, "elsewhere", Some(1), b"not held"));
        other.expect(&[0x40, 2, 0, 1]);

        let mut subscriber = sleeper(&broker, true);
        for id in 1..=MESSAGES {
            let got = subscriber.packet();
            assert_eq!(got[got.len() - 2..], id.to_be_bytes(), "in order, none left out");
            // Behind a length of two bytes, the topic and its own length.
            let ack = [&[0x40, 2], &got[9..11]].concat();
            subscriber.send(&ack);
        }
        for id in 1..=MESSAGES {
            publisher.expect(&[&[0x40, 2][..], &id.to_be_bytes()].concat());
        }
        publisher.expect(&PINGRESP);
        sender.join().expect("all was sent");
    }
}
