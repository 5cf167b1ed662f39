//! Options that have a name: the scenarios that come with the program, and files that look like them.

use crate::args::Args;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};
use std::ffi::OsString;
use std::path::PathBuf;
use toml::{Table, Value};

/// Descriptors that a run needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 100;
/// What is divided by ten where there are too few descriptors.
const SCALED: [&str; 5] = ["publishers", "subscribers", "topics", "idle", "rate"];

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../scenarios/", $name, ".toml")))),*]
    };
}

/// Names, and the files.
const SCENARIOS: [(&str, &str); 32] = scenarios![
    "fan-out",
    "fan-out-qos1",
    "fan-out-qos2",
    "fan-in",
    "fan-in-qos1",
    "fan-in-qos2",
    "pairs",
    "pairs-8",
    "pairs-qos1",
    "pairs-qos2",
    "pairs-20000",
    "shared",
    "shared-qos1",
    "large",
    "idle",
    "connect-storm",
    "wide-trie",
    "slow-consumer",
    "retained",
    "retained-storm",
    "persistent-pairs",
    "websocket-fan-out",
    "websocket-pairs",
    "tls-fan-out",
    "tls-pairs",
    "conn-tcp-10K-100",
    "fanout-1-1K-1-1K",
    "p2p-1K-1K-1K-1K",
    "sharedsub-1K-5-1K-1K",
    "fanout-5-1000-5-250K",
    "p2p-50K",
    "sharedsub-50K",
];

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    #[error(
        "there is no scenario {0:?}; `pantala-load scenarios` tells what there is, and a file has a / or .toml in its name"
    )]
    Unknown(String),
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    Text(String, String),
}

/// The scenarios with what they are about.
pub(crate) fn list() -> String {
    let mut text = String::new();
    for (name, file) in SCENARIOS {
        let about = file.lines().next().unwrap_or_default().trim_start_matches("# ");
        text += &format!("{name:<24}{about}\n");
    }
    text
}

/// Puts a scenario's options in the place of its name: `run NAME OPTIONS` becomes the name's options and then the others. What
/// the others say, or exclude, the name's do not. Where the process may open fewer files than the scenario has connections,
/// and it says so, it is made a tenth as large.
///
/// # Errors
/// There is no such scenario, or its file is none.
pub(crate) fn expand(mut words: Vec<OsString>, descriptors: u64) -> Result<Vec<OsString>, ScenarioError> {
    if words.get(1).is_none_or(|word| word != "run") {
        return Ok(words);
    }
    words.remove(1);
    let Some(name) = words.get(1).and_then(|word| word.to_str()).filter(|word| !word.starts_with('-')) else {
        return Ok(words);
    };
    let (name, text) = (name.to_owned(), text_of(name)?);
    words.remove(1);
    let options = options(&name, &text, descriptors, &words)?;
    words.splice(1..1, options);
    Ok(words)
}

fn text_of(name: &str) -> Result<String, ScenarioError> {
    if name.contains('/') || name.ends_with(".toml") {
        return std::fs::read_to_string(name).map_err(|error| ScenarioError::File(name.into(), error));
    }
    let found = SCENARIOS.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| ScenarioError::Unknown(name.to_owned()))
}

/// What the command line says besides a scenario.
#[derive(Debug)]
struct Said(ArgMatches);

impl Said {
    /// `None` where the words make no sense even alone: then everything together says why.
    fn of(words: &[OsString]) -> Option<Self> {
        // Alone, what needs or excludes something in the scenario would be refused.
        let lenient = Args::command().ignore_errors(true);
        lenient.try_get_matches_from(words).ok().map(Self)
    }

    /// Whether the command line says something of an option.
    fn has(&self, key: &str) -> bool {
        let id = key.replace('-', "_");
        self.0.try_contains_id(&id).is_ok() && self.0.value_source(&id) == Some(ValueSource::CommandLine)
    }

    /// A number that it says.
    fn count(&self, key: &str) -> Option<u64> {
        let mut words = self.0.get_raw(key).filter(|_| self.has(key))?;
        words.next_back()?.to_str()?.parse().ok()
    }

    /// Whether a scenario's option is to be left out: it is said differently, or excludes what is said.
    fn replaces(&self, key: &str) -> bool {
        self.has(key)
            || EXCLUDING.iter().any(|group| group.contains(&key) && group.iter().any(|other| self.has(other)))
    }
}

/// Of each of these a run has one.
const EXCLUDING: [[&str; 2]; 3] = [["rate", "inflight"], ["messages", "duration"], ["ca", "insecure"]];

