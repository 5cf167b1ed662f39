//! Names and passwords, checked against files while everything else goes on.

use crate::support::{Answer, Broker, Connect, PINGRESP, Raw, Scram, Transport, connack, publish, until};
use pantala::auth::password::{PasswordHash, set};
use pantala::sasl::Verifier;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Of "pencil", cheap to check.
pub(super) const PENCIL: &str = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ\
    $eYctCv5FBbAXgFzWSZw4HdhD0vrAcnd9jZtlNAajlDhcCNeNHd21UZ37lPwIyP3wELs8YArBYKxu1AWsMUMBNw";
/// What a client before 5.0 is told whose name or password is wrong.
const BAD_CREDENTIALS: u8 = 4;
/// And one that comes when too many others do.
const UNAVAILABLE: u8 = 3;

/// A folder of files that goes away with it.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).expect("a file");
        self.path(name)
    }
}

/// Settings that ask a file.
pub(super) fn asks(path: &std::path::Path) -> String {
    format!("[[auth]]\npassword_file = {:?}\n", path.to_str().expect("a path in plain letters"))
}

pub(super) fn login<'a>(id: &'a str, user: &'a str, password: &'a str) -> Connect<'a> {
    Connect { username: Some(user), password: Some(password.as_bytes()), ..Connect::new(id) }
}

/// A client that has logged in.
#[track_caller]
pub(super) fn logged_in(broker: &Broker, id: &str, user: &str) -> Raw {
    let mut raw = broker.raw();
    raw.send(&login(id, user, "pencil").bytes());
    raw.expect(&connack(false, 0));
    raw
}

/// A broker that knows ann, whose password costs what new ones cost, and takes no other one at a time.
fn slow(folder: &Folder, settings: &str) -> Broker {
    let hash = PasswordHash::derive(b"pencil", b"salt of sixteen.");
    let (text, _) = set("", "ann", &hash, None).expect("a name");
    let file = folder.write("users", &text);
    Broker::with(&format!("{}[logins]\nthreads = 1\n{settings}", asks(&file)))
}

/// So many clients that wait for being refused.
fn flood(broker: &Broker, count: usize) -> Vec<Raw> {
    let knock = |number| {
        let mut raw = broker.raw();
        raw.send(&login(&format!("flood-{number}"), "ann", "wrong").bytes());
        raw
    };
    (0..count).map(knock).collect()
}

