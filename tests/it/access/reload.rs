//! Users and rules that change while clients are connected.

use super::passwords::{Folder, PENCIL, asks, logged_in, login};
use crate::support::{Broker, Connect, Raw, Scram, connack, publish, publish_v5, suback, subscribe, until};
use pantala::auth::password::{PasswordHash, set};
use pantala::sasl::Verifier;
use rustix::process::{Signal, kill_process};
use std::process::Command;

const READ: &str = "users and rules were read again";

/// Has the broker read its files again.
#[track_caller]
fn reload(broker: &Broker, said: &str) {
    let before = broker.log().matches(said).count();
    kill_process(broker.pid(), Signal::HUP).expect("it runs");
    until(said, || broker.log().matches(said).count() > before);
}

fn v5(broker: &Broker, id: &str, user: &str) -> Raw {
    broker.greeted(&Connect { level: 5, ..login(id, user, "pencil") }).0
}

/// The broker does not let somebody in.
#[track_caller]
fn refuses(broker: &Broker, user: &str, password: &str) {
    let mut raw = broker.raw();
    raw.send(&login("refused", user, password).bytes());
    raw.expect(&connack(false, 4));
}

#[test]
fn users_come_and_go_and_those_who_are_gone_or_have_a_new_password_are_disconnected() {
    let folder = Folder::new();
    let verifier = Verifier::derive("pencil", b"salt of sixteen.", 4_096).expect("plain letters");
    let all: String = ["ann", "bob", "cara"].map(|user| format!("{user}:{PENCIL}\n")).concat();
    let file = folder.write("users", &format!("{all}dan:{PENCIL}:{verifier}\n"));
    let broker = Broker::with(&asks(&file));
    let (mut ann, mut bob, mut cara) =
        (v5(&broker, "ann", "ann"), v5(&broker, "bob", "bob"), v5(&broker, "cara", "cara"));
    let mut old = logged_in(&broker, "old", "bob");
    let mut dan = broker.raw();
    assert_eq!(Scram::new("dan", "pencil").log_in(&mut dan, "dan"), 0);
    let mut nobody = broker.v5("nobody");
    refuses(&broker, "eve", "pencil");

    let brush = PasswordHash::derive(b"brush", b"salt of sixteen.");
    let (text, _) = set(&format!("ann:{PENCIL}\neve:{PENCIL}\n"), "cara", &brush, None).expect("a name");
    folder.write("users", &text);
    reload(&broker, READ);
    for gone in [&mut bob, &mut cara, &mut dan] {
        gone.expect_goodbye(0x98);
    }
    old.expect_closed();
    ann.lives();
    nobody.lives();
    drop(logged_in(&broker, "eve", "eve"));
    refuses(&broker, "bob", "pencil");
    refuses(&broker, "cara", "pencil");
    assert_eq!(Scram::new("dan", "pencil").log_in(&mut broker.raw(), "dan"), 0x8c, "nobody has SCRAM now");
    drop(logged_in(&broker, "ann", "ann"));
}

#[test]
fn rules_that_change_hold_for_clients_and_subscriptions_that_exist() {
    let folder = Folder::new();
    let rules = |rules: &str| folder.write("rules", rules);
    let file = rules("topic readwrite a/#\n");
    let broker = Broker::with(&format!("[acl]\nfile = {file:?}\n"));
    let mut subscriber = broker.v5("subscriber");
    subscriber.subscribe_v5("#", 0);
    let mut publisher = broker.v5("publisher");
    let mut publishes = |topic: &str, subscriber: &mut Raw, told: u8, arrives: bool| {
        publisher.send(&publish_v5(2, topic, Some(1), &[], b"x"));
        let answer = publisher.packet();
        assert_eq!(answer.get(4).copied().unwrap_or(0), told, "{topic}: {answer:02x?}");
        if arrives {
            subscriber.expect(&publish_v5(0, topic, None, &[], b"x"));
        }
    };
    publishes("a/t", &mut subscriber, 0, true);
    publishes("b/t", &mut subscriber, 0x87, false);
    rules("topic readwrite b/#\ntopic write a/#\n");
    reload(&broker, READ);
    publishes("a/t", &mut subscriber, 0, false);
    publishes("b/t", &mut subscriber, 0, true);
    rules("topic read #\n");
    reload(&broker, READ);
    publishes("b/t", &mut subscriber, 0x87, false);
    subscriber.lives();
}

