//! Options that have a name: the scenarios that come with the program, and files that look like them.

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
const SCENARIOS: [(&str, &str); 28] = scenarios![
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

/// Puts a scenario's options in the place of its name: `run NAME OPTIONS` becomes the name's options and then the others. Where
/// the process may open fewer files than the scenario has connections, and it says so, it is made a tenth as large.
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
    words.splice(1..2, options(&name, &text, descriptors)?);
    Ok(words)
}

fn text_of(name: &str) -> Result<String, ScenarioError> {
    if name.contains('/') || name.ends_with(".toml") {
        return std::fs::read_to_string(name).map_err(|error| ScenarioError::File(name.into(), error));
    }
    let found = SCENARIOS.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| ScenarioError::Unknown(name.to_owned()))
}

fn options(name: &str, text: &str, descriptors: u64) -> Result<Vec<OsString>, ScenarioError> {
    let wrong = |why: &dyn std::fmt::Display| ScenarioError::Text(name.to_owned(), why.to_string());
    let mut table: Table = text.parse().map_err(|error| wrong(&error))?;
    let may_shrink = table.remove("tenth") == Some(Value::Boolean(true));
    let count = |key: &str| table.get(key).and_then(Value::as_integer).and_then(|n| u64::try_from(n).ok());
    let connections: u64 = ["publishers", "subscribers", "idle"].iter().filter_map(|key| count(key)).sum();
    if may_shrink && connections + SPARE_DESCRIPTORS > descriptors {
        eprintln!(
            "{name}: {descriptors} open files are too few for {connections} connections: a tenth of all"
        );
        for (key, value) in table.iter_mut().filter(|(key, _)| SCALED.contains(&key.as_str())) {
            match value {
                Value::Integer(number) => *number = (*number / 10).max(1),
                Value::Float(number) => *number /= 10.0,
                _ => return Err(wrong(&format!("{key} is no number"))),
            }
        }
    }
    let option = |(key, value): (String, Value)| match value {
        Value::Boolean(true) => Ok(Some(format!("--{key}"))),
        Value::Boolean(false) => Ok(None),
        Value::Integer(number) => Ok(Some(format!("--{key}={number}"))),
        Value::Float(number) => Ok(Some(format!("--{key}={number}"))),
        Value::String(text) => Ok(Some(format!("--{key}={text}"))),
        _ => Err(wrong(&format!("{key} is no option"))),
    };
    let options = table.into_iter().map(option).filter_map(Result::transpose);
    options.map(|option| option.map(OsString::from)).collect()
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

    #[test]
    fn options_behind_the_name_win() {
        let expanded = expand(words("run pairs --publishers 3 -q 1"), u64::MAX).unwrap();
        let args = Args::try_parse_from(expanded).unwrap();
        assert_eq!((args.publishers, args.subscribers, args.qos() as u8), (3, 50, 1));
    }

    #[test]
    fn what_has_more_connections_than_open_files_is_a_tenth_as_large_if_it_says_so() {
        let args = |descriptors| {
            let expanded = expand(words("run p2p-50K"), descriptors).unwrap();
            Args::try_parse_from(expanded).unwrap()
        };
        assert_eq!((args(200_000).publishers, args(20_000).publishers), (50_000, 5_000));
        assert_eq!((args(200_000).rate, args(20_000).rate), (Some(50_000.0), Some(5_000.0)));
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
            words("--publishers=2 --share")
        );
        for (text, why) in [("publishers = [2]", "no option"), ("publishers 2", "own.toml")] {
            assert!(of(text).unwrap_err().to_string().contains(why), "{text}");
        }
        assert!(matches!(expand(words("run nothing"), 0), Err(ScenarioError::Unknown(_))));
        assert!(matches!(expand(words("run no/thing"), 0), Err(ScenarioError::File(..))));
    }
}
