//! What `pantala` understands on its command line.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use pantala::config::{LogFormat, LogLevel, Overrides};
use pantala::types::SHARDS_MAX;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  pantala                               clients on this machine, every core
  pantala --listen tcp://0.0.0.0:1883 --anonymous
                                        anybody on every IPv4 network
  pantala --cores 2-5 --log debug       four cores, every connection logged
  pantala --config pantala.toml         settings from a file
  pantala check --config pantala.toml   what is wrong with it, or what it sets
  pantala defaults > pantala.toml       every setting with its meaning
  pantala --data /srv/pantala           sessions and retained messages in this folder
  pantala store export backup           all that is kept, also while the broker runs
  pantala scram ann >> pantala.toml     lets ann log in with the password that is typed
  pantala user add --file users ann     the same for a password file, which Mosquitto reads too
  pantala acl test --file acl --user ann publish a/b
                                        may ann, and which line says so

A line on standard output names each address once clients can connect:
  listening on tcp://127.0.0.1:1883
Logs go to standard error.

Signals:
  SIGHUP            read users, rules and certificates again; with a mistake in them all stays as it was
  SIGTERM, SIGINT   stop: tell the clients, send what is ready, close
  a second one      exit at once

Exit codes:
  0          stopped as asked
  1          could not start or go on; an address in use, for example
  2          wrong settings or command line; nothing was started
  3          this machine lacks io_uring or enough lockable memory
  130, 143   a second SIGINT or SIGTERM";