/// Whether a client has been answered.
fn is_answered(raw: &mut Raw) -> bool {
    raw.0.set_nonblocking(true).expect("a live socket");
    let read = raw.0.read(&mut [0; 4]);
    raw.0.set_nonblocking(false).expect("a live socket");
    match read {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn the_right_password_lets_a_user_in_and_no_other_does_in_any_version() {
    let folder = Folder::new();
    let file = folder.write("users", &format!("ann:{PENCIL}\nbob:{PENCIL}\n"));
    let broker = Broker::with_listener(&format!("anonymous = false\n{}", asks(&file)));
    for (user, password, right) in [
        ("ann", "pencil", true),
        ("ann", "pencil", true),
        ("bob", "pencil", true),
        ("ann", "pencil ", false),
        ("ann", "", false),
        ("", "pencil", false),
        ("cara", "pencil", false),
    ] {
        for level in [3, 4] {
            let mut raw = broker.raw();
            raw.send(&Connect { level, ..login("c", user, password) }.bytes());
            raw.expect(&connack(false, if right { 0 } else { BAD_CREDENTIALS }));
            if !right {
                raw.expect_closed();
            }
        }
        let connect = Connect { level: 5, ..login("c", user, password) };
        if right {
            broker.greeted(&connect).0.lives();
        } else {
            broker.refuses(&connect.bytes(), 0x86);
        }
    }
    // No password, no name, and a password without a name, which 5.0 knows.
    broker.refuses(&Connect { password: None, level: 5, ..login("c", "ann", "") }.bytes(), 0x86);
    broker.refuses(&Connect { username: None, level: 5, ..login("c", "", "pencil") }.bytes(), 0x86);
    broker.refuses(&Connect::v5("c").bytes(), 0x87);
    let told = |reason: &str, user: &str| {
        let line =
            format!("login refused address=127.0.0.1 reason=\"{reason}\" user=\"{user}\" client_id=\"c\"");
        broker.log().contains(&line)
    };
    until("the log tells the operator what the client is not told", || {
        told("wrong password", "ann") && told("no such user", "cara")
    });
    assert!(broker.log().contains("login accepted address=127.0.0.1 user=\"ann\" client_id=\"c\""));
    assert!(!broker.log().contains("pencil"), "what a client sends as password is nowhere");
}

#[test]
fn a_password_is_checked_on_every_transport() {
    let folder = Folder::new();
    let file = folder.write("users", &format!("ann:{PENCIL}\n"));
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss] {
        let broker = Broker::through(transport, 2, &asks(&file));
        let mut ann = logged_in(&broker, "ann", "ann");
        ann.subscribe("t", 0);
        // What is sent with the CONNECT is heard after it, if its sender comes in.
        let mut eager = broker.raw();
        eager.send(&[login("eager", "ann", "pencil").bytes(), publish(2, "t", Some(7), b"x")].concat());
        eager.expect(&connack(false, 0));
        eager.expect(&[0x40, 2, 0, 7]);
        ann.expect(&publish(0, "t", None, b"x"));
        let mut wrong = broker.raw();
        wrong.send(&[login("bob", "ann", "wrong").bytes(), publish(2, "t", Some(7), b"never")].concat());
        wrong.expect(&connack(false, BAD_CREDENTIALS));
        wrong.expect_closed();
        eager.send(&publish(0, "t", None, b"y"));
        ann.expect(&publish(0, "t", None, b"y"));
    }
}

#[test]
fn files_of_mosquitto_passwd_let_mosquittos_clients_in() {
    let folder = Folder::new();
    let file = folder.write("users", "");
    let name = file.to_str().expect("a path in plain letters");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("it is there; run tests/run, which installs it")
    };
    assert!(run("mosquitto_passwd", &["-b", name, "ann", "pencil"]).success());
    assert!(run("mosquitto_passwd", &["-b", "-H", "sha512", name, "bob", "brush"]).success());
    let broker = Broker::with_listener(&format!("anonymous = false\n{}", asks(&file)));
    let port = broker.port().to_string();
    let publishes = |login: &[&str]| {
        let arguments = [&["-p", &port, "-q", "1", "-t", "t", "-m", "x"], login].concat();
        run("mosquitto_pub", &arguments).success()
    };
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        assert!(publishes(&["-V", version, "-u", "ann", "-P", "pencil"]), "{version}");
        assert!(publishes(&["-V", version, "-u", "bob", "-P", "brush"]), "{version}");
        assert!(!publishes(&["-V", version, "-u", "bob", "-P", "pencil"]), "{version}");
        assert!(!publishes(&["-V", version]), "{version}");
    }
}

#[test]
fn the_first_file_that_knows_a_user_decides() {
    let folder = Folder::new();
    let hash = PasswordHash::derive(b"brush", b"salt of sixteen.");
    let (second, _) = set(&format!("bob:{PENCIL}\n"), "ann", &hash, None).expect("a name");
    let first = folder.write("first", &format!("ann:{PENCIL}\n"));
    let second = folder.write("second", &second);
    let broker = Broker::with(&[asks(&first), asks(&second)].concat());
    logged_in(&broker, "c", "ann");
    logged_in(&broker, "c", "bob");
    let mut raw = broker.raw();
    raw.send(&login("c", "ann", "brush").bytes());
    raw.expect(&connack(false, BAD_CREDENTIALS));
}

