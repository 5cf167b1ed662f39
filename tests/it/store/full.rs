//! A disk without room: a small file system of its own, which only root may mount. Others are told that these are skipped.

use super::{SMALL, clean, persistent};
use crate::support::{Broker, Connect, Raw, property, publish, publish_v5, subscribe_v5, until};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A file system in memory of 32 MB. It ends with the test.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=32m", "pantala-test"])
            .arg(folder.path())
            .output()
            .is_ok_and(|done| done.status.success());
        if !mounted {
            eprintln!("SKIPPED: a full disk needs a file system of its own, which this user may not mount");
            return None;
        }
        Some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn free(&self) -> usize {
        let about = rustix::fs::statvfs(self.path()).expect("it is mounted");
        usize::try_from(about.f_bavail * about.f_frsize).expect("a few megabytes")
    }

    fn run(&self, shards: u16) -> Broker {
        let settings = format!(
            "{SMALL}\nreserve_bytes = 8_388_608\ncheckpoint_bytes = 1_048_576\n[session]\nqueue_messages_max = 1_000_000\nqueue_bytes_max = 1_000_000_000\n[sys]\ninterval_s = 1"
        );
        Broker::over(&self.path().join("store"), shards, &settings)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// The reason of a PUBACK of 5.0 for a message of this size, or of the DISCONNECT of a client whose message was taken and
/// could not be kept.
fn publish_sized(publisher: &mut Raw, topic: &str, flags: u8, payload: &[u8]) -> u8 {
    publisher.send(&publish_v5(2 | flags, topic, Some(1), &[], payload));
    let puback = publisher.packet();
    if puback[0] == 0xe0 {
        assert_eq!(puback[2], 0x97, "{puback:02x?}");
        return 0x97;
    }
    assert_eq!((puback[0], &puback[2..4]), (0x40, &[0, 1][..]), "{puback:02x?}");
    puback.get(4).copied().unwrap_or(0)
}

/// A payload that cannot be compressed and begins with its number.
pub(super) fn numbered(n: u32) -> Vec<u8> {
    let mut state = u64::from(n) + 0x9e37_79b9_7f4a_7c15;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    n.to_be_bytes().into_iter().chain(noise.take(2_500).flatten()).collect()
}

/// What a broker without room still does, and what it refuses.
fn refuses_what_it_would_have_to_keep(broker: &Broker, publisher: &mut Raw) {
    assert_eq!(publish_sized(publisher, "retained", 1, b"x"), 0x97);
    publisher.send(&publish_v5(4, "kept", Some(2), &[], b"x"));
    let pubrec = publisher.packet();
    assert_eq!((pubrec[0], &pubrec[2..5]), (0x50, &[0, 2, 0x97][..]), "{pubrec:02x?}");
    let mut old = clean(broker, "old");
    old.send(&publish(2, "kept", Some(1), b"x"));
    old.expect_closed();
    let mut known = broker.kept_v5("known", true);
    known.send(&subscribe_v5(3, &[], &[("new", 1)]));
    let suback = known.packet();
    assert_eq!((suback[0], &suback[2..4], suback.last()), (0x90, &[0, 3][..], Some(&0x97)), "{suback:02x?}");
    let properties = &property::four(property::SESSION_EXPIRY, 1_000);
    broker.refuses(&Connect { properties, ..Connect::v5("stranger") }.bytes(), 0x97);
    broker.serves();
    assert!(broker.log().contains("messages for stored sessions are refused"), "{}", broker.log());
}

/// Numbers of all that waits for the sleeper.
fn drained(broker: &Broker) -> Vec<u32> {
    clean(broker, "marker").publishes_v3(0, "kept", &u32::MAX.to_be_bytes());
    let mut sleeper = persistent(broker, "sleeper", true);
    let mut got = Vec::new();
    loop {
        let packet = sleeper.packet();
        let digits = packet.iter().skip(1).position(|byte| byte & 0x80 == 0).expect("a length") + 1;
        let body = &packet[1 + digits..];
        sleeper.send(&[0x40, 2, body[6], body[7]]);
        match u32::from_be_bytes(body[8..12].try_into().expect("a number")) {
            u32::MAX => return got,
            n => got.push(n),
        }
    }
}

fn sleepers(broker: &Broker) {
    let mut sleeper = persistent(broker, "sleeper", false);
    sleeper.subscribe("kept", 1);
    sleeper.leave_v3();
    broker.kept_v5("known", false).leave();
}

#[test]
fn a_disk_that_something_else_fills_refuses_until_there_is_room_again() {
    for (shards, after) in [(1, 2), (2, 1)] {
        let Some(disk) = SmallDisk::mount() else { return };
        let broker = disk.run(shards);
        sleepers(&broker);
        let mut publisher = broker.v5("publisher");
        assert_eq!(publish_sized(&mut publisher, "kept", 0, &numbered(0)), 0);
        let ballast = disk.path().join("ballast");
        // Less is free than is to be, and more than nothing.
        std::fs::write(&ballast, vec![1; disk.free() - (7 << 20)]).expect("there is room");
        until("it is noticed", || broker.log().contains("nearly full"));
        let mut next = 1;
        until("it refuses", || {
            let taken = publish_sized(&mut publisher, "kept", 0, &numbered(next)) == 0;
            next += u32::from(taken);
            !taken
        });
        refuses_what_it_would_have_to_keep(&broker, &mut publisher);
        std::fs::remove_file(&ballast).expect("it is there");
        until("it takes messages again", || publish_sized(&mut publisher, "kept", 0, &numbered(next)) == 0);
        next += 1;
        assert_eq!(
            publish_sized(&mut publisher, "retained", 1, b"x"),
            0x10,
            "retained, and nobody subscribed"
        );
        assert!(broker.log().contains("the store takes messages again"));
        broker.kill();
        let broker = disk.run(after);
        assert_eq!(drained(&broker), (0..next).collect::<Vec<_>>());
    }
}

#[test]
fn a_store_that_refuses_says_so_in_sys_and_in_the_log() {
    let Some(disk) = SmallDisk::mount() else { return };
    let broker = disk.run(2);
    sleepers(&broker);
    let mut publisher = broker.v5("publisher");
    let (mut watcher, mut counter) = (clean(&broker, "watcher"), clean(&broker, "counter"));
    watcher.subscribe("$SYS/broker/store/state", 0);
    let mut state = |expected: &str| {
        let told = watcher.packet();
        assert!(told.ends_with(format!("state{expected}").as_bytes()), "{told:02x?}");
    };
    state("ready");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; disk.free() - (7 << 20)]).expect("there is room");
    state("refusing");
    assert_eq!(publish_sized(&mut publisher, "kept", 0, b"x"), 0x97);
    counter.subscribe("$SYS/broker/dropped/store_refused", 0);
    until("the refusal is counted", || counter.packet().ends_with(b"refused1"));
    let log = broker.log();
    let told = log.lines().find(|line| line.contains("the disk is nearly full")).expect("a line");
    for what in ["ERROR", "free=7", "reserve=8388608", "path="] {
        assert!(told.contains(what), "{what} in {told}");
    }
    std::fs::remove_file(&ballast).expect("it is there");
    state("ready");
    assert_eq!(publish_sized(&mut publisher, "kept", 0, b"x"), 0);
    assert!(broker.log().contains("the store takes messages again"));
}

