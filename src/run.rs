//! From settings to a running broker, and from a signal to its end.

use crate::Failure;
use crate::cli;
use pantala::access::Policy;
use pantala::broker::{Broker, Listening, Settings, StartError};
use pantala::config::{
    Config, CoreList, Durability, ListenUrl, Listener, LogFormat, LogLevel, Process, Store,
};
use pantala::shard::StorePlan;
use pantala::store::{Options, SyncMode};
use pantala::transport::{Address, Identity, ListenerSettings};
use rustix::fs::Mode;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};

/// Of listeners that refuse everybody. What it asks for stands as it has to be written.
const NOBODY: &str = "nobody is let in, because no users are known. In the file of settings,
  [[auth]]
  password_file = \"FILE\"     # made by: pantala user add --file FILE NAME
lets in the users of a file, and under the [[listener]]
  anonymous = true             # the same as --anonymous on the command line
everybody.";

/// Runs until a signal asks to stop.
///
/// # Errors
/// When the broker cannot start.
pub(crate) fn run(given: &cli::Settings, mut config: Config, allowed: &CoreList) -> Result<(), Failure> {
    start_logging(&config);
    // Before anything starts, so that a signal during the start is not lost.
    let mut signals = signals().map_err(Failure::running)?;
    let broker = Broker::start(settings(&config, allowed)?).map_err(|error| failure(&error))?;
    info!(version = env!("CARGO_PKG_VERSION"), shards = config.cores.placement(allowed).len(), "started");
    announce(broker.listening(), config.access.knows_nobody());
    for signal in signals.forever() {
        if signal == SIGHUP {
            broker.reload();
            reload(&broker, given, &mut config);
            continue;
        }
        info!(signal, "stopping");
        break;
    }
    broker.stop();
    info!("stopped");
    Ok(())
}

/// Goes by the users and rules of the files as they are now.
fn reload(broker: &Broker, given: &cli::Settings, config: &mut Config) {
    let mut new = match crate::settings_of(given) {
        Ok((new, _)) => new,
        Err(failure) => {
            failure
                .message
                .lines()
                .for_each(|line| error!("settings, users and rules stay as they were: {line}"));
            return;
        }
    };
    if let Err(faults) = broker.reload_access(&new.access) {
        faults.0.iter().for_each(|fault| error!("users and rules stay as they were: {fault}"));
        return;
    }
    info!("users and rules were read again");
    let logins_changed = new.access.logins != config.access.logins;
    new.access.logins = config.access.logins.clone();
    config.access = new.access.clone();
    if logins_changed || new != *config {
        warn!("settings other than [[user]], [[auth]] and [acl] have changed; they count after a restart");
    }
}

/// Has a running broker read its files again, unless something is wrong with them.
///
/// # Errors
/// What is wrong, or that there is no such broker.
pub(crate) fn ask_to_reload(given: &cli::Settings, pid: i32) -> Result<(), Failure> {
    let (config, _) = crate::settings_of(given)?;
    Policy::check_files(&config.access).map_err(|faults| Failure::misconfigured(faults.to_string()))?;
    let program = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let pid = Pid::from_raw(pid).filter(|_| program.is_ok_and(|name| name.trim_end() == "pantala"));
    let pid = pid.ok_or_else(|| Failure::running("no broker runs under this process id"))?;
    kill_process(pid, Signal::HUP).map_err(Failure::running)
}

