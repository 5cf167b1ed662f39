//! What runs on while the broker does not: expiries and wills. Here time itself is what is tested.

use super::full::numbered;
use super::{End, Life, RESTARTS, clean, each_restart_with, persistent};
use crate::support::{Connect, Raw, property, publish, until};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

const EXPIRES: u8 = property::SESSION_EXPIRY;

/// Waits until the machine's clock has gone on for so long.
fn let_run(seconds: u64) {
    let end = SystemTime::now() + Duration::from_secs(seconds);
    until("the clock has gone on", || SystemTime::now() > end);
}

/// Runs a test that mostly waits in several ways side by side.
fn at_once<T: Sync>(ways: &[T], test: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for way in ways {
            scope.spawn(|| test(way));
        }
    });
}

/// A client of 5.0 with a session that lives for so long.
#[track_caller]
fn lasting(life: &Life, id: &str, seconds: u32, present: bool) -> Raw {
    let properties = &property::four(EXPIRES, seconds);
    let (raw, answer) = life.greeted(&Connect { properties, clean: false, ..Connect::v5(id) });
    assert_eq!(answer.flags, u8::from(present), "whether {id} is present");
    raw
}

/// A client of 5.0 with a session that lives for long and a will that waits for so long.
#[track_caller]
fn mortal(life: &Life, id: &str, delay: u32) -> Raw {
    let connect = Connect {
        properties: &property::four(EXPIRES, 1_000),
        clean: false,
        will: Some(("will", id, 1, false)),
        will_properties: &property::four(property::WILL_DELAY, delay),
        ..Connect::v5(id)
    };
    life.greeted(&connect).0
}

#[test]
fn sessions_expire_while_the_broker_is_down() {
    at_once(&RESTARTS, |&restart| {
        let mut life = Life::ending(restart, "");
        let _connected = lasting(&life, "connected", 1, false);
        drop(lasting(&life, "away", 1, false));
        let mut shortened = lasting(&life, "shortened", 1_000, false);
        shortened.send(&[0xe0, 7, 0, 5, EXPIRES, 0, 0, 0, 1]);
        // DISCONNECT is not acknowledged: it has been read by now, and what comes after it is kept with or after it.
        shortened.expect_closed();
        drop(lasting(&life, "long", 1_000, false));
        life.end();
        let_run(2);
        life.resume();
        for id in ["connected", "away", "shortened"] {
            lasting(&life, id, 1_000, false);
        }
        lasting(&life, "long", 1_000, true);
    });
}

#[test]
fn sessions_before_5_0_expire_after_the_default() {
    let mut life = Life::begin(2, "[session]\nexpiry_default_s = 1");
    drop(persistent(&life, "old", false));
    drop(lasting(&life, "new", 1_000, false));
    life.end();
    let_run(2);
    life.resume();
    persistent(&life, "old", false);
    lasting(&life, "new", 1_000, true);
}

#[test]
fn messages_expire_while_the_broker_is_down_and_tell_what_is_left() {
    at_once(&RESTARTS, |&restart| {
        let mut life = Life::ending(restart, "");
        let mut sleeper = life.kept_v5("sleeper", false);
        sleeper.subscribe_v5("e/#", 1);
        sleeper.leave();
        let mut publisher = life.v5("publisher");
        let expiry = |seconds| property::four(property::MESSAGE_EXPIRY, seconds);
        publisher.publishes(0, "e/short", &expiry(1), b"");
        publisher.publishes(0, "e/long", &expiry(1_000), b"");
        publisher.publishes(1, "r/short", &expiry(1), b"x");
        publisher.publishes(1, "r/long", &expiry(1_000), b"x");
        publisher.publishes(0, "e/ever", &[], b"");
        life.end();
        let_run(2);
        life.resume();
        let left = |properties: &crate::support::Properties| properties.number(property::MESSAGE_EXPIRY);
        let mut sleeper = life.kept_v5("sleeper", true);
        let long = sleeper.publication();
        assert_eq!(long.topic, "e/long");
        assert!(left(&long.properties).is_some_and(|left| (900..=998).contains(&left)), "{long:?}");
        assert_eq!(sleeper.publication().topic, "e/ever");
        let mut reader = life.v5("reader");
        reader.subscribe_v5("r/#", 0);
        let long = reader.publication();
        assert_eq!(long.topic, "r/long");
        assert!(left(&long.properties).is_some_and(|left| (900..=998).contains(&left)), "{long:?}");
        reader.echoes("r/short");
    });
}

