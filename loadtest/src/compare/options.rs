//! What to compare, from the command line.

use clap::{Args, Parser};
use std::path::PathBuf;

/// Compares brokers: each is started for each run, pinned to one processor, and gets the same load from another.
///
/// A broker is
/// - the name of one that is known: pantala, pantala-fsync, mosquitto, mosquitto-nodelay, rumqttd;
/// - a TOML file that says how to start it, as those in loadtest/brokers;
/// - a program: a build of Pantala;
/// - NAME=COMMAND, with {port} where the port to listen on belongs, and {folder} for a folder of its own;
/// - tcp://ADDRESS:PORT, where one runs already, whose CPU time is not measured.
///
/// Ratios are to the first broker, round by round: what is printed is their median, with the smallest and the largest.
#[derive(Clone, Debug, Parser)]
#[command(name = "pantala-load compare", bin_name = "pantala-load compare", after_help = EXAMPLES)]
pub(crate) struct CompareArgs {
    /// The brokers.
    #[arg(required = true, num_args = 2.., value_name = "BROKER")]
    pub(crate) brokers: Vec<String>,
    /// A scenario, and options that win over it; may be given more than once.
    #[arg(long = "run", default_value = "pairs", value_name = "SCENARIO OPTIONS")]
    pub(crate) runs: Vec<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Runs the canonical workload, and prints what is asked of each row beside what was measured.
///
/// Without arguments Pantala, mosquitto at its cheapest and, where it is installed, rumqttd are compared in every row.
#[derive(Clone, Debug, Parser)]
#[command(name = "pantala-load canonical", bin_name = "pantala-load canonical")]
pub(crate) struct CanonicalArgs {
    /// Further brokers, as `pantala-load compare` takes them; one called floor is what the last column compares with.
    #[arg(value_name = "BROKER")]
    pub(crate) brokers: Vec<String>,
    /// Only the rows with this word in their names.
    #[arg(long, default_value = "", value_name = "WORD")]
    pub(crate) only: String,
    /// The build of Pantala to measure. [default: the one beside this program]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) pantala: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// How runs are made.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Rounds around all brokers.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: u32,
    /// Seconds of each run, unless it says --messages; 0 is what the scenario says.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// The processor that brokers run on.
    #[arg(long, default_value_t = 0, value_name = "PROCESSOR")]
    pub(crate) core: usize,
    /// The processor that the load comes from.
    #[arg(long, default_value_t = 1, value_name = "PROCESSOR")]
    pub(crate) load_core: usize,
    /// Keep the record of each run in this folder: a file for each scenario, a line of JSON for each run.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) json: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  pantala-load compare pantala mosquitto --run pairs --run 'fan-out -q 1'
  pantala-load compare ./before ./after --run pairs-8 --rounds 11
  pantala-load compare pantala 'floor=./floor-epoll {port}' --run fan-out

Exit codes: 0 the first broker lost, repeated and reordered nothing; 1 it did; 2 something could not be run.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_lines_are_sound() {
        CompareArgs::command().debug_assert();
        CanonicalArgs::command().debug_assert();
        assert!(CompareArgs::try_parse_from(["pantala-load compare", "pantala"]).is_err(), "one is not two");
        let args =
            CompareArgs::try_parse_from(["x", "a", "b", "--run", "pairs -q 1", "--run", "fan-out"]).unwrap();
        assert_eq!(
            (args.brokers, args.runs),
            (vec!["a".into(), "b".into()], vec!["pairs -q 1".into(), "fan-out".into()])
        );
    }
}
