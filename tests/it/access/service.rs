//! Services that are asked by HTTP whether a client may come in.

use super::passwords::{Folder, PENCIL, asks, logged_in, login};
use crate::support::{Broker, Connect, PATIENCE, property, publish_v5, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A service that hands each question to the test and answers with what `says` makes of it; nothing where that is `None`.
struct Service {
    address: SocketAddr,
    questions: Receiver<Value>,
}

impl Service {
    fn start(says: impl Fn(&Value) -> Option<String> + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (asked, questions) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (says, asked) = (says.clone(), asked.clone());
                std::thread::spawn(move || serve(&stream, &says, &asked));
            }
        });
        Self { address, questions }
    }

    /// Settings that ask it.
    fn settings(&self, more: &str) -> String {
        format!("[[auth]]\nhttp_url = \"http://{}/auth?v=1\"\n{more}\n", self.address)
    }

    fn question(&self) -> Value {
        self.questions.recv_timeout(PATIENCE).expect("it is asked")
    }
}

/// Answers one question after the other on a connection.
fn serve(stream: &TcpStream, says: &impl Fn(&Value) -> Option<String>, asked: &Sender<Value>) -> Option<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        assert_eq!(line, "POST /auth?v=1 HTTP/1.1\r\n");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok()?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let question: Value = serde_json::from_slice(&body).expect("JSON");
        let answer = says(&question);
        asked.send(question).ok()?;
        let Some(answer) = answer else { continue };
        let status = if answer.starts_with('5') { "503 No" } else { "200 OK" };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", answer.len());
        writer.write_all(format!("{head}{answer}").as_bytes()).ok()?;
    }
}

/// By the user's name.
fn by_name(question: &Value) -> Option<String> {
    let right = question["password"] == "pencil";
    let answer = match question["username"].as_str().expect("a name") {
        "ann" if right => json!({"result": "allow", "publish": ["a/#"], "subscribe": ["a/#"]}).to_string(),
        "bob" if right => json!({"result": "allow", "more": [1]}).to_string(),
        "old" => json!({"result": "allow", "expires": 1_000_000_000}).to_string(),
        "stranger" => json!({"result": "ignore"}).to_string(),
        "broken" => "{".to_owned(),
        "unsure" => json!({"result": "perhaps"}).to_string(),
        "odd" => json!({"result": "allow", "publish": ["#/a"]}).to_string(),
        "down" => "503".to_owned(),
        "slow" => return None,
        _ => json!({"result": "deny"}).to_string(),
    };
    Some(answer)
}

#[test]
fn a_service_is_told_who_comes_and_says_whether() {
    let service = Service::start(by_name);
    let folder = Folder::new();
    let rules = folder.write("rules", "user bob\ntopic readwrite b/#\n");
    let settings = service.settings("") + &format!("[acl]\nfile = {rules:?}\n");
    let broker = Broker::with(&settings);
    let mut ann = broker.greeted(&Connect { level: 5, ..login("c1", "ann", "pencil") }).0;
    let expected = json!({"username": "ann", "password": "pencil", "client_id": "c1", "address": "127.0.0.1",
        "listener": "tcp://127.0.0.1:0"});
    assert_eq!(service.question(), expected);
    ann.send(&publish_v5(2, "b/t", Some(1), &[], b"x"));
    let refused = ann.packet();
    assert_eq!(
        (refused[0], &refused[2..5]),
        (0x40, &[0, 1, 0x87][..]),
        "the service speaks in the place of the user's section"
    );
    ann.subscribe_v5("a/t", 0);
    ann.echoes("a/t");
    let mut bob = broker.greeted(&Connect { level: 5, ..login("c2", "bob", "pencil") }).0;
    bob.subscribe_v5("b/t", 0);
    bob.echoes("b/t");
    broker.refuses(&Connect { level: 5, ..login("c3", "bob", "brush") }.bytes(), 0x86);
    let binary = Connect { password: Some(&[0xff, 0]), level: 5, ..login("c4", "bob", "") };
    broker.refuses(&binary.bytes(), 0x86);
    let asked = [service.question(), service.question(), service.question()];
    assert_eq!((&asked[2]["password_base64"], &asked[2]["password"]), (&json!("/wA="), &Value::Null));
    until("the log names who refused", || broker.log().contains("/auth?v=1 refuses it"));
}

