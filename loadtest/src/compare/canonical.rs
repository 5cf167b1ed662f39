//! The canonical workload: what the project promises of its speed, row by row, and whether it holds here and now.

use super::broker::{BrokerError, Known};
use super::options::{CanonicalArgs, Common};
use super::table::{self, Figure, Spread, cpu, memory, number, opening, p99, replay, retained_memory};
use super::{CompareError, about, around};
use crate::record::Record;

/// A row: a scenario, the figure that counts, and what is asked of it.
struct Row {
    title: &'static str,
    words: &'static str,
    figure: Figure,
    /// What the figure is in, and its decimal places.
    unit: &'static str,
    places: usize,
    /// Pantala's share of mosquitto's figure at most, as people write it.
    asked: (&'static str, f64),
    /// The same of the bare loop's.
    floor: Option<f64>,
    /// The 99th percentile is to be no worse as well.
    latency: bool,
}

const CPU: &str = "us";
const ROW: Row = Row {
    title: "",
    words: "",
    figure: cpu,
    unit: CPU,
    places: 3,
    asked: ("", f64::INFINITY),
    floor: None,
    latency: false,
};

const ROWS: [Row; 13] = [
    Row {
        title: "QoS 0, 1 to 100, 256 in flight",
        words: "fan-out",
        asked: ("1/40", 1.0 / 40.0),
        floor: Some(1.5),
        ..ROW
    },
    Row {
        title: "QoS 0, 50 to 50, 256 in flight",
        words: "pairs",
        asked: ("1/25", 1.0 / 25.0),
        floor: Some(2.0),
        ..ROW
    },
    Row {
        title: "QoS 0, 50 to 50, 8 in flight",
        words: "pairs-8",
        asked: ("1/5", 1.0 / 5.0),
        floor: Some(1.3),
        ..ROW
    },
    Row {
        title: "QoS 0, 10 pairs, 20,000 msg/s",
        words: "pairs-20000",
        asked: ("0.7", 0.7),
        floor: Some(1.2),
        latency: true,
        ..ROW
    },
    Row { title: "QoS 1, 50 to 50, 64 in flight", words: "pairs-qos1", asked: ("1/20", 1.0 / 20.0), ..ROW },
    Row { title: "QoS 2, 50 to 50, 64 in flight", words: "pairs-qos2", asked: ("1/25", 1.0 / 25.0), ..ROW },
    Row { title: "fanout-5-1000-5-250K", words: "fanout-5-1000-5-250K", asked: ("0.6", 0.6), ..ROW },
    Row { title: "100 publishers to 1 wildcard, QoS 0", words: "fan-in", asked: ("1/20", 1.0 / 20.0), ..ROW },
    Row { title: "shared, 1,000 to 5, QoS 1", words: "shared-qos1", asked: ("1/4", 1.0 / 4.0), ..ROW },
    Row {
        title: "connect, for each",
        words: "connect-storm",
        figure: opening,
        places: 1,
        asked: ("1.3", 1.3),
        ..ROW
    },
    Row {
        title: "idle subscribed connection",
        words: "idle --duration 1",
        figure: memory,
        unit: "bytes",
        places: 0,
        asked: ("1.0", 1.0),
        ..ROW
    },
    Row {
        title: "retained, wildcard replay",
        words: "retained",
        figure: replay,
        asked: ("1/5", 1.0 / 5.0),
        ..ROW
    },
    Row {
        title: "retained message of 64 bytes",
        words: "retained",
        figure: retained_memory,
        unit: "bytes",
        places: 0,
        asked: ("1.0", 1.0),
        ..ROW
    },
];

/// Pantala, and whom it is compared with.
const OTHERS: [&str; 2] = ["mosquitto", "rumqttd"];

/// Runs the rows and prints each as soon as it is done. True when Pantala lost, repeated and reordered nothing.
///
/// # Errors
/// A broker does not start, or a run could not be made.
pub(crate) fn canonical(args: &CanonicalArgs) -> Result<bool, CompareError> {
    let brokers = brokers(args)?;
    println!("{}\n", about(&args.common));
    let others: String =
        brokers.iter().skip(1).map(|broker| format!(" {0} | Pantala / {0} |", broker.name)).collect();
    println!(
        "| | Pantala |{others} asked | |\n|---|---:|{}---:|---|",
        "---:|---:|".repeat(brokers.len() - 1)
    );
    let mut well = true;
    for row in ROWS.iter().filter(|row| row.title.contains(&args.only) || row.words.contains(&args.only)) {
        let runs = around(&common(&args.common, row), &brokers, row.words)?;
        println!("{}", line(row, &brokers, &runs));
        well &= faults(&runs[0]) == 0;
    }
    Ok(well)
}

/// An idle connection's memory shows at once, and a scenario with a rate of its own needs no more time than others.
fn common(common: &Common, row: &Row) -> Common {
    match row.words.contains("--duration") {
        true => Common { seconds: 0.0, ..common.clone() },
        false => common.clone(),
    }
}

fn brokers(args: &CanonicalArgs) -> Result<Vec<Known>, CompareError> {
    let pantala = match &args.pantala {
        Some(program) => Known::build("Pantala", program)?,
        None => Known::find("pantala")?,
    };
    let mut brokers = vec![pantala];
    for name in OTHERS {
        match Known::find(name) {
            Ok(broker) => brokers.push(broker),
            Err(missing @ BrokerError::Missing { .. }) => {
                eprintln!("pantala-load: without {name}: {missing}")
            }
            Err(error) => return Err(error.into()),
        }
    }
    for name in &args.brokers {
        brokers.push(Known::find(name)?);
    }
    Ok(brokers)
}

fn faults(runs: &[Record]) -> u64 {
    runs.iter().map(Record::faults).sum()
}

/// One row: figures, ratios with their spread, what is asked, and what is not reached.
fn line(row: &Row, brokers: &[Known], runs: &[Vec<Record>]) -> String {
    let figure = |runs: &[Record]| Spread::over(runs, row.figure).map(|spread| spread.median);
    let mut out = format!("| {} | {} {} |", row.title, number(figure(&runs[0]), row.places), row.unit);
    let (mut missed, mut asked) = (Vec::new(), format!("{} of mosquitto's", row.asked.0));
    if let Some(floor) = row.floor {
        asked += &format!(", {floor} of the floor's");
    }
    for (broker, theirs) in brokers.iter().zip(runs).skip(1) {
        let ratio = Spread::ratio(&runs[0], theirs, row.figure);
        let shown = ratio.map_or_else(|| "-".to_owned(), |ratio| share(ratio.median));
        let wrong = match faults(theirs) {
            0 => String::new(),
            count => format!(" ({count} faults)"),
        };
        out += &format!(
            " {}{wrong} | {shown} ({}) |",
            number(figure(theirs), row.places),
            table::range(ratio, 3)
        );
        let bound = match broker.name.as_str() {
            "mosquitto" => Some(row.asked.1),
            "floor" => row.floor,
            // Ahead of everybody else, in every row.
            _ => Some(1.0),
        };
        if ratio.zip(bound).is_some_and(|(ratio, bound)| ratio.median > bound) {
            missed.push(format!("{}: more", broker.name));
        }
        let worse = |ratio: Spread| row.latency && broker.name == "mosquitto" && ratio.median > 1.0;
        if Spread::ratio(&runs[0], theirs, p99).is_some_and(worse) {
            missed.push(format!("{}: p99 worse", broker.name));
        }
    }
    match faults(&runs[0]) {
        0 => {}
        count => missed.push(format!("{count} faults")),
    }
    let verdict = if missed.is_empty() { "reached".to_owned() } else { missed.join(", ") };
    out + &format!(" {asked} | {verdict} |")
}

/// A ratio as people say it: a fraction when it is small.
fn share(ratio: f64) -> String {
    if ratio > 0.0 && ratio < 0.5 { format!("1/{:.1}", 1.0 / ratio) } else { format!("{ratio:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Messages;
    use clap::Parser;

    fn runs(cpu: f64, p99: f64, lost: u64) -> Vec<Record> {
        let messages = Messages {
            broker_cpu_us_per_delivery: Some(cpu),
            latency_p99_us: p99,
            lost,
            ..Messages::default()
        };
        vec![Record { messages: Some(messages), ..Record::default() }; 3]
    }

    fn verdict(row: &Row, all: &[Vec<Record>]) -> String {
        let names = ["mosquitto=sh {port}", "floor=sh {port}", "rumqttd=sh {port}"];
        let mut brokers = vec![Known::find("Pantala=sh {port}").unwrap()];
        brokers.extend(names.iter().map(|name| Known::find(name).unwrap()));
        let line = line(row, &brokers, all);
        line.trim_end_matches(" |").rsplit_once(" | ").unwrap().1.to_owned()
    }

    #[test]
    fn every_row_can_be_run() {
        for row in &ROWS {
            let words = format!("pantala-load run {} --duration=1", row.words);
            let words = words.split_whitespace().map(Into::into).collect();
            let expanded = crate::scenario::expand(words, u64::MAX).unwrap();
            assert!(crate::args::Args::try_parse_from(expanded).is_ok(), "{}", row.title);
        }
    }

    #[test]
    fn a_row_says_what_is_not_reached() {
        let row = &ROWS[3];
        let others = || vec![runs(10.0, 500.0, 0), runs(6.0, 0.0, 0), runs(8.0, 0.0, 0)];
        let with = |ours| verdict(row, &[vec![ours], others()].concat());
        assert_eq!(with(runs(6.9, 400.0, 0)), "reached");
        assert_eq!(with(runs(7.3, 600.0, 0)), "mosquitto: more, mosquitto: p99 worse, floor: more");
        assert_eq!(with(runs(8.1, 400.0, 1)), "mosquitto: more, floor: more, rumqttd: more, 3 faults");
    }

    #[test]
    fn small_ratios_are_fractions() {
        assert_eq!([0.025, 0.2, 0.7, 1.25].map(share), ["1/40.0", "1/5.0", "0.70", "1.25"]);
    }
}
