//! Brokers next to each other, started and ended by the load generator.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// The broker of the same build.
fn pantala() -> String {
    let beside = Path::new(env!("CARGO_BIN_EXE_pantala-load")).with_file_name("pantala");
    assert!(beside.is_file(), "cargo build --workspace makes {}", beside.display());
    beside.display().to_string()
}

/// The program, on the one processor that every machine has, with a folder for temporary files of its own.
fn program(command: &str, arguments: &[&str], temporary: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_pantala-load"));
    program.arg(command).args(arguments).args(["--core", "0", "--load-core", "0"]).env("TMPDIR", temporary);
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

fn compare(arguments: &[&str]) -> (Output, tempfile::TempDir) {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    (program("compare", arguments, temporary.path()).output().expect("it runs"), temporary)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is left of what it made.
fn left(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn two_builds_run_in_turn_and_nothing_is_left_of_them() {
    let (pantala, records) = (pantala(), tempfile::tempdir().expect("a temporary folder"));
    let json = records.path().display().to_string();
    let run = "pairs --messages 2000 --warmup 0 --quiet 30";
    let (output, temporary) = compare(&[&pantala, &pantala, "--rounds", "2", "--run", run, "--json", &json]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let lines = table.lines().filter(|line| line.starts_with(&format!("| {pantala} |")));
    assert_eq!(lines.filter(|line| line.ends_with("| 0 |")).count(), 2, "{table}");
    assert_eq!(left(temporary.path()), Vec::<PathBuf>::new());
    let [file] = &left(records.path())[..] else { panic!("one scenario, one file") };
    let records = fs::read_to_string(file).expect("a file");
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 4);
    for record in records {
        assert_eq!(
            (&record["schema"], &record["scenario"], &record["delivered"]),
            (&1.into(), &"pairs".into(), &2_000.into())
        );
        assert!(record["broker_cpu_us_per_delivery"].as_f64().is_some_and(|cpu| cpu > 0.0), "{record}");
    }
}

#[test]
fn the_canonical_workload_says_of_a_row_what_is_asked_and_reached() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let arguments = ["--only", "20,000", "--rounds", "1", "--seconds", "0.5", "--pantala", &pantala()];
    let mut program = program("canonical", &arguments, temporary.path());
    // Whoever else is installed takes part.
    let output = program.env("PATH", "/nowhere").output().expect("it runs");
    let table = text(&output.stdout);
    let row = table.lines().find(|line| line.contains("10 pairs, 20,000 msg/s")).unwrap_or_else(|| {
        panic!("{table}{}", text(&output.stderr));
    });
    assert!(row.contains("| 0.7 of mosquitto's, 1.2 of the floor's |"), "{row}");
    assert!(text(&output.stderr).contains("cargo install rumqttd"), "who is missing is told");
}

#[test]
fn a_broker_that_does_not_start_is_told_with_what_it_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = folder.path().join("own.toml");
    fs::write(&own, "program = [\"/bin/sh\"]\narguments = [\"-c\", \"echo no luck at {port}; exit 3\"]")
        .expect("a file");
    let (output, temporary) = compare(&[own.to_str().expect("text"), &pantala(), "--run", "pairs"]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("own does not listen") && error.contains("no luck at "), "{error}");
    assert_eq!(left(temporary.path()), Vec::<PathBuf>::new());
}

#[test]
fn what_cannot_be_compared_is_told_before_anything_starts() {
    for (broker, why) in [("/no/such/build", "no such program"), ("nobody", "there is no broker")] {
        let (output, _) = compare(&[&pantala(), broker]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
    let (output, _) = compare(&[&pantala(), &pantala(), "--run", "pairs --no-such-option"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--no-such-option"), "{}", text(&output.stderr));
}

#[test]
fn an_interrupted_comparison_leaves_no_broker_and_no_files() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let pantala = pantala();
    let arguments = [&*pantala, &*pantala, "--run", "pairs --warmup 0", "--seconds", "600"];
    let mut process = program("compare", &arguments, temporary.path()).spawn().expect("it runs");
    let children = format!("/proc/{0}/task/{0}/children", process.id());
    let deadline = Instant::now() + PATIENCE;
    let broker = loop {
        let all = fs::read_to_string(&children).expect("the kernel lists them");
        if let Some(broker) = all.split_whitespace().next() {
            break broker.to_owned();
        }
        assert!(Instant::now() < deadline, "no broker is started");
        std::thread::yield_now();
    };
    // The table's first line says that signals are waited for by the time that a broker runs.
    let mut first = String::new();
    BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
    let killed = Command::new("kill").arg(process.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
    assert_eq!(process.wait().expect("our child").code(), Some(128 + 15));
    let ended = |pid: &str| {
        // One that nobody has waited for yet is no process any more either.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    while !ended(&broker) {
        assert!(Instant::now() < deadline, "the broker goes on");
        std::thread::yield_now();
    }
    assert_eq!(left(temporary.path()), Vec::<PathBuf>::new());
}
