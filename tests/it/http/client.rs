//! HTTP as bytes.

use crate::support::Raw;
use std::io::Read;
use std::net::SocketAddr;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The value of a header; empty when it is missing.
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(super) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("UTF-8")
    }
}

/// A connection on which one request follows the other.
pub(super) struct Http(pub(super) Raw);

impl Http {
    pub(super) fn open(address: SocketAddr) -> Self {
        Self(Raw::open(address))
    }

    /// Asks without waiting for the answer.
    pub(super) fn ask(&mut self, method: &str, target: &str, headers: &str) {
        self.0.send(format!("{method} {target} HTTP/1.1\r\nHost: broker\r\n{headers}\r\n").as_bytes());
    }

    #[track_caller]
    pub(super) fn get(&mut self, target: &str, headers: &str) -> Answer {
        self.ask("GET", target, headers);
        self.answer(true)
    }

    #[track_caller]
    pub(super) fn head(&mut self, target: &str, headers: &str) -> Answer {
        self.ask("HEAD", target, headers);
        self.answer(false)
    }

    /// Reads an answer, which has a body or only says how long it would be.
    #[track_caller]
    pub(super) fn answer(&mut self, has_body: bool) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let read = self.0.0.read_exact(&mut byte);
            read.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&head)));
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("UTF-8");
        let (first, rest) = head.split_once("\r\n").expect("a line");
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok());
        let headers = rest.lines().filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let mut answer =
            Answer { status: status.unwrap_or_else(|| panic!("{first}")), headers, body: Vec::new() };
        if has_body && !matches!(answer.status, 101 | 204 | 304) {
            let length = answer.header("content-length").parse();
            answer.body.resize(length.unwrap_or_else(|_| panic!("no length in {head}")), 0);
            self.0.0.read_exact(&mut answer.body).expect("as many bytes as announced");
        }
        answer
    }
}