fn options(
    name: &str,
    text: &str,
    descriptors: u64,
    said: &[OsString],
) -> Result<Vec<OsString>, ScenarioError> {
    let wrong = |why: &dyn std::fmt::Display| ScenarioError::Text(name.to_owned(), why.to_string());
    let mut table: Table = text.parse().map_err(|error| wrong(&error))?;
    let may_shrink = table.remove("tenth") == Some(Value::Boolean(true));
    let said = Said::of(said);
    table.retain(|key, _| said.as_ref().is_none_or(|said| !said.replaces(key)));
    let count = |key: &str| {
        let number = table.get(key).and_then(Value::as_integer).and_then(|n| u64::try_from(n).ok());
        number.or_else(|| said.as_ref()?.count(key))
    };
    let connections: u64 = ["publishers", "subscribers", "idle"].iter().filter_map(|key| count(key)).sum();
    let mut options = vec![OsString::from(format!("--scenario={name}"))];
    if may_shrink && connections + SPARE_DESCRIPTORS > descriptors {
        options.push("--tenth".into());
        for (key, value) in table.iter_mut().filter(|(key, _)| SCALED.contains(&key.as_str())) {
            match value {
                Value::Integer(number) => *number = (*number / 10).max(1),
                Value::Float(number) => *number /= 10.0,
                _ => return Err(wrong(&format!("{key} is no number"))),
            }
        }
    }
    for (key, value) in table {
        let option = match value {
            Value::Boolean(true) => format!("--{key}"),
            Value::Boolean(false) => continue,
            Value::Integer(number) => format!("--{key}={number}"),
            Value::Float(number) => format!("--{key}={number}"),
            Value::String(text) => format!("--{key}={text}"),
            _ => return Err(wrong(&format!("{key} is no option"))),
        };
        options.push(option.into());
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser;

    fn words(line: &str) -> Vec<OsString> {
        std::iter::once("pantala-load").chain(line.split_whitespace()).map(OsString::from).collect()
    }

    #[test]
    fn every_scenario_can_be_run_and_says_what_it_is_about() {
        for (name, file) in SCENARIOS {
            assert!(file.starts_with("# "), "{name}");
            let expanded = expand(words(&format!("run {name}")), u64::MAX).unwrap();
            assert!(Args::try_parse_from(expanded).is_ok(), "{name}");
        }
        assert_eq!(list().lines().count(), SCENARIOS.len());
    }

    fn args(line: &str, descriptors: u64) -> Args {
        Args::try_parse_from(expand(words(line), descriptors).unwrap())
            .unwrap_or_else(|why| panic!("{line}: {why}"))
    }

    #[test]
    fn options_behind_the_name_win() {
        let pairs = args("run pairs --publishers 3 -q 1", u64::MAX);
        assert_eq!((pairs.publishers, pairs.subscribers, pairs.qos() as u8), (3, 50, 1));
        assert_eq!(pairs.scenario.as_deref(), Some("pairs"));
        assert!(args("run shared", u64::MAX).share && !args("run shared --share=false", u64::MAX).share);
    }

    #[test]
    fn what_excludes_a_scenarios_option_takes_its_place() {
        assert_eq!(args("run fan-out --rate 1000", u64::MAX).rate, Some(1000.0));
        let closed = args("run pairs-20000 --inflight 8", u64::MAX);
        assert_eq!((closed.rate, closed.inflight), (None, 8));
        assert_eq!(args("run fanout-1-1K-1-1K --messages 10", u64::MAX).messages, Some(10));
        let both =
            Args::try_parse_from(expand(words("run fan-out --rate 5 --inflight 8"), u64::MAX).unwrap());
        assert!(both.is_err(), "what is said on the command line excludes each other still");
    }

    #[test]
    fn what_has_more_connections_than_open_files_is_a_tenth_as_large_if_it_says_so() {
        for (line, descriptors, publishers, rate, tenth) in [
            ("run p2p-50K", 200_000, 50_000, 50_000.0, false),
            ("run p2p-50K", 20_000, 5_000, 5_000.0, true),
            ("run p2p-50K --publishers 70", 20_000, 70, 5_000.0, true),
            ("run p2p-50K --publishers 70 --subscribers 70", 20_000, 70, 50_000.0, false),
        ] {
            let args = args(line, descriptors);
            assert_eq!((args.publishers, args.rate, args.tenth), (publishers, Some(rate), tenth), "{line}");
        }
    }

    #[test]
    fn without_a_scenario_the_options_are_all() {
        assert_eq!(expand(words("run -p 3"), 0).unwrap(), words("-p 3"));
        assert_eq!(expand(words("-p 3"), 0).unwrap(), words("-p 3"));
    }

    #[test]
    fn a_file_that_is_no_scenario_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            expand(words(&format!("run {}", file.display())), u64::MAX)
        };
        assert_eq!(
            of("publishers = 2\nshare = true\nbare = false").unwrap(),
            words(&format!("--scenario={} --publishers=2 --share", file.display()))
        );
        for (text, why) in [("publishers = [2]", "no option"), ("publishers 2", "own.toml")] {
            assert!(of(text).unwrap_err().to_string().contains(why), "{text}");
        }
        assert!(matches!(expand(words("run nothing"), 0), Err(ScenarioError::Unknown(_))));
        assert!(matches!(expand(words("run no/thing"), 0), Err(ScenarioError::File(..))));
    }
}