#[test]
fn users_of_a_file_log_in_with_scram_as_well() {
    let folder = Folder::new();
    let verifier = Verifier::derive("pencil", b"salt of sixteen.", 4_096).expect("plain letters");
    let file = folder.write("users", &format!("ann:{PENCIL}:{verifier}\nbob:{PENCIL}\n"));
    let broker = Broker::with_listener(&format!("anonymous = false\n{}", asks(&file)));
    for (user, password, reason) in
        [("ann", "pencil", 0), ("ann", "brush", 0x87), ("bob", "pencil", 0x87), ("cara", "pencil", 0x87)]
    {
        assert_eq!(Scram::new(user, password).log_in(&mut broker.raw(), "c"), reason, "{user} {password}");
    }
    logged_in(&broker, "c", "ann");
}

#[test]
fn messages_go_on_and_known_clients_come_back_while_many_others_wait_for_their_passwords() {
    let folder = Folder::new();
    let broker = slow(&folder, "");
    drop(logged_in(&broker, "ann", "ann"));
    let mut many = flood(&broker, 400);
    broker.serves();
    drop(logged_in(&broker, "ann", "ann"));
    broker.serves();
    assert!(!is_answered(many.last_mut().expect("some")), "the others have to wait for longer than that");
    drop(many);
    // Those who have gone are not waited for: their passwords would take longer than a test does.
    let mut late = broker.raw();
    late.send(&login("late", "ann", "pencil!").bytes());
    late.expect(&connack(false, BAD_CREDENTIALS));
}

#[test]
fn more_logins_than_may_wait_are_refused_for_now() {
    let folder = Folder::new();
    let broker = slow(&folder, "waiting_max = 2\nremembered_s = 0\n");
    let many = flood(&broker, 60);
    let mut codes: Vec<u8> = many.into_iter().map(|mut raw| raw.packet()[3]).collect();
    codes.sort_unstable();
    assert!(codes.contains(&UNAVAILABLE) && codes.contains(&BAD_CREDENTIALS), "{codes:?}");
    codes.dedup();
    assert_eq!(codes, [UNAVAILABLE, BAD_CREDENTIALS]);
    until("there is room again", || {
        let mut raw = broker.raw();
        raw.send(&Connect { level: 5, ..login("ann", "ann", "pencil") }.bytes());
        let reason = Answer::of(&raw.packet()).reason;
        assert!([0, 0x89].contains(&reason), "{reason:#04x}");
        reason == 0
    });
}

#[test]
fn who_waits_for_longer_than_a_connect_may_take_is_told_that_it_was_not_its_fault() {
    let folder = Folder::new();
    let broker = slow(&folder, "[limits]\nconnect_timeout_ms = 300\n");
    let mut many = flood(&broker, 200);
    let mut last = many.pop().expect("some");
    last.expect(&connack(false, UNAVAILABLE));
    last.expect_closed();
    until("the log says what to change", || broker.log().contains("too many others log in"));
}

#[test]
fn clients_that_leave_while_they_wait_leave_nothing_behind() {
    let folder = Folder::new();
    let broker = slow(&folder, "");
    for _ in 0..5 {
        drop(flood(&broker, 20));
    }
    // A goodbye that comes while the password is checked is heard once it was.
    let mut brief = broker.raw();
    let sent = [login("brief", "ann", "pencil").bytes(), vec![0xc0, 0], vec![0xe0, 0]];
    brief.send(&sent.concat());
    brief.expect(&connack(false, 0));
    brief.expect(&PINGRESP);
    brief.expect_closed();
    broker.serves();
}

#[test]
fn a_file_that_cannot_be_used_keeps_the_broker_from_starting_and_is_named_with_its_lines() {
    let folder = Folder::new();
    let file = folder.write("users", "ann:secret\n\nbob\n");
    let output = Command::new(env!("CARGO_BIN_EXE_pantala"))
        .args(["--no-store", "--shards", "1", "--listen", "tcp://127.0.0.1:0", "--config"])
        .arg(folder.write("pantala.toml", &format!("{}{}", asks(&file), asks(&folder.path("none")))))
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{:?}", output.status);
    for said in ["users: line 1: user \"ann\"", "users: line 3: expected NAME:HASH", "none: No such file"] {
        assert!(errors.contains(said), "{said:?} is missing: {errors}");
    }
}
