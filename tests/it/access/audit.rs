//! What is told of logins, to people and to programs that shut addresses out.

use super::passwords::{Folder, PENCIL, asks, logged_in, login};
use crate::support::{Broker, Connect, Scram, connack, until};
use std::io::Write;
use std::process::{Command, Stdio};

const README: &str = include_str!("../../../README.md");

/// What fail2ban's filter in the README finds in a log: an address for each line that it matches. fail2ban has the rules of
/// Python, puts the pattern of an address in the place of `<HOST>` and takes the time off each line first.
fn banned(log: &str) -> Vec<String> {
    let filter = README.lines().find_map(|line| line.strip_prefix("failregex = ")).expect("a filter");
    let script = r"
import re, sys
rule = re.compile(sys.argv[1].replace('<HOST>', r'(?:::f{4,6}:)?(?P<host>[\w\-.^_:]*\w)'))
for line in sys.stdin:
    line = re.sub(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z', '', line, count=1)
    found = rule.search(line)
    if found: print(found.group('host'))
";
    let mut python = Command::new("python3")
        .args(["-c", script, filter])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3; run tests/run, which installs it");
    python.stdin.take().expect("is piped").write_all(log.as_bytes()).expect("it reads");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn the_filter_of_the_readme_finds_who_failed_to_log_in_and_nobody_else() {
    let folder = Folder::new();
    let users = folder.write("users", &format!("ann:{PENCIL}\n"));
    let broker = Broker::with(&(asks(&users) + &crate::support::user("bob", "pencil")));
    let refused = |connect: &Connect<'_>| {
        let mut raw = broker.raw();
        raw.send(&connect.bytes());
        raw.expect(&connack(false, 4));
    };
    refused(&login("c", "ann", "wrong"));
    refused(&login("c", "nobody", "wrong"));
    // Who would have another address shut out.
    let forged = "x\" address=192.0.2.1 reason=\"wrong password\"";
    refused(&login(forged, forged, "wrong"));
    refused(&login("a\n WARN login refused address=192.0.2.1 reason=\"wrong password\"", "y", "wrong"));
    assert_eq!(Scram::new("bob", "brush").log_in(&mut broker.raw(), forged), 0x87);
    drop(logged_in(&broker, "c", "ann"));
    let mut closed = broker.raw();
    closed.send(&[0x20, 0]);
    closed.expect_closed();
    let everybody = vec!["127.0.0.1".to_owned(); 5];
    until("every one of them is in the log", || broker.log().matches("login refused").count() >= 5);
    assert_eq!(banned(&broker.log()), everybody, "{}", broker.log());
    assert!(broker.log().contains("login accepted address=127.0.0.1 user=\"ann\""));
}

#[test]
fn a_flood_of_logins_is_no_flood_of_lines_and_is_counted_in_full() {
    let folder = Folder::new();
    let users = folder.write("users", &format!("ann:{PENCIL}\n"));
    let broker = Broker::sharded(1, &(asks(&users) + "[sys]\ninterval_s = 1\n"));
    for n in 0..300 {
        let mut raw = broker.raw();
        raw.send(&login("c", if n % 3 == 0 { "ann" } else { "nobody" }, "wrong").bytes());
        raw.expect(&connack(false, 4));
    }
    until("what is left out is told", || broker.log().contains("logins left out of the log"));
    let lines = broker.log().matches("login refused").count();
    assert!(lines < 300, "{lines}");
    let mut watcher = broker.raw();
    watcher.connect("watcher");
    watcher.subscribe("$SYS/broker/refused/#", 0);
    let (mut wrong, mut unknown) = (false, false);
    while !(wrong && unknown) {
        let text = String::from_utf8_lossy(&watcher.packet()[2..]).into_owned();
        wrong |= text.contains("refused/password100");
        unknown |= text.contains("refused/user200");
    }
}
