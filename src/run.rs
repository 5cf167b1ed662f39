//! From settings to a running broker, and from a signal to its end.

use crate::Failure;
use pantala::broker::{Broker, Settings, StartError};
use pantala::config::{Config, CoreList, Listener, LogFormat, LogLevel};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tracing::info;
use tracing::level_filters::LevelFilter;

/// Runs until a signal asks to stop. `quiet_about_memory`: the operator said `--no-store`, and so knows.
///
/// # Errors
/// When the broker cannot start.
pub(crate) fn run(config: &Config, allowed: &CoreList, quiet_about_memory: bool) -> Result<(), Failure> {
    start_logging(config);
    // Before anything starts, so that a signal during the start is not lost.
    let mut signals = signals().map_err(Failure::running)?;
    let broker = Broker::start(settings(config, allowed)?).map_err(|error| failure(&error))?;
    info!(version = env!("CARGO_PKG_VERSION"), shards = config.cores.placement(allowed).len(), "started");
    announce(broker.addresses(), quiet_about_memory);
    if let Some(signal) = signals.forever().next() {
        info!(signal, "stopping");
    }
    broker.stop();
    info!("stopped");
    Ok(())
}

fn settings(config: &Config, allowed: &CoreList) -> Result<Settings, Failure> {
    let mut listeners = Vec::new();
    for Listener { url, redirect } in &config.listeners {
        let addresses = url.addresses();
        let addresses =
            addresses.map_err(|error| Failure::running(format_args!("cannot listen on {url}: {error}")))?;
        listeners.extend(addresses.into_iter().map(|address| (address, redirect.clone())));
    }
    Ok(Settings {
        listeners,
        cores: config.cores.placement(allowed),
        limits: config.limits.clone(),
        features: config.features.clone(),
        users: Arc::new(config.users.clone()),
        sys_interval: config.sys_interval,
    })
}

fn failure(error: &StartError) -> Failure {
    if error.is_unsuitable() { Failure::unsuitable(error) } else { Failure::running(error) }
}

/// SIGTERM and SIGINT as an iterator; a second one ends the process at once, whatever it is doing then.
fn signals() -> io::Result<Signals> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // They run in this order: the first signal finds the flag down and raises it.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    Signals::new([SIGTERM, SIGINT])
}

fn start_logging(config: &Config) {
    let level = match config.log.level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    match config.log.format {
        LogFormat::Text => lines.with_target(false).with_ansi(colour).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

/// Tells people, and scripts that wait for it, that clients can connect.
fn announce(addresses: &[SocketAddr], quiet_about_memory: bool) {
    let mut lines: Vec<String> =
        addresses.iter().map(|address| format!("listening on tcp://{address}")).collect();
    if addresses.iter().all(|address| address.ip().is_loopback()) {
        lines.push(
            "only clients on this machine can connect; for others: --listen tcp://0.0.0.0:1883".to_owned(),
        );
    }
    if !quiet_about_memory {
        lines.push("sessions and retained messages are in memory only, until this process ends".to_owned());
    }
    let mut out = io::stdout().lock();
    // A broker whose output nobody reads is still a broker.
    let _ = writeln!(out, "{}", lines.join("\n")).and_then(|()| out.flush());
}