/// Whether something was taken, by what came for it; nothing when that is the broker's goodbye.
fn is_answered(packet: &[u8], answer: u8) -> Option<bool> {
    if packet[0] == 0xe0 {
        assert_eq!(packet[2], 0x97, "{packet:02x?}");
        return None;
    }
    assert_eq!(packet[0], answer, "{packet:02x?}");
    let reason = packet.get(4).copied().filter(|reason| *reason >= 0x80);
    assert!(reason.is_none_or(|reason| reason == 0x97), "{packet:02x?}");
    Some(reason.is_none())
}

fn is_taken(raw: &mut Raw, request: &[u8], answer: u8) -> Option<bool> {
    raw.send(request);
    is_answered(&raw.packet(), answer)
}

#[test]
fn a_disk_that_is_full_at_once_leaves_nobody_without_an_answer() {
    for shards in [1, 2] {
        let Some(disk) = SmallDisk::mount() else { return };
        let broker = disk.run(shards);
        sleepers(&broker);
        let (mut once, mut twice) = (broker.v5("once"), broker.v5("twice"));
        let mut half = broker.kept_v5("half", false);
        assert_eq!(is_taken(&mut half, &publish_v5(4, "kept", Some(9), &[], b"half"), 0x50), Some(true));
        let ballast = disk.path().join("ballast");
        // Nothing is left, all at once: not even what the next segment would need.
        std::fs::write(&ballast, vec![1; disk.free()]).expect("there is room");
        // More than the journal has room for, in one go: what is in it when there is none is not refused one by one.
        let burst: Vec<u8> =
            (1..=200).flat_map(|id| publish_v5(2, "kept", Some(id), &[], &numbered(id.into()))).collect();
        once.send(&burst);
        let answered = (1..=200).take_while(|_| is_answered(&once.packet(), 0x40).is_some()).count();
        until("it is refused", || {
            is_taken(&mut twice, &publish_v5(4, "kept", Some(2), &[], &numbered(2)), 0x50) != Some(true)
                || is_taken(&mut twice, &[0x62, 2, 0, 2], 0x70) != Some(true)
        });
        let released = is_taken(&mut half, &[0x62, 2, 0, 9], 0x70);
        broker.serves();
        std::fs::remove_file(&ballast).expect("it is there");
        let mut publisher = broker.v5("publisher");
        until("it takes messages again", || publish_sized(&mut publisher, "kept", 0, &numbered(3)) == 0);
        if released != Some(true) {
            let mut half = broker.kept_v5("half", true);
            half.send(&[0x62, 2, 0, 9]);
            // It may have been heard the first time.
            let pubcomp = half.packet();
            let reason = pubcomp.get(4).copied().unwrap_or(0);
            assert!(pubcomp[0] == 0x70 && [0, 0x92].contains(&reason), "{pubcomp:02x?}");
        }
        eprintln!("{answered} of 200 were answered one by one");
    }
}

