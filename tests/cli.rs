//! The program as its operator meets it: what it prints, what it exits with, how it stops.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// Options that make a broker small and free of other tests: two shards, a port of its own.
const SMALL: [&str; 5] = ["--shards=2", "--listen", "tcp://127.0.0.1:0", "--no-store", "--log=info"];

fn pantala(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pantala"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a run left behind.
#[derive(Debug, PartialEq)]
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

fn outcome(arguments: &[&str]) -> Outcome {
    let output = pantala(arguments).output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A configuration file in a folder that goes away with it.
struct File {
    path: PathBuf,
    _folder: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("p.toml");
        std::fs::write(&path, text).expect("a file");
        Self { path, _folder: folder }
    }

    fn name(&self) -> &str {
        self.path.to_str().expect("a path in plain letters")
    }
}

/// A broker that runs until it is dropped.
struct Running {
    process: Child,
    out: Reader<ChildStdout>,
    err: Reader<ChildStderr>,
    address: SocketAddr,
}

/// What a process prints, line by line.
struct Reader<R> {
    from: BufReader<R>,
    /// Everything so far.
    text: String,
}

impl<R: Read> Reader<R> {
    fn new(from: Option<R>) -> Self {
        Self { from: BufReader::new(from.expect("piped")), text: String::new() }
    }

    /// The next line that contains `word`; `None` when there is none until the end.
    fn line_with(&mut self, word: &str) -> Option<&str> {
        loop {
            let start = self.text.len();
            let read = self.from.read_line(&mut self.text).expect("text");
            if read == 0 || self.text[start..].contains(word) {
                return (read > 0).then(|| self.text[start..].trim_end());
            }
        }
    }

    /// Everything until the end.
    fn rest(&mut self) -> String {
        self.from.read_to_string(&mut self.text).expect("text");
        std::mem::take(&mut self.text)
    }
}

impl Running {
    /// Starts the program; returns when it listens.
    fn start(arguments: &[&str]) -> Self {
        let mut process = pantala(arguments).spawn().expect("the program runs");
        let (out, err) = (Reader::new(process.stdout.take()), Reader::new(process.stderr.take()));
        let mut broker = Self { process, out, err, address: ([0; 4], 0).into() };
        broker.address = broker.listening();
        broker
    }

    /// Reads on to the next line that names an address.
    fn listening(&mut self) -> SocketAddr {
        let Some(line) = self.out.line_with("listening on ") else {
            panic!("ended before it listened: {} {}", self.out.rest(), self.err.rest());
        };
        line.strip_prefix("listening on tcp://").expect("a URL").parse().expect("an address")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the process is there");
    }

    /// Waits for the end; the exit code, all of standard output and of standard error.
    fn end(mut self) -> Outcome {
        let (out, err) = (self.out.rest(), self.err.rest());
        let status = self.process.wait().expect("it ends");
        assert_eq!(status.signal(), None, "ended by a signal instead of by itself");
        Outcome { code: status.code(), out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already after `end`.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn help_tells_what_to_type_and_what_exit_codes_mean() {
    let Outcome { code, out, err } = outcome(&["--help"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for told in [
        "--listen tcp://0.0.0.0:1883 --anonymous",
        "--log-format",
        "check",
        "Exit codes:",
        "io_uring",
        "SIGTERM",
    ] {
        assert!(out.contains(told), "{told}: {out}");
    }
}

#[test]
fn version_is_one_line() {
    let expected = format!("pantala {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(outcome(&["--version"]), Outcome { code: Some(0), out: expected, err: String::new() });
}

#[test]
fn check_prints_settings_that_are_a_file_of_the_same_settings() {
    let first = outcome(&["check", "--shards=3", "--listen", "tcp://[::1]:7", "--log=off"]);
    assert_eq!((first.code, first.err.as_str()), (Some(0), ""));
    assert!(first.out.contains("[cores]\nlist = \"all\"\nshards = 3\n"), "{}", first.out);
    assert!(first.out.contains("[[listener]]\nurl = \"tcp://[::1]:7\"\n"), "{}", first.out);
    assert_eq!(outcome(&["check", "--config", File::new(&first.out).name()]), first);
}

#[test]
fn defaults_prints_a_file_that_changes_nothing() {
    let defaults = outcome(&["defaults"]);
    assert_eq!(defaults.code, Some(0));
    let checked = outcome(&["check", "--config", File::new(&defaults.out).name()]);
    assert_eq!(checked, outcome(&["check"]));
}

#[test]
fn mistakes_exit_with_2_and_start_nothing() {
    let file = File::new("[limits]\npacket_byte_max = 1\n\n[store]\nenabled = true\n");
    let name = file.name();
    let expected = Outcome {
        code: Some(2),
        out: String::new(),
        err: format!(
            "{name}:2:1: limits.packet_byte_max: unknown key; did you mean packet_bytes_max?\n\
             --listen: given \"tls://0.0.0.0:80\", expected a listener without TLS; a file can say which cert and key tls://0.0.0.0:80 has\n\
             2 mistakes; nothing was started\n"
        ),
    };
    let arguments = ["--config", name, "--listen", "tls://0.0.0.0:80"];
    assert_eq!(outcome(&arguments), expected);
    assert_eq!(outcome(&[&["check"], &arguments[..]].concat()), expected);
}

#[test]
fn a_file_that_cannot_be_read_exits_with_2() {
    let Outcome { code, out, err } = outcome(&["--config", "/nowhere/p.toml"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("/nowhere/p.toml: cannot be read: No such file"), "{err}");
}

#[test]
fn words_that_are_no_option_exit_with_2() {
    for arguments in [&["--port", "1883"][..], &["--log", "loud"], &["--shards", "0"], &["serve"]] {
        let Outcome { code, out, err } = outcome(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.contains("--help"), "{err}");
    }
}

#[test]
fn an_address_in_use_exits_with_1_and_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let Outcome { code, out, err } =
        outcome(&["--listen", &format!("tcp://{address}"), "--no-store", "--log=off"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains(&address.to_string()) && err.contains("in use"), "{err}");
    assert_eq!(err.lines().count(), 1, "one sentence: {err}");
}

#[test]
fn a_second_broker_on_the_same_address_is_refused() {
    let first = Running::start(&SMALL);
    let Outcome { code, err, .. } = outcome(&["--listen", &format!("tcp://{}", first.address), "--log=off"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("in use"), "{err}");
}

#[test]
fn too_little_locked_memory_exits_with_3_and_says_what_to_do() {
    let limited = "ulimit -l 64 && exec \"$0\" --listen tcp://127.0.0.1:0 --log=off";
    let mut command = Command::new("sh");
    let output = command.args(["-c", limited, env!("CARGO_BIN_EXE_pantala")]).output().expect("a shell");
    let err = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b""[..]), "{err}");
    assert!(err.contains("locked") && err.contains("ulimit -l"), "{err}");
    assert_eq!(err.lines().count(), 1, "one sentence: {err}");
}

#[test]
fn a_host_that_is_not_known_exits_with_1_and_names_it() {
    let Outcome { code, out, err } = outcome(&["--listen", "tcp://nobody.invalid:1883", "--log=off"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("nobody.invalid"), "{err}");
}

#[test]
fn a_free_port_is_printed_and_reachable() {
    let broker = Running::start(&SMALL);
    assert_ne!(broker.address.port(), 0);
    TcpStream::connect(broker.address).expect("somebody listens");
}

#[test]
fn each_listener_gets_its_line() {
    let file =
        File::new("[[listener]]\nurl = \"tcp://127.0.0.1:0\"\n[[listener]]\nurl = \"tcp://localhost:0\"\n");
    let mut broker = Running::start(&["--config", file.name(), "--shards=1", "--log=off"]);
    let second = broker.listening();
    for address in [broker.address, second] {
        TcpStream::connect(address).expect("somebody listens");
    }
}

#[test]
fn sigterm_and_sigint_stop_it_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let broker = Running::start(&SMALL);
        let client = TcpStream::connect(broker.address).expect("somebody listens");
        broker.signal(signal);
        let address = broker.address;
        let Outcome { code, err, .. } = broker.end();
        assert_eq!(code, Some(0), "{err}");
        drop(client);
        TcpStream::connect(address).expect_err("nobody listens any more");
    }
}

/// A client that sends itself far more than fits between the broker and it, and takes none of it: a broker that
/// stops waits for it a while.
fn frozen_client(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("somebody listens");
    client.write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0").expect("CONNECT");
    client.write_all(b"\x82\x06\0\x01\0\x01t\0").expect("SUBSCRIBE to t");
    let mut publish = b"\x30\x83\x80\x04\0\x01t".to_vec();
    publish.resize(4 + 0x1_0003, 0);
    for _ in 0..256 {
        client.write_all(&publish).expect("PUBLISH on t, 64 KiB");
    }
    client
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (signal, expected) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut broker = Running::start(&SMALL);
        let client = frozen_client(broker.address);
        broker.signal(Signal::TERM);
        broker.err.line_with("stopping").expect("it says so");
        broker.signal(signal);
        let Outcome { code, err, .. } = broker.end();
        assert_eq!(code, Some(expected), "{err}");
        drop(client);
    }
}

#[test]
fn a_client_that_takes_nothing_does_not_keep_it_from_stopping() {
    let broker = Running::start(&SMALL);
    let client = frozen_client(broker.address);
    broker.signal(Signal::INT);
    let Outcome { code, err, .. } = broker.end();
    assert_eq!(code, Some(0), "{err}");
    drop(client);
}

#[test]
fn a_broker_for_this_machine_says_how_to_open_it_to_the_network() {
    let broker = Running::start(&["--listen", "tcp://127.0.0.1:0", "--no-store", "--log=off"]);
    broker.signal(Signal::TERM);
    let address = broker.address;
    assert_eq!(
        broker.end(),
        Outcome {
            code: Some(0),
            out: format!(
                "listening on tcp://{address}\n\
                 only clients on this machine can connect; for anybody: --listen tcp://0.0.0.0:1883 --anonymous\n"
            ),
            err: String::new(),
        }
    );
}

#[test]
fn a_broker_that_would_refuse_everybody_says_what_to_write() {
    let listen = ["--listen", "tcp://0.0.0.0:0", "--listen", "tcp://127.0.0.1:0", "--no-store"];
    let broker = Running::start(&listen);
    let address = broker.address;
    broker.signal(Signal::TERM);
    let Outcome { out, err, .. } = broker.end();
    assert!(out.contains(&format!("tcp://{address}: nobody is let in")), "{out}");
    for line in ["[[auth]]", "  password_file = ", "pantala user add", "  anonymous = true"] {
        assert!(out.contains(line), "{line:?} is missing:\n{out}");
    }
    assert!(err.contains("WARN") && err.contains("no anonymous = true"), "{err}");
}

#[test]
fn who_knows_is_not_told_again() {
    let broker = Running::start(&["--listen", "tcp://0.0.0.0:0", "--anonymous", "--no-store", "--log=off"]);
    broker.signal(Signal::TERM);
    let address = broker.address;
    assert_eq!(broker.end().out, format!("listening on tcp://{address}\n"));
}

#[test]
fn json_logs_are_one_object_per_line_on_standard_error() {
    let broker = Running::start(&[&SMALL[..], &["--log-format=json"]].concat());
    broker.signal(Signal::TERM);
    let Outcome { out, err, .. } = broker.end();
    assert!(!out.contains('{'), "{out}");
    assert!(err.lines().count() >= 2, "{err}");
    for line in err.lines() {
        assert!(line.starts_with("{\"timestamp\":\"") && line.ends_with('}'), "{line}");
    }
    assert!(err.contains("\"message\":\"stopping\"") && err.contains("\"level\":\"INFO\""), "{err}");
}

#[test]
fn a_password_becomes_a_user_of_a_configuration_and_does_not_stand_in_it() {
    let scram = |name: &str, password: &str| {
        let mut process = pantala(&["scram", name]).stdin(Stdio::piped()).spawn().expect("the program runs");
        process.stdin.take().expect("is piped").write_all(password.as_bytes()).expect("it reads");
        let output = process.wait_with_output().expect("it ends");
        let text = |bytes| String::from_utf8(bytes).expect("output is text");
        Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    };
    let (first, second) = (scram("ann", "secret\n"), scram("ann", "secret\n"));
    assert_eq!((first.code, &*first.err), (Some(0), ""));
    assert_ne!(first.out, second.out, "each has a salt of its own");
    assert!(!first.out.contains("secret"), "{}", first.out);
    let checked = outcome(&["check", "--config", File::new(&first.out).name()]);
    assert!(checked.out.contains(&first.out), "{}", checked.out);
    for (name, password, why) in [
        ("ann", "", "no password on standard input"),
        ("ann", "\n", "no password on standard input"),
        ("ann", "\u{7}\n", "the password has characters that no password may have"),
        ("", "secret\n", "given \"\", expected a name"),
    ] {
        let refused = scram(name, password);
        assert_eq!((refused.code, &*refused.out), (Some(2), ""));
        assert!(refused.err.contains(why), "{}", refused.err);
    }
}