/// A thread-per-core MQTT broker: 3.1, 3.1.1 and 5.0.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 110, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the settings that would be used, or everything that is wrong with them, and start nothing
    Check(Settings),
    /// Have a running broker read its users, rules and certificates again (SIGHUP), unless something is wrong with them
    Reload {
        #[command(flatten)]
        settings: Settings,
        /// The broker's process id
        pid: i32,
    },
    /// Print a configuration file with every setting, its default and its meaning
    Defaults,
    /// Look into the store of a broker that does not run, or carry it elsewhere
    Store {
        #[command(subcommand)]
        action: StoreAction,
    },
    /// Look after a password file, in the form that Mosquitto's have
    User {
        #[command(subcommand)]
        action: UserAction,
    },
    /// Look into an ACL file, which has the form of Mosquitto's
    Acl {
        #[command(subcommand)]
        action: AclAction,
    },
    /// Take over what another broker kept
    Migrate {
        #[command(subcommand)]
        from: MigrateFrom,
    },
    /// Print the [[user]] of a configuration file that lets somebody log in with SCRAM-SHA-256; the password is the
    /// first line of standard input, and does not stand in it
    Scram {
        /// The user's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreAction {
    /// Read everything and say whether it is whole
    Verify(StoreFolder),
    /// Say what is in it
    Stats(StoreFolder),
    /// Write everything to a file of lines, which any version can import; a broker that runs is asked to do it
    Export {
        /// The file to make
        file: PathBuf,
        #[command(flatten)]
        folder: StoreFolder,
    },
    /// Make a store of an export, in a folder that has none
    Import {
        /// The export
        file: PathBuf,
        #[command(flatten)]
        folder: StoreFolder,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserAction {
    /// Add a user, or give one a new password
    Add {
        #[command(flatten)]
        file: UserFile,
        /// Let the user log in with SCRAM-SHA-256 as well; Mosquitto reads over what that adds to the line
        #[arg(long)]
        scram: bool,
        #[command(flatten)]
        from: PasswordFrom,
        /// The user's name
        name: String,
    },
    /// Remove a user
    Del {
        #[command(flatten)]
        file: UserFile,
        /// The user's name
        name: String,
    },
    /// Say who there is, and how each password is kept
    List {
        #[command(flatten)]
        file: UserFile,
    },
    /// Say whether a password is the user's; if not, the exit code is 1
    Verify {
        #[command(flatten)]
        file: UserFile,
        #[command(flatten)]
        from: PasswordFrom,
        /// The user's name
        name: String,
    },
}

/// Which password file.
#[derive(Args, Debug)]
pub(crate) struct UserFile {
    /// The password file; `user add` makes it, readable for its owner alone
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Where a password comes from, which is never the command line: other users of the machine can read that.
#[derive(Args, Debug)]
pub(crate) struct PasswordFrom {
    /// Take the password from this file's first line [default: typed without echo, or standard input's first line]
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AclAction {
    /// Say whether a client may do something, and which line says so; if it may not, the exit code is 1
    Test {
        /// The ACL file
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        client: AclClient,
        #[command(subcommand)]
        question: AclQuestion,
    },
}

/// The client that an ACL file is asked about.
#[derive(Args, Debug)]
pub(crate) struct AclClient {
    /// The name that it has logged in with [default: none]
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Its client id
    #[arg(long, value_name = "ID", default_value = "")]
    pub(crate) client: String,
    /// The listener that it came through, as the settings name it, for roles that go by that
    #[arg(long, value_name = "URL", default_value = "")]
    pub(crate) listener: String,
    /// Its certificate's subject, such as O=Plant,CN=sensor-7, for roles that go by that
    #[arg(long, value_name = "ATTRIBUTES")]
    pub(crate) subject: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AclQuestion {
    /// May it publish to this topic?
    Publish {
        /// The topic's name
        topic: String,
    },
    /// May it subscribe to this filter, which is whether it may receive from any topic that the filter matches?
    Subscribe {
        /// The topic filter
        filter: String,
    },
    /// May it be sent what is published to this topic?
    Receive {
        /// The topic's name
        topic: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateFrom {
    /// Mosca's credentials.json: users keep their passwords, globs become topic filters. What has no filter that means the
    /// same is left out and named, and the exit code is 1
    Mosca {
        /// Mosca's credentials.json
        file: PathBuf,
        /// The password file to make
        #[arg(long, value_name = "FILE")]
        passwords: PathBuf,
        /// The ACL file to make
        #[arg(long, value_name = "FILE")]
        acl: PathBuf,
    },
}

/// Where a store is.
#[derive(Args, Debug)]
pub(crate) struct StoreFolder {
    /// The store's folder [default: what the settings say]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) config: Option<PathBuf>,
}

/// Options that make up the settings, for running as for checking.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// Read settings from this TOML file; options on the command line win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Listen here: tcp://HOST:PORT, more than once for more addresses; port 0 is any free port
    /// [default: tcp://127.0.0.1:1883]
    #[arg(long, value_name = "URL")]
    listen: Vec<String>,

    /// Let in clients without user name on every listener that does not say otherwise [default: only where no other
    /// machine can connect]
    #[arg(long)]
    anonymous: bool,

    /// Run on these cores, such as 0-3,6 [default: every core that the process may run on]
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,

    /// Run so many shards; more than cores share them [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=SHARDS_MAX as i64))]
    shards: Option<u16>,

    /// Keep sessions and retained messages in this folder [default: the system's place for what services keep]
    #[arg(long, value_name = "DIR", conflicts_with = "no_store")]
    data: Option<PathBuf>,

    /// Keep sessions and retained messages in memory only, until the process ends
    #[arg(long)]
    no_store: bool,

    /// Log what is at least so important [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = one_of(LogLevel::ALL))]
    log: Option<LogLevel>,

    /// Log lines for people, or one JSON object per line [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = one_of(LogFormat::ALL))]
    log_format: Option<LogFormat>,
}

impl Settings {
    /// Those of a file alone.
    pub(crate) fn of_file(config: Option<PathBuf>) -> Self {
        let (listen, cores, shards, data, no_store) = (Vec::new(), None, None, None, false);
        Self { config, listen, anonymous: false, cores, shards, data, no_store, log: None, log_format: None }
    }

    /// What the command line says over the file.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen.clone(),
            anonymous: self.anonymous,
            cores: self.cores.clone(),
            shards: self.shards,
            data: self.data.clone(),
            no_store: self.no_store,
            log_level: self.log,
            log_format: self.log_format,
        }
    }
}

fn one_of<T, const N: usize>(words: [(&'static str, T); N]) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    let names = words.each_ref().map(|(name, _)| *name);
    PossibleValuesParser::new(names).try_map(move |given| {
        let found = words.iter().find(|(name, _)| *name == given);
        found.map(|(_, value)| value.clone()).ok_or("not among the possible values")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_reaches_the_settings() {
        let cli = Cli::parse_from([
            "pantala",
            "--listen",
            "tcp://h:1",
            "--listen=tcp://h:2",
            "--cores",
            "0-1",
            "--shards",
            "256",
            "--anonymous",
            "--data",
            "d",
            "--log",
            "warn",
            "--log-format",
            "json",
        ]);
        let expected = Overrides {
            listen: vec!["tcp://h:1".to_owned(), "tcp://h:2".to_owned()],
            anonymous: true,
            cores: Some("0-1".to_owned()),
            shards: Some(256),
            data: Some(PathBuf::from("d")),
            no_store: false,
            log_level: Some(LogLevel::Warn),
            log_format: Some(LogFormat::Json),
        };
        assert_eq!(cli.settings.overrides(), expected);
    }

    #[test]
    fn options_of_a_subcommand_stand_behind_it() {
        let cli = Cli::parse_from(["pantala", "check", "--config", "f"]);
        assert!(matches!(cli.command, Some(Command::Check(Settings { config: Some(_), .. }))));
        assert!(Cli::try_parse_from(["pantala", "--config", "f", "check"]).is_err());
        assert!(Cli::try_parse_from(["pantala", "--data", "d", "--no-store"]).is_err());
        assert!(Cli::try_parse_from(["pantala", "--shards", "0"]).is_err());
        assert!(Cli::try_parse_from(["pantala", "--shards", "257"]).is_err());
    }
}
