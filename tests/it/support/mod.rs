//! A broker to talk to, and raw bytes to talk with.

mod broker;
mod browser;
mod bytes;
mod certificates;
mod programs;
mod raw;
mod relay;
mod scram;
mod v5;
mod web;

pub(crate) use broker::{Broker, Refused};
pub(crate) use browser::Browser;
pub(crate) use bytes::{
    Connect, PINGREQ, PINGRESP, binary, connack, packet, publish, publish_v5, suback, subscribe,
    subscribe_many, text, varint,
};
pub(crate) use certificates::Certificates;
pub(crate) use programs::{Beside, Compiled, installed, node, python};
pub(crate) use raw::Raw;
pub(crate) use relay::{Transport, relay};
pub(crate) use scram::{Scram, user};
pub(crate) use v5::{Answer, LIVE_ONLY, Properties, Publication, property, subscribe_v5, unsubscribe_v5};
pub(crate) use web::{ACCEPTED, REQUEST, Web, frame};

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long anything may take. A bound for what never comes, not a measure of speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition holds that no socket announces.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        pause();
    }
}

/// Between two looks at a condition: looking all the time would take a core from the broker.
fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

/// The first line of a program's output; empty if it ends or stays silent instead.
pub(crate) fn first_line(out: impl Read + Send + 'static) -> String {
    lines_with("", 1, out).pop().unwrap_or_default()
}

/// So many lines of those that begin like this; none if the program ends or stays silent instead.
pub(crate) fn lines_with(start: &'static str, count: usize, out: impl Read + Send + 'static) -> Vec<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let (mut found, mut line, mut out) = (Vec::new(), String::new(), BufReader::new(out));
        while found.len() < count && out.read_line(&mut line).is_ok_and(|count| count > 0) {
            let line = std::mem::take(&mut line);
            if line.starts_with(start) {
                found.push(line);
            }
        }
        let _ = sender.send(if found.len() == count { found } else { Vec::new() });
        // A program may have more to say; one that finds its output closed could end for that.
        let _ = std::io::copy(&mut out, &mut std::io::sink());
    });
    receiver.recv_timeout(PATIENCE).unwrap_or_default()
}
