//! Brokers next to each other: each is started anew for each run, and runs go around all of them, round after round, so that
//! what else the machine does hits all.

mod broker;
mod canonical;
mod options;
mod scratch;
mod table;

pub(crate) use self::canonical::canonical;
pub(crate) use self::options::{CanonicalArgs, CompareArgs};
pub(crate) use self::table::{Figure, Spread};

use self::broker::{BrokerError, Known, Running};
use self::options::Common;
use self::scratch::Scratch;
use crate::args::Args;
use crate::client::Failure;
use crate::record::Record;
use crate::{idle, retained, run, scenario};
use clap::Parser;
use std::ffi::OsString;
use std::fs::{OpenOptions, create_dir_all};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Scenario(#[from] scenario::ScenarioError),
    #[error("{0}: {1}")]
    Options(String, clap::Error),
    #[error("{0}, {1}: {2}")]
    Run(String, String, Failure),
    #[error("{path}: {1}", path = .0.display())]
    Records(PathBuf, std::io::Error),
    #[error("{0}")]
    Processor(String),
    #[error("signals cannot be waited for: {0}")]
    Signals(std::io::Error),
}

/// What all brokers did in one scenario: by broker, its runs in the order of the rounds.
type Runs = Vec<Vec<Record>>;

/// Runs scenarios and prints a table of each. True when nothing was lost, repeated or out of order.
///
/// # Errors
/// A broker does not start, a scenario is none, or a run could not be made.
pub(crate) fn compare(args: &CompareArgs) -> Result<bool, CompareError> {
    let brokers = args.brokers.iter().map(|name| Known::find(name)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<_> = brokers.iter().map(|broker| broker.name.clone()).collect();
    let mut well = true;
    println!("{}", about(&args.common));
    for words in &args.runs {
        let runs = around(&args.common, &brokers, words)?;
        print!("\n**{words}**\n\n{}", table::table(&names, &runs));
        // A broker that is along for the ride need not be able to do everything.
        well &= runs[0].iter().all(|record| record.faults() == 0);
    }
    Ok(well)
}

/// The machine, and how runs are made.
fn about(common: &Common) -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, Linux {}. Broker on processor {}, load on processor {}, {} rounds of {} s; medians.",
        model.map_or("unknown processor", |(_, model)| model),
        kernel.trim(),
        common.core,
        common.load_core,
        common.rounds,
        common.seconds,
    )
}

/// Makes all rounds of a scenario.
fn around(common: &Common, brokers: &[Known], words: &str) -> Result<Runs, CompareError> {
    let scratch = Scratch::new().map_err(CompareError::Signals)?;
    let mut runs = vec![Vec::new(); brokers.len()];
    for round in 1..=common.rounds {
        for (broker, records) in brokers.iter().zip(&mut runs) {
            show(&format!("{words}: round {round} of {}, {}", common.rounds, broker.name));
            let record = one(common, &scratch, broker, words)?;
            if let Some(folder) = &common.json {
                keep(folder, words, &record).map_err(|error| CompareError::Records(folder.clone(), error))?;
            }
            records.push(record);
        }
    }
    show("");
    Ok(runs)
}

/// One run of one broker.
fn one(common: &Common, scratch: &Scratch, broker: &Known, words: &str) -> Result<Record, CompareError> {
    let running = Running::start(broker, common, scratch)?;
    let args = arguments(common, &running, words)?;
    crate::prepare(&args).map_err(CompareError::Processor)?;
    let failed = |failure| CompareError::Run(broker.name.clone(), words.to_owned(), failure);
    let record = match (args.idle, args.retained) {
        (Some(count), _) => idle::idle(&args, count).map_err(failed)?.record(&args),
        (_, Some(topics)) => retained::retained(&args, topics).map_err(failed)?.record(&args),
        _ => run::run(&args).map_err(failed)?.record(&args),
    };
    Ok(Record { broker: Some(broker.name.clone()), ..record })
}

/// The options of a run: those of the scenario, what `words` say besides, and where the broker is.
fn arguments(common: &Common, running: &Running<'_>, words: &str) -> Result<Args, CompareError> {
    let mut all: Vec<OsString> = ["pantala-load", "run"].map(OsString::from).to_vec();
    all.extend(words.split_whitespace().map(OsString::from));
    let timed = !words.split_whitespace().any(|word| word == "--messages" || word.starts_with("--messages="));
    if timed && common.seconds > 0.0 {
        all.push(format!("--duration={}", common.seconds).into());
    }
    all.extend(
        [format!("--broker={}", running.address), format!("--cpu={}", common.load_core)].map(OsString::from),
    );
    all.extend(running.pid().map(|pid| OsString::from(format!("--pid={pid}"))));
    all.push("--silent".into());
    let expanded = scenario::expand(all, crate::descriptors())?;
    Args::try_parse_from(expanded).map_err(|error| CompareError::Options(words.to_owned(), error))
}

/// Adds a record to the file of its scenario.
fn keep(folder: &Path, words: &str, record: &Record) -> std::io::Result<()> {
    create_dir_all(folder)?;
    let name: String =
        words.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join(format!("{name}.jsonl")))?;
    file.write_all(record.line().as_bytes())
}

/// Shows people what is going on.
fn show(what: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        // A line that nobody can see is no reason to stop.
        let _ = write!(err, "\r\x1b[K{what}");
        let _ = err.flush();
    }
}