#[test]
fn what_a_service_does_not_say_clearly_is_a_no() {
    let service = Service::start(by_name);
    let broker = Broker::with(&service.settings("timeout_ms = 200"));
    for name in ["broken", "unsure", "odd", "down", "slow"] {
        let refused = broker.refuses(&Connect { level: 5, ..login("c", name, "pencil") }.bytes(), 0x88);
        assert!(refused.properties.has(property::REASON_STRING), "{name}");
    }
    broker.refuses(&Connect { level: 5, ..login("c", "stranger", "pencil") }.bytes(), 0x86);
    broker.serves();
    for why in ["status is 503", "no answer within 200 milliseconds", "its answer"] {
        until(why, || broker.log().contains(why));
    }
    // And what was good once.
    broker.refuses(&Connect { level: 5, ..login("c", "old", "pencil") }.bytes(), 0x86);
}

#[test]
fn nobody_is_let_in_by_a_service_that_is_not_there() {
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port").local_addr().expect("it is bound");
    let settings = format!("[[auth]]\nhttp_url = \"http://{free}/auth?v=1\"\n");
    let broker = Broker::with(&settings);
    broker.refuses(&Connect { level: 5, ..login("c", "ann", "pencil") }.bytes(), 0x88);
    until("the log says why", || broker.log().contains("Connection refused"));
}

#[test]
fn a_yes_is_good_for_a_while_and_a_no_is_not() {
    let service = Service::start(by_name);
    let broker = Broker::with(&service.settings("remembered_s = 100"));
    for _ in 0..3 {
        drop(logged_in(&broker, "c", "bob"));
        broker.refuses(&Connect { level: 5, ..login("c", "bob", "brush") }.bytes(), 0x86);
    }
    let passwords: Vec<_> = (0..4).map(|_| service.question()["password"].clone()).collect();
    assert_eq!(passwords, ["pencil", "brush", "brush", "brush"]);
    assert!(service.questions.try_recv().is_err());

    let service = Service::start(by_name);
    let broker = Broker::with(&service.settings("remembered_s = 0"));
    (0..3).for_each(|_| drop(logged_in(&broker, "c", "bob")));
    (0..3).for_each(|_| drop(service.question()));
}

#[test]
fn the_first_back_end_that_knows_a_user_decides() {
    let service = Service::start(by_name);
    let folder = Folder::new();
    let file = folder.write("users", &format!("ann:{PENCIL}\nstranger:{PENCIL}\n"));
    // The service first: it does not know the stranger, whom the file does.
    let broker = Broker::with(&(service.settings("") + &asks(&file)));
    drop(logged_in(&broker, "c", "stranger"));
    assert_eq!(service.question()["username"], "stranger");
    broker.refuses(&Connect { level: 5, ..login("c", "stranger", "brush") }.bytes(), 0x86);
    assert_eq!(service.question()["username"], "stranger");
    broker.refuses(&Connect { level: 5, ..login("c", "ann", "brush") }.bytes(), 0x86);
    assert_eq!(service.question()["username"], "ann");
    // The file first: the service never hears of those whom it knows.
    let broker = Broker::with(&(asks(&file) + &service.settings("")));
    drop(logged_in(&broker, "c", "ann"));
    broker.refuses(&Connect { level: 5, ..login("c", "ann", "brush") }.bytes(), 0x86);
    drop(logged_in(&broker, "c", "bob"));
    assert_eq!(service.question()["username"], "bob");
}

#[test]
fn a_service_that_takes_its_time_delays_nobody_but_who_asks_for_it() {
    let service = Service::start(by_name);
    let broker = Broker::with(&service.settings("timeout_ms = 60_000\nconnections_max = 2"));
    let mut waiting: Vec<_> = (0..8)
        .map(|n| {
            let mut raw = broker.raw();
            raw.send(&login(&format!("slow-{n}"), "slow", "pencil").bytes());
            raw
        })
        .collect();
    (0..2).for_each(|_| drop(service.question()));
    broker.serves();
    assert!(service.questions.try_recv().is_err(), "no more than two at once");
    waiting.clear();
    broker.serves();
}
