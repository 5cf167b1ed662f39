//! The `pantala` program: arguments, settings, run, exit code.

mod acl_cli;
mod cli;
mod migrate_cli;
mod run;
mod store_cli;
mod user_cli;

use clap::Parser;
use cli::{Cli, Command, Settings};
use pantala::access::Policy;
use pantala::config::{self, Config, CoreList};
use pantala::sasl::{ITERATIONS, SALT_BYTES, Users, Verifier};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Could not start or go on.
const FAILED: u8 = 1;
/// The settings are wrong. What clap exits with for the command line.
const MISCONFIGURED: u8 = 2;
/// The machine lacks something that a shard needs.
const UNSUITABLE: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Some(Command::Defaults) => print(config::DEFAULT_TOML),
        Some(Command::Check(settings)) => check(settings),
        Some(Command::Scram { name }) => scram(name),
        Some(Command::Store { action }) => store_cli::run(action),
        Some(Command::User { action }) => user_cli::run(action),
        Some(Command::Acl { action }) => acl_cli::run(action),
        Some(Command::Migrate { from }) => migrate_cli::run(from),
        Some(Command::Reload { settings, pid }) => run::ask_to_reload(settings, *pid),
        None => {
            settings_of(&cli.settings).and_then(|(config, cores)| run::run(&cli.settings, config, &cores))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Why the program ends before it was asked to, for people and for scripts.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn running(why: impl Display) -> Self {
        Self { code: FAILED, message: format!("pantala: {why}") }
    }

    fn misconfigured(message: String) -> Self {
        Self { code: MISCONFIGURED, message }
    }

    /// The answer, which is no, has been given.
    fn denied() -> Self {
        Self { code: FAILED, message: String::new() }
    }

    fn unsuitable(why: impl Display) -> Self {
        Self { code: UNSUITABLE, message: format!("pantala: {why}") }
    }
}

fn check(settings: &Settings) -> Result<(), Failure> {
    let (config, allowed) = settings_of(settings)?;
    Policy::check_files(&config.access).map_err(|faults| Failure::misconfigured(faults.to_string()))?;
    let shards = config.cores.placement(&allowed).len();
    print(&format!("# Shards: {shards}. Cores that this process may run on: {allowed}.\n\n{config}"))
}

/// Makes a password, read from standard input, into the lines that let its user log in.
fn scram(name: &str) -> Result<(), Failure> {
    let misconfigured = |why: &dyn Display| Failure::misconfigured(format!("pantala: {why}"));
    let mut password = String::new();
    io::stdin().read_line(&mut password).map_err(Failure::running)?;
    let password = password.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(misconfigured(&"no password on standard input"));
    }
    let mut salt = [0; SALT_BYTES];
    getrandom(&mut salt, GetRandomFlags::empty()).map_err(Failure::running)?;
    let verifier = Verifier::derive(password, &salt, ITERATIONS).map_err(|bad| misconfigured(&bad))?;
    let known = Users::default().add(name, verifier.clone());
    known.map_err(|bad| misconfigured(&format_args!("given {name:?}, expected {bad}")))?;
    print(&config::user_table(name, &verifier))
}

/// What is wrong with a file, a line for each.
fn in_file(path: &Path, mistakes: &[impl Display]) -> Failure {
    let lines: Vec<String> =
        mistakes.iter().map(|mistake| format!("{}: {mistake}", path.display())).collect();
    Failure::misconfigured(lines.join("\n"))
}

/// What of a file could not be used, a line for each.
fn left_out(path: &Path, what: &[impl Display]) -> Failure {
    let lines: Vec<String> =
        what.iter().map(|what| format!("{}: left out: {what}", path.display())).collect();
    Failure { code: FAILED, message: lines.join("\n") }
}

fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        // Who reads on has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::running),
    }
}

fn random() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(Failure::running)?;
    Ok(u128::from_ne_bytes(bytes))
}

/// The settings that the command line and its file come to, and the cores that the process may run on.
fn settings_of(settings: &Settings) -> Result<(Config, CoreList), Failure> {
    let allowed = CoreList::of_this_process().map_err(Failure::running)?;
    let file = match &settings.config {
        Some(path) => {
            let name = path.display().to_string();
            let bytes = std::fs::read(path)
                .map_err(|error| Failure::misconfigured(format!("{name}: cannot be read: {error}")))?;
            Some((name, bytes))
        }
        None => None,
    };
    let file = file.as_ref().map(|(name, bytes)| config::File { name, bytes });
    let config = Config::resolve(file, &settings.overrides(), &allowed);
    config.map(|config| (config, allowed)).map_err(|mistakes| Failure::misconfigured(mistakes.to_string()))
}
