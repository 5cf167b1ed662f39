//! The programs that look after users and rules, as an operator meets them: what they print, write and exit with.

mod acl;
mod mosca;
mod users;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder of files that goes away with it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file's path as an argument.
    fn name(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in plain letters").to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("a file");
        self.name(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }
}

/// What a run left behind.
#[derive(Debug, PartialEq)]
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the program with this on its standard input.
fn pantala(arguments: &[&str], input: &str) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pantala"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the program runs");
    // Who refuses its arguments does not read.
    let _ = process.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = process.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn done(out: &str) -> Outcome {
    Outcome { code: Some(0), out: out.to_owned(), err: String::new() }
}

fn failed(code: i32, err: &str) -> Outcome {
    Outcome { code: Some(code), out: String::new(), err: err.to_owned() }
}
