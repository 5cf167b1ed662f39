//! Puts load on an MQTT broker, measures rate and latency, and checks that nothing was lost, repeated or reordered.
//!
//! One thread runs everything, so that publishers know what subscribers have: `run` is its loop and `client` a connection;
//! `flow` knows all messages, `window` and `schedule` say what may be sent, `shape` and `stamp` what it looks like, `check`
//! what went wrong, `proc` what the broker used meanwhile. `report` tells people what came of it and `record` machines;
//! `compare` starts brokers and runs them next to each other, and `page` shows records to people.

mod args;
mod bystanders;
mod check;
mod client;
mod clock;
mod compare;
mod flow;
mod group;
mod idle;
mod page;
mod proc;
mod progress;
mod record;
mod report;
mod retained;
mod run;
mod scenario;
mod schedule;
mod shape;
mod stamp;
mod tls;
mod web;
mod window;

use args::Args;
use clap::Parser;
use compare::{CanonicalArgs, CompareArgs};
use page::PageArgs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::ffi::OsString;
use std::process::ExitCode;

/// Messages were lost, repeated, out of order, altered or not acknowledged.
const FAULTS: u8 = 1;
/// The run could not be made.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    raise_descriptors();
    let rest = || std::iter::once(OsString::from("pantala-load")).chain(words.iter().skip(2).cloned());
    let outcome = match words.get(1).and_then(|word| word.to_str()) {
        Some("scenarios") => {
            print!("{}", scenario::list());
            Ok(true)
        }
        Some("compare") => {
            compare::compare(&CompareArgs::parse_from(rest())).map_err(|error| error.to_string())
        }
        Some("canonical") => {
            compare::canonical(&CanonicalArgs::parse_from(rest())).map_err(|error| error.to_string())
        }
        Some("report") => {
            page::report(&PageArgs::parse_from(rest())).map(|()| true).map_err(|error| error.to_string())
        }
        _ => scenario::expand(words, descriptors())
            .map_err(|error| error.to_string())
            .and_then(|words| measure(&Args::parse_from(words))),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAULTS),
        Err(message) => {
            eprintln!("pantala-load: {message}");
            ExitCode::from(FAILED)
        }
    }
}

/// Takes as many descriptors as there may be.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // What was there before goes on to hold if this fails.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// How many files the process may open; where there is no bound, more than it ever does.
fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// True when nothing was wrong.
fn measure(args: &Args) -> Result<bool, String> {
    prepare(args)?;
    if let Some(count) = args.idle {
        let outcome = idle::idle(args, count).map_err(|failure| failure.to_string())?;
        print!("{}", if args.json { outcome.record(args).line() } else { outcome.text() });
        return Ok(true);
    }
    if let Some(topics) = args.retained {
        let outcome = retained::retained(args, topics).map_err(|failure| failure.to_string())?;
        print!("{}", if args.json { outcome.record(args).line() } else { outcome.text() });
        return Ok(outcome.is_well());
    }
    if args.publishers == 0 {
        return Err("at least one publisher is needed; --idle opens connections that do nothing".to_owned());
    }
    let outcome = run::run(args).map_err(|failure| failure.to_string())?;
    print!("{}", if args.json { outcome.record(args).line() } else { outcome.text() });
    Ok(!outcome.faults.any())
}

/// Takes the processor that the run needs, and looks whether there is a broker's process to look at.
fn prepare(args: &Args) -> Result<(), String> {
    if let Some(cpu) = args.cpu {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).map_err(|error| format!("cannot run on processor {cpu}: {error}"))?;
    }
    if let Some(pid) = args.pid {
        proc::cpu_nanos(pid).map_err(|error| format!("cannot look at process {pid}: {error}"))?;
    }
    Ok(())
}
