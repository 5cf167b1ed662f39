//! Processes of their own that have a store: to be killed, or to end as a damaged store makes them.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use super::*;

/// Runs one of the tests below, that are ignored elsewhere, as a process of its own.
fn child(role: &str, folder: &Path) -> Child {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", &format!("store::sled::tests::children::{role}"), "--ignored", "--nocapture"]);
    command.env("STORE_FOLDER", folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("a child")
}

fn folder() -> PathBuf {
    env::var_os("STORE_FOLDER").expect("a folder").into()
}

#[test]
#[ignore = "a child process of other tests"]
fn child_that_changes() {
    let mut store = open(&folder());
    for number in store.position() + 1.. {
        step(&mut store, number);
        if number % 3 == 0 {
            store.give_back().expect("given back");
        }
        println!("\nsettled {number}");
    }
}

#[test]
#[ignore = "a child process of other tests"]
fn child_that_reads() {
    let options = SledOptions { stall_limit: Duration::from_secs(2), ..options() };
    let said = match SledSettled::open(&folder(), options) {
        Err(refused) => format!("refused to open: {refused}"),
        Ok(store) => match content(&store) {
            Err(refused) => format!("refused to read: {refused}"),
            Ok(content) if content != model_after(store.position()) => {
                format!("wrong at {}", store.position())
            }
            Ok(_) => format!("whole at {}", store.position()),
        },
    };
    println!("\nsaid {said}");
}

/// What a process that reads a store says of it; none when it hangs.
pub(super) fn reading(folder: &Path, limit: Duration) -> Option<String> {
    let mut reader = child("child_that_reads", folder);
    let output = reader.stdout.take().expect("piped");
    let (done, ended) = mpsc::channel();
    // It ends with the process's output.
    let listener = thread::spawn(move || {
        let text = io::read_to_string(output).unwrap_or_default();
        let _ = done.send(text);
    });
    let text = ended.recv_timeout(limit);
    let _ = reader.kill();
    reader.wait().expect("ended");
    listener.join().expect("ended");
    let text = text.ok()?;
    let said = text.lines().find_map(|line| line.strip_prefix("said "));
    Some(said.map_or_else(|| format!("ended without a word: {text}"), str::to_owned))
}

#[test]
fn what_was_settled_outlives_a_killed_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = 0;
    for kill in 0..12 {
        let mut writer = child("child_that_changes", folder.path());
        let lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        let settled = lines.filter_map(|line| line.ok()?.strip_prefix("settled ")?.parse::<u64>().ok());
        let mut settled = settled.skip(kill * 3 % 11);
        acknowledged = settled.next().expect("progress").max(acknowledged);
        writer.kill().and_then(|()| writer.wait()).expect("killed");
        acknowledged = settled.last().unwrap_or(acknowledged);
        let store = open(folder.path());
        assert!(store.position() >= acknowledged, "{} of {acknowledged}", store.position());
        assert_eq!(content(&store).expect("readable"), model_after(store.position()));
    }
}