#[test]
fn a_disk_that_the_store_fills_refuses_and_all_that_was_acknowledged_is_there() {
    fill_and_drain(|_, _, _| {});
}

#[test]
fn a_store_that_filled_its_disk_takes_messages_again_once_they_were_taken() {
    fill_and_drain(|broker, sleeper, next| {
        let mut publisher = broker.v5("publisher");
        until("it takes messages again", || publish_sized(&mut publisher, "kept", 0, &numbered(next)) == 0);
        assert_eq!(sleeper.packet()[12..16], next.to_be_bytes());
    });
}

fn fill_and_drain(then: impl Fn(&Broker, &mut Raw, u32)) {
    for (shards, after) in [(1, 2), (2, 1)] {
        let Some(disk) = SmallDisk::mount() else { return };
        let broker = disk.run(shards);
        sleepers(&broker);
        let mut publisher = broker.v5("publisher");
        let mut next = 0;
        until("it refuses", || {
            let taken = publish_sized(&mut publisher, "kept", 0, &numbered(next)) == 0;
            next += u32::from(taken);
            !taken
        });
        assert!(next > 100, "{next}");
        // It may have been disconnected instead.
        let mut publisher = broker.v5("publisher");
        refuses_what_it_would_have_to_keep(&broker, &mut publisher);
        broker.kill();
        let broker = disk.run(after);
        let mut sleeper = persistent(&broker, "sleeper", true);
        for n in 0..next {
            let packet = sleeper.packet();
            assert_eq!(packet[12..16], n.to_be_bytes(), "of {next}");
            sleeper.send(&[0x40, 2, packet[10], packet[11]]);
        }
        then(&broker, &mut sleeper, next);
    }
}