#[test]
fn messages_without_an_expiry_wait_for_the_default() {
    let mut life = Life::begin(2, "[session]\nqueued_message_expiry_default_s = 1");
    let mut sleeper = persistent(&life, "sleeper", false);
    sleeper.subscribe("d", 1);
    sleeper.leave_v3();
    let mut publisher = clean(&life, "publisher");
    publisher.publishes_v3(0, "d", b"old");
    life.end();
    let_run(2);
    life.resume();
    let mut publisher = clean(&life, "publisher");
    publisher.publishes_v3(0, "d", b"new");
    let got = persistent(&life, "sleeper", true).packet();
    assert!(got.ends_with(b"new"), "{got:02x?}");
}

/// What a folder takes on the disk.
fn taken(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let of = |path: std::path::PathBuf| {
        let data = path.metadata().expect("there");
        if data.is_dir() { taken(&path) } else { data.blocks() * 512 }
    };
    entries.map(of).sum()
}

#[test]
fn messages_that_expire_for_one_who_sleeps_leave_its_queue_and_the_disk() {
    let settings = "checkpoint_bytes = 1_048_576\n[session]\nqueue_memory_bytes = 4_096\nqueue_messages_max = 1_500\n[sys]\ninterval_s = 1";
    let mut life = Life::ending((End::Stopped, 2, 1), settings);
    let mut sleeper = life.kept_v5("sleeper", false);
    sleeper.subscribe_v5("s", 1);
    sleeper.leave();
    let mut publisher = life.v5("publisher");
    let expiry = property::four(property::MESSAGE_EXPIRY, 1);
    for n in 0..1_500 {
        let properties = if n % 10 == 0 { &[][..] } else { &expiry };
        publisher.publishes(0, "s", properties, &numbered(n)[..2_500]);
    }
    // All of them are settled when it stops: about 4 MB.
    life.restart();
    let mut watcher = clean(&life, "watcher");
    watcher.subscribe("$SYS/broker/queued messages/count", 0);
    until("what has expired is gone", || watcher.packet().ends_with(b"count150"));
    // The queue was full; now there is room.
    let mut publisher = life.v5("publisher");
    publisher.publishes(0, "s", &[], b"new");
    life.restart();
    let after = taken(&life.path().join("settled"));
    assert!(after < 1_500_000, "{after} bytes for 151 messages");
    let mut sleeper = life.kept_v5("sleeper", true);
    for n in (0..1_500).step_by(10) {
        assert_eq!(sleeper.publication().payload, numbered(n)[..2_500], "message {n}");
    }
    assert_eq!(sleeper.publication().payload, b"new");
}

#[test]
fn messages_with_qos_0_wait_for_those_who_are_away_if_they_are_to() {
    each_restart_with("[session]\nqueue_qos0 = true", |life| {
        let mut sleeper = persistent(life, "sleeper", false);
        sleeper.subscribe("z", 1);
        sleeper.leave_v3();
        let mut publisher = clean(life, "publisher");
        publisher.publishes_v3(0, "z", b"1");
        publisher.send(&publish(0, "z", None, b"0"));
        publisher.publishes_v3(0, "z", b"2");
        let mut sleeper = persistent(life, "sleeper", true);
        sleeper.expect(&publish(2, "z", Some(1), b"1"));
        sleeper.expect(&publish(0, "z", None, b"0"));
        assert!(sleeper.packet().ends_with(b"2"));
        // Over a restart those of QoS 1 and 2 are what counts; the others may be there, in their place.
        drop(sleeper);
        life.restart();
        let mut sleeper = persistent(life, "sleeper", true);
        assert!(sleeper.packet().ends_with(b"1"));
        let next = sleeper.packet();
        let last = if next.ends_with(b"0") { sleeper.packet() } else { next };
        assert!(last.ends_with(b"2"));
    });
}

