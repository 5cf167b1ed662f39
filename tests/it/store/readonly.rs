//! A disk that can only be read: from one moment on, or from the start. It takes a file system of its own, which only root
//! may mount. Others are told that these are skipped.

use super::full::numbered;
use super::{SMALL, persistent};
use crate::support::{Broker, publish_v5};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// An ext4 of 64 MB in a file. It ends with the test.
struct FileSystem {
    folder: TempDir,
}

impl FileSystem {
    fn make() -> Option<Self> {
        let disk = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        std::fs::create_dir(disk.path()).expect("a folder");
        let image = std::fs::File::create(disk.image()).expect("a file");
        image.set_len(64 << 20).expect("room");
        let made = run("mkfs.ext4", &["-q", "-F"], &[disk.image()]) && disk.mount();
        if !made {
            eprintln!(
                "SKIPPED: a read-only disk needs an ext4 in a file, which cannot be made or mounted here"
            );
        }
        made.then_some(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn mount(&self) -> bool {
        run("mount", &["-o", "loop,errors=remount-ro"], &[self.image(), self.path()])
    }

    fn unmount(&self) -> bool {
        run("umount", &[], &[self.path()])
    }

    fn remount_read_only(&self) -> bool {
        run("mount", &["-o", "remount,ro"], &[self.path()])
    }

    /// What an error of the disk in its own tables does to it: it is read-only at once, whoever writes. False where the
    /// system has no way to make one.
    fn break_down(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("Linux");
        let path = self.path().display().to_string();
        let line =
            mounts.lines().find(|line| line.split(' ').nth(1) == Some(path.as_str())).expect("mounted");
        let device = Path::new(line.split(' ').next().expect("a device")).file_name().expect("a name");
        let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        std::fs::write(trigger, "1").is_ok()
    }

    fn store(&self) -> PathBuf {
        self.path().join("store")
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        run("umount", &["--lazy"], &[self.path()]);
    }
}

fn run(program: &str, options: &[&str], paths: &[PathBuf]) -> bool {
    Command::new(program).args(options).args(paths).output().is_ok_and(|done| done.status.success())
}

fn settings() -> String {
    format!("{SMALL}\nreserve_bytes = 8_388_608\ncheckpoint_bytes = 1_048_576")
}

/// Publishes until something is not taken. How many were, and whether the broker is still there.
fn publish_until_refused(broker: &Broker, mut next: u32) -> (u32, bool) {
    let mut publisher = broker.v5("publisher");
    loop {
        publisher.send(&publish_v5(2, "kept", Some(1), &[], &numbered(next)));
        if !matches!(publisher.0.peek(&mut [0]), Ok(1)) {
            return (next, false);
        }
        let answer = publisher.packet();
        match (answer[0], answer.get(4)) {
            (0x40, None | Some(0)) => next += 1,
            (0x40, Some(0x97)) => return (next, true),
            (0xe0, _) if answer[2] == 0x97 => return (next, true),
            _ => panic!("{answer:02x?}"),
        }
    }
}

#[test]
fn a_disk_that_becomes_read_only_refuses_or_ends_the_broker_and_nothing_acknowledged_is_missing() {
    for (shards, before) in [(1, 10), (2, 200)] {
        let Some(disk) = FileSystem::make() else { return };
        let mut broker = Broker::over(&disk.store(), shards, &settings());
        let mut sleeper = persistent(&broker, "sleeper", false);
        sleeper.subscribe("kept", 1);
        sleeper.leave_v3();
        let mut publisher = broker.v5("publisher");
        for n in 0..before {
            publisher.publishes(2, "kept", &[], &numbered(n));
        }
        if !disk.break_down() {
            eprintln!("SKIPPED: this system has no way to make an ext4 fail");
            return;
        }
        let (next, serves) = publish_until_refused(&broker, before);
        if serves {
            broker.serves();
            assert!(broker.log().contains("nothing more is kept"), "{}", broker.log());
            broker.kill();
        } else {
            // A checkpoint was under way.
            assert_eq!(broker.wait().code(), Some(74), "{}", broker.log());
            let log = broker.log();
            assert!(
                log.contains("the store has failed and the broker ends; what was acknowledged is kept"),
                "{log}"
            );
        }
        assert!(disk.unmount() && disk.mount(), "it can be written again");
        let broker = Broker::over(&disk.store(), shards, &settings());
        let mut sleeper = persistent(&broker, "sleeper", true);
        for n in 0..next {
            let packet = sleeper.packet();
            assert_eq!(packet[12..16], n.to_be_bytes(), "of {next}");
            sleeper.send(&[0x40, 2, packet[10], packet[11]]);
        }
    }
}

#[test]
fn a_store_on_a_disk_that_is_read_only_from_the_start_is_refused_by_its_name() {
    let Some(disk) = FileSystem::make() else { return };
    Broker::over(&disk.store(), 1, &settings()).stop();
    assert!(disk.remount_read_only());
    let Err(refused) = Broker::try_over(&disk.store(), 1, &settings()) else { panic!("it is read-only") };
    let folder = disk.store().display().to_string();
    assert!(!refused.status.success());
    assert!(
        refused.log.contains(&folder) && refused.log.contains("Read-only file system"),
        "{}",
        refused.log
    );
}