#[test]
fn with_a_mistake_in_a_file_everything_stays_as_it_was_and_the_mistake_is_named() {
    let folder = Folder::new();
    let users = folder.write("users", &format!("ann:{PENCIL}\n"));
    let rules = folder.write("rules", "user ann\ntopic readwrite #\n");
    let broker = Broker::with(&format!("{}[acl]\nfile = {rules:?}\n", asks(&users)));
    let mut ann = v5(&broker, "ann", "ann");
    ann.subscribe_v5("t", 0);
    folder.write("users", &format!("bob:{PENCIL}\n"));
    folder.write("rules", "topic read t\nnonsense\n");
    reload(&broker, "users and rules stay as they were");
    assert!(broker.log().contains("rules: line 2"), "{}", broker.log());
    ann.echoes("t");
    refuses(&broker, "bob", "pencil");
    // A mistake in the settings themselves.
    folder.write("rules", "user bob\ntopic readwrite #\n");
    let settings = std::fs::read_to_string(broker.settings_file()).expect("a file");
    std::fs::write(broker.settings_file(), format!("nonsense = 1\n{settings}")).expect("a file");
    reload(&broker, "settings, users and rules stay as they were");
    ann.echoes("t");
    std::fs::write(broker.settings_file(), format!("{settings}[sys]\ninterval_s = 7\n")).expect("a file");
    reload(&broker, READ);
    ann.expect_goodbye(0x98);
    drop(logged_in(&broker, "bob", "bob"));
    until("what does not count yet is named", || broker.log().contains("they count after a restart"));
}

#[test]
fn rules_and_users_can_be_added_where_there_were_none() {
    let folder = Folder::new();
    let broker = Broker::with("");
    let mut nobody = broker.raw();
    nobody.connect("nobody");
    nobody.subscribe("a/#", 0);
    let settings = std::fs::read_to_string(broker.settings_file()).expect("a file");
    let users = folder.write("users", &format!("ann:{PENCIL}\n"));
    let rules = "topic read a/#\nuser ann\ntopic write a/#\nrole here\nfor listener tcp://127.0.0.1:0\ntopic read h\n";
    let rules = folder.write("rules", rules);
    let added = format!("{}[acl]\nfile = {rules:?}\n", asks(&users));
    std::fs::write(broker.settings_file(), format!("{added}{settings}")).expect("a file");
    reload(&broker, READ);
    nobody.send(&publish(0, "a/t", None, b"never"));
    nobody.send(&subscribe(2, "b", 0));
    nobody.expect(&suback(2, 0x80));
    nobody.subscribe("h", 0);
    let mut ann = logged_in(&broker, "ann", "ann");
    ann.send(&publish(0, "a/t", None, b"x"));
    nobody.expect(&publish(0, "a/t", None, b"x"));
    refuses(&broker, "ann", "brush");
}

#[test]
fn pantala_reload_asks_the_broker_unless_something_is_wrong() {
    let folder = Folder::new();
    let users = folder.write("users", &format!("ann:{PENCIL}\n"));
    let broker = Broker::with(&asks(&users));
    let run = |pid: i32| {
        let output = Command::new(env!("CARGO_BIN_EXE_pantala"))
            .args(["reload", "--config"])
            .arg(broker.settings_file())
            .arg(pid.to_string())
            .output()
            .expect("the program runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let pid = broker.pid().as_raw_nonzero().get();
    folder.write("users", "nonsense\n");
    let (code, said) = run(pid);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("users: line 1"), "{said}");
    folder.write("users", &format!("bob:{PENCIL}\n"));
    assert_eq!(run(pid), (Some(0), String::new()));
    until(READ, || broker.log().contains(READ));
    drop(logged_in(&broker, "bob", "bob"));
    let other = i32::try_from(std::process::id()).expect("a process id");
    assert_eq!(run(other), (Some(1), "pantala: no broker runs under this process id\n".to_owned()));
}