fn settings(config: &Config, allowed: &CoreList) -> Result<Settings, Failure> {
    let mut listeners = Vec::new();
    for Listener { url, settings } in &config.listeners {
        let settings = ListenerSettings { name: url.to_string().into(), ..settings.clone() };
        let addresses = match url {
            ListenUrl::Net { host, port, .. } => host.addresses(*port),
            ListenUrl::Unix(path) => {
                listeners.push((Address::Unix(path.clone()), settings.clone()));
                continue;
            }
        };
        let addresses =
            addresses.map_err(|error| Failure::running(format_args!("cannot listen on {url}: {error}")))?;
        listeners.extend(addresses.into_iter().map(|address| (Address::Net(address), settings.clone())));
    }
    let identity = identity(config)?;
    Ok(Settings {
        listeners,
        cores: config.cores.placement(allowed),
        limits: config.limits.clone(),
        features: config.features.clone(),
        access: config.access.clone(),
        sys_interval: config.sys_interval,
        store: if config.store.is_kept() { Some(store(config, identity.as_ref())?) } else { None },
        identity,
    })
}

/// Whom the process is to become.
fn identity(config: &Config) -> Result<Option<Identity>, Failure> {
    let Process { user, group } = &config.process;
    let found = user.as_deref().map(|user| Identity::find(user, group.as_deref())).transpose();
    found.map_err(Failure::running)
}

fn store(config: &Config, identity: Option<&Identity>) -> Result<StorePlan, Failure> {
    let store = &config.store;
    let path = folder_of(store)?;
    if store.path.is_none() {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.map_err(|error| {
            let path = path.display();
            Failure::running(format_args!("store {path}: {error}; name another with --data DIR"))
        })?;
    }
    if let Some(identity) = identity {
        let made = identity.make_folder(&path);
        made.map_err(|error| Failure::running(format_args!("store {}: {error}", path.display())))?;
    }
    // What clients say is for nobody else to read, in whichever file the store puts it.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let sync = if store.durability == Durability::Os { SyncMode::Os } else { SyncMode::Disk };
    let &Store { segment_bytes, checkpoint_bytes, bytes_max, reserve_bytes, .. } = store;
    let options = Options { sync, segment_bytes, checkpoint_bytes, bytes_max };
    Ok(StorePlan { path, options, reserve_bytes, queued_expiry: config.limits.queued_expiry })
}

/// The folder of a store.
///
/// # Errors
/// When neither the settings nor the system name one.
pub(crate) fn folder_of(store: &Store) -> Result<PathBuf, Failure> {
    let none = || Failure::running("no folder for the store: name one with --data DIR, or say --no-store");
    store.path.clone().or_else(state_folder).ok_or_else(none)
}

/// Where services keep what they have to: what systemd says, or where it would be.
fn state_folder() -> Option<PathBuf> {
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = of("STATE_DIRECTORY") {
        return Some(folder);
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/pantala"));
    }
    let state = of("XDG_STATE_HOME").or_else(|| of("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("pantala"))
}

fn failure(error: &StartError) -> Failure {
    if error.is_unsuitable() { Failure::unsuitable(error) } else { Failure::running(error) }
}

/// SIGTERM, SIGINT and SIGHUP as an iterator; a second one of the first two ends the process at once, whatever it is doing then.
fn signals() -> io::Result<Signals> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // They run in this order: the first signal finds the flag down and raises it.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    Signals::new([SIGTERM, SIGINT, SIGHUP])
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
fn announce(listening: &[Listening], no_users: bool) {
    let mut lines: Vec<String> = listening.iter().map(|url| format!("listening on {url}")).collect();
    let closed = |url: &&Listening| no_users && !url.is_open() && !url.asks_no_user();
    let closed: Vec<String> = listening.iter().filter(closed).map(ToString::to_string).collect();
    if !closed.is_empty() {
        lines.push(format!("{}: {NOBODY}", closed.join(", ")));
        warn!(listeners = closed.join(", "), "nobody is let in: there are no users, and no anonymous = true");
    }
    if listening.iter().all(Listening::is_local) {
        lines.push(
            "only clients on this machine can connect; for anybody: --listen tcp://0.0.0.0:1883 --anonymous"
                .to_owned(),
        );
    }
    let mut out = io::stdout().lock();
    // A broker whose output nobody reads is still a broker.
    let _ = writeln!(out, "{}", lines.join("\n")).and_then(|()| out.flush());
}
