//! The operator's settings: from a TOML file and the command line into one [`Config`] whose every value can be honoured.
//!
//! Reads: nothing but the text it is handed, and addresses when [`ListenUrl::addresses`] is asked for them.
//! Invariant: a [`Config`] that came out of [`Config::resolve`] is whole and in range. Whatever is wrong is listed at
//! once as [`Mistakes`], with file, line and column, and nothing starts half-way.
//! `default.toml` beside this file holds every key with its default and what it means; a test keeps the two equal.

mod access;
mod cores;
mod keys;
mod listener;
mod mistake;
mod raw;
mod show;
mod url;

pub use cores::{BadCoreList, CoreList, Cores};
pub use listener::Listener;
pub use mistake::{Mistake, Mistakes, Place};
pub use show::user_table;
pub use url::{BadUrl, Host, ListenUrl, Scheme};

use crate::access::AccessSettings;
use crate::transport::ListenerSettings;
use crate::types::{Features, Limits, Span};
use std::path::PathBuf;

/// Every key with its default and a sentence.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// All settings of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; at least one, each once.
    pub listeners: Vec<Listener>,
    /// Which cores run shards, and how many.
    pub cores: Cores,
    /// What is kept on disk: `[store]`.
    pub store: Store,
    /// Bounds: `[session]` and `[limits]`.
    pub limits: Limits,
    /// What is offered of MQTT's optional parts: `[mqtt]`.
    pub features: Features,
    /// Who may come in, and do what: `[[user]]`, `[[auth]]` and `[logins]`.
    pub access: AccessSettings,
    /// How often `$SYS` topics are published; `None`: never.
    pub sys_interval: Option<Span>,
    /// What is logged and how.
    pub log: Log,
    /// What the process is once it listens.
    pub process: Process,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![Listener { url: ListenUrl::LOCAL, settings: ListenerSettings::default() }],
            cores: Cores::default(),
            store: Store::default(),
            limits: Limits::default(),
            features: Features::default(),
            access: AccessSettings::default(),
            sys_interval: Some(Span::from_secs(10)),
            log: Log::default(),
            process: Process::default(),
        }
    }
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Whether there is one.
    pub enabled: bool,
    /// Its folder; `None` is the system's place for what services keep.
    pub path: Option<PathBuf>,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// What it may take on disk; 0 for any.
    pub bytes_max: u64,
    /// With less free space on its file system it takes nothing more.
    pub reserve_bytes: u64,
    /// The length of the journal's files.
    pub segment_bytes: u64,
    /// What may gather in memory, and in the journal, before it is settled.
    pub checkpoint_bytes: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            enabled: true,
            path: None,
            durability: Durability::Fsync,
            bytes_max: 0,
            reserve_bytes: 256 << 20,
            segment_bytes: 64 << 20,
            checkpoint_bytes: 32 << 20,
        }
    }
}

impl Store {
    /// What the store may still write when it has begun to take nothing more: the segments that are under way or made ahead,
    /// and a checkpoint of what has gathered, for which the settled state has half of the reserve to itself.
    fn reserve_bytes_min(&self) -> u64 {
        3 * self.segment_bytes + 2 * self.checkpoint_bytes
    }

    /// Whether anything outlives the broker.
    pub fn is_kept(&self) -> bool {
        self.enabled && self.durability != Durability::None
    }
}

/// What an acknowledgement promises of a message that somebody is to get later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk.
    #[default]
    Fsync,
    /// The system has it: it survives the broker, not the power.
    Os,
    /// It is in memory.
    None,
}

impl Durability {
    /// Every kind with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("fsync", Self::Fsync), ("os", Self::Os), ("none", Self::None)];
}

/// `[process]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Whom it becomes, by name or number; `None`: it stays who it is.
    pub user: Option<Box<str>>,
    /// The group, by name or number; `None`: the user's own.
    pub group: Option<Box<str>>,
}

/// `[log]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The least important events that are still written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What the broker could not do.
    Error,
    /// What an operator should look at.
    Warn,
    /// Start, stop, and connections that broke the protocol.
    #[default]
    Info,
    /// Every connection that comes and goes.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Every level with its name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("off", Self::Off),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Every format with its name.
    pub const ALL: [(&'static str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

/// What the command line sets; each wins over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`: instead of all of the file's listeners.
    pub listen: Vec<String>,
    /// `--anonymous`: on every listener that does not say so itself.
    pub anonymous: bool,
    /// `--cores`
    pub cores: Option<String>,
    /// `--shards`: 1 to [`crate::types::SHARDS_MAX`], which the caller has checked.
    pub shards: Option<u16>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--no-store`
    pub no_store: bool,
    /// `--log`
    pub log_level: Option<LogLevel>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
}

/// A configuration file as it was read.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// The name for messages: what the operator called it.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

impl Config {
    /// The settings of a file and a command line together, for a process that may run on the cores `allowed`.
    ///
    /// # Errors
    /// Every mistake of both.
    pub fn resolve(
        file: Option<File<'_>>,
        overrides: &Overrides,
        allowed: &CoreList,
    ) -> Result<Self, Mistakes> {
        let mut config = Self::default();
        let mut mistakes = Vec::new();
        if let Some(file) = file {
            match std::str::from_utf8(file.bytes) {
                Ok(text) => mistakes.extend(keys::read(file.name, text, allowed, &mut config)),
                Err(error) => mistakes.push(not_utf8(file, error.valid_up_to())),
            }
        }
        mistakes.extend(config.apply(overrides, allowed));
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    /// Puts the command line over the file.
    fn apply(&mut self, overrides: &Overrides, allowed: &CoreList) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut refuse = |name, given: &str, expected: String| {
            let problem = format!("given \"{given}\", expected {expected}");
            mistakes.push(Mistake { place: Place::Argument { name }, key: String::new(), problem });
        };
        if !overrides.listen.is_empty() {
            self.listeners.clear();
        }
        for url in &overrides.listen {
            match listener::url(url, &self.listeners).and_then(Listener::at) {
                Ok(listener) => self.listeners.push(listener),
                Err(expected) => refuse("--listen", url, expected),
            }
        }
        if overrides.anonymous {
            for listener in &mut self.listeners {
                listener.settings.anonymous.get_or_insert(true);
            }
        }
        if let Some(list) = &overrides.cores {
            match keys::core_list(list, allowed) {
                Ok(list) => self.cores.list = list,
                Err(expected) => refuse("--cores", list, expected),
            }
        }
        if let Some(data) = &overrides.data {
            (self.store.enabled, self.store.path) = (true, Some(data.clone()));
        }
        self.store.enabled &= !overrides.no_store;
        self.cores.shards = overrides.shards.or(self.cores.shards);
        self.log.level = overrides.log_level.unwrap_or(self.log.level);
        self.log.format = overrides.log_format.unwrap_or(self.log.format);
        mistakes
    }
}

fn not_utf8(file: File<'_>, valid_up_to: usize) -> Mistake {
    let text = std::str::from_utf8(&file.bytes[..valid_up_to]).expect("valid up to here");
    let problem = "not TOML: not UTF-8 text from here on".to_owned();
    Mistake { place: Place::of(file.name, text, valid_up_to), key: String::new(), problem }
}

#[cfg(test)]
mod tests;
