//! A broker that does not stay root.

use crate::support::{Broker, Connect, Raw, connack, publish, until};
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A folder that everybody may look into, as that of a service's state.
fn public_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("our own");
    folder
}

/// What the kernel says of each thread's users, groups and further groups.
fn identities(broker: &Broker) -> Vec<(String, String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", broker.pid().as_raw_nonzero())).expect("it runs");
    let status = |task: &Path| fs::read_to_string(task.join("status")).expect("a thread");
    let line = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    tasks
        .map(|task| status(&task.expect("an entry").path()))
        .map(|status| (line(&status, "Uid:"), line(&status, "Gid:"), line(&status, "Groups:")))
        .collect()
}

#[test]
fn once_it_listens_all_its_threads_are_the_user_and_so_is_its_store() {
    if !geteuid().is_root() {
        return eprintln!("SKIPPED: only root becomes somebody else");
    }
    let folder = public_folder();
    let store = folder.path().join("store");
    let settings = "[process]\nuser = \"daemon\"\ngroup = \"4711\"\n";
    let broker = Broker::over(&store, 2, settings);
    let all = identities(&broker);
    assert!(all.len() > 5, "shards, the store's threads and others: {all:?}");
    for one in all {
        // Debian's user daemon is number 1: real, effective, saved, and for files.
        assert_eq!((&*one.0, &*one.1), ("1 1 1 1", "4711 4711 4711 4711"));
        assert!(!one.2.split(' ').any(|group| group == "0"), "{one:?}");
    }
    let made = fs::metadata(&store).expect("made");
    assert_eq!((made.uid(), made.mode() & 0o777), (1, 0o700));
    let mut sleeper = broker.raw();
    sleeper.send(&Connect { clean: false, ..Connect::new("sleeper") }.bytes());
    sleeper.expect(&connack(false, 0));
    sleeper.subscribe("a", 1);
    let mut publisher = broker.raw();
    publisher.connect("publisher");
    publisher.send(&publish(2, "a", Some(1), b"kept"));
    publisher.expect(&[0x40, 2, 0, 1]);
    for file in fs::read_dir(&store).expect("made") {
        assert_eq!(file.expect("an entry").metadata().expect("there").uid(), 1);
    }
    broker.stop();
}

#[test]
fn a_user_that_cannot_be_had_ends_the_start() {
    let folder = public_folder();
    let refused =
        |settings: &str| Broker::try_over(&folder.path().join("store"), 1, settings).err().expect("refused");
    let unknown = refused("[process]\nuser = \"no-such-user\"\n");
    assert!(unknown.log.contains("there is no user no-such-user"), "{}", unknown.log);
    let alone = refused("[process]\ngroup = \"daemon\"\n");
    assert!(alone.log.contains("user"), "{}", alone.log);
    if !geteuid().is_root() {
        let other = refused("[process]\nuser = \"root\"\n");
        assert!(other.log.contains("only root can become root"), "{}", other.log);
    }
}

#[test]
fn files_that_only_root_could_read_are_named_when_they_are_to_be_read_again() {
    if !geteuid().is_root() {
        return eprintln!("SKIPPED: only root becomes somebody else");
    }
    let folder = public_folder();
    let users = folder.path().join("users");
    fs::write(&users, "").expect("a file");
    let settings = format!("[process]\nuser = \"daemon\"\n[[auth]]\npassword_file = {users:?}\n");
    let broker = Broker::over(&folder.path().join("store"), 1, &settings);
    fs::set_permissions(&users, Permissions::from_mode(0o600)).expect("our own");
    rustix::process::kill_process(broker.pid(), rustix::process::Signal::HUP).expect("it runs");
    until("it says what stays", || broker.log().contains("stay as they were"));
    Raw::open(broker.address).connect("others are served");
}