#[test]
fn a_will_that_waits_is_published_once_after_the_restart_mqtt_3_1_2_8() {
    at_once(&RESTARTS, |&restart| {
        let mut life = Life::ending(restart, "");
        persistent(&life, "watcher", false).subscribe("will", 1);
        drop(mortal(&life, "fallen", 3));
        drop(mortal(&life, "returned", 1_000));
        mortal(&life, "polite", 1).leave();
        let mut asked = mortal(&life, "asked", 3);
        asked.send(&[0xe0, 1, 4]);
        asked.expect_closed();
        until("all are gone", || life.log().matches("connection ended").count() >= 3);
        life.end();
        life.resume();
        drop(life.kept_v5("returned", true));
        let mut watcher = persistent(&life, "watcher", true);
        let mut wills: Vec<Vec<u8>> = (0..2).map(|_| watcher.packet()).collect();
        wills.sort_by_key(|packet| packet[10..].to_vec());
        assert!(wills[0].ends_with(b"asked") && wills[1].ends_with(b"fallen"), "{wills:02x?}");
        for will in wills {
            watcher.send(&[0x40, 2, will[8], will[9]]);
        }
        watcher.subscribe("settled", 0);
        let mut publisher = clean(&life, "settler");
        (0..8).for_each(|n| publisher.publishes_v3(1, &format!("later/{n}"), b"x"));
        life.restart();
        let mut watcher = persistent(&life, "watcher", true);
        life.let_pass(1);
        clean(&life, "publisher").publishes_v3(0, "will", b"nothing before");
        assert!(watcher.packet().ends_with(b"nothing before"));
    });
}

#[test]
fn the_wills_of_those_who_were_connected_when_the_broker_was_killed_are_published() {
    for shards in [1, 2] {
        let mut life = Life::begin(shards, "");
        persistent(&life, "watcher", false).subscribe("will", 1);
        let _at_once = mortal(&life, "at once", 0);
        let _later = mortal(&life, "later", 1);
        let _back = mortal(&life, "back", 1_000);
        mortal(&life, "polite", 0).leave();
        life.restart();
        mortal(&life, "back", 1_000).leave();
        let mut watcher = persistent(&life, "watcher", true);
        let mut wills: Vec<Vec<u8>> = (0..2).map(|_| watcher.packet()[10..].to_vec()).collect();
        wills.sort();
        assert_eq!(wills, [&b"at once"[..], b"later"]);
        clean(&life, "publisher").publishes_v3(0, "will", b"nothing before");
        assert!(watcher.packet().ends_with(b"nothing before"));
    }
}

#[test]
fn a_retained_will_is_retained_after_the_restart() {
    let mut life = Life::begin(2, "");
    let connect = Connect {
        properties: &property::four(EXPIRES, 1_000),
        will: Some(("state/of/me", "offline", 1, true)),
        ..Connect::v5("me")
    };
    let (mut me, _) = life.greeted(&connect);
    me.publishes(1, "state/of/me", &[], b"online");
    life.restart();
    let mut reader = life.v5("reader");
    reader.subscribe_v5("state/of/me", 0);
    // It is published before or after the subscription.
    until("the will is there", || {
        let got = reader.publication();
        assert!(got.payload == b"offline" || got.payload == b"online", "{got:?}");
        got.payload == b"offline"
    });
    // It is on disk with everything that is retained later, on whatever shard.
    let mut publisher = clean(&life, "publisher");
    (0..8).for_each(|n| publisher.publishes_v3(1, &format!("later/{n}"), b"x"));
    life.restart();
    let mut reader = clean(&life, "reader");
    reader.subscribe("state/of/me", 0);
    reader.expect(&publish(1, "state/of/me", None, b"offline"));
}
