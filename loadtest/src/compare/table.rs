//! Medians, ratios and their spread, as tables in Markdown.

use crate::record::{Idle, Messages, Record, Retained};
use std::fmt::Write;

/// A figure of one run; none where it was not measured.
pub(crate) type Figure = fn(&Record) -> Option<f64>;

/// The smallest, the median and the largest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = figures.filter(|figure| figure.is_finite()).collect();
        all.sort_by(f64::total_cmp);
        let middle = all.len() / 2;
        let upper = *all.get(middle)?;
        let median = if all.len() % 2 == 1 { upper } else { f64::midpoint(all[middle - 1], upper) };
        Some(Self { least: all[0], median, most: all[all.len() - 1] })
    }

    /// Of a broker's runs.
    pub(crate) fn over(runs: &[Record], figure: Figure) -> Option<Self> {
        Self::of(runs.iter().filter_map(figure))
    }

    /// How often one broker's figure goes into another's, round by round.
    pub(super) fn ratio(runs: &[Record], to: &[Record], figure: Figure) -> Option<Self> {
        Self::of(runs.iter().zip(to).filter_map(|(one, other)| Some(figure(one)? / figure(other)?)))
    }
}

pub(super) fn cpu(record: &Record) -> Option<f64> {
    record.messages.as_ref()?.broker_cpu_us_per_delivery
}

pub(super) fn p99(record: &Record) -> Option<f64> {
    Some(record.messages.as_ref()?.latency_p99_us)
}

pub(super) fn memory(record: &Record) -> Option<f64> {
    record.idle?.bytes_per_connection
}

pub(super) fn opening(record: &Record) -> Option<f64> {
    record.idle?.broker_cpu_us_per_connection
}

/// Microseconds for each retained message that is replayed.
pub(super) fn replay(record: &Record) -> Option<f64> {
    Some(1e6 / record.retained?.replayed_per_s)
}

pub(super) fn retained_memory(record: &Record) -> Option<f64> {
    record.retained?.bytes_per_retained
}

/// All brokers in one scenario; the first is what ratios are to.
pub(super) fn table(names: &[String], runs: &[Vec<Record>]) -> String {
    let has = |kind: fn(&Record) -> bool| runs.iter().flatten().any(kind);
    if has(|record| record.retained.is_some()) {
        retained_table(names, runs)
    } else if has(|record| record.idle.is_some()) {
        idle_table(names, runs)
    } else {
        messages_table(names, runs)
    }
}

fn messages_table(names: &[String], runs: &[Vec<Record>]) -> String {
    let mut out = String::from(
        "| | CPU us per delivery | (from - to) | times the first's | (from - to) | deliveries/s | p50 us | p99 us | broker busy | load busy | faults |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (name, records) in names.iter().zip(runs) {
        let of = |get: fn(&Messages) -> Option<f64>| {
            Spread::of(records.iter().filter_map(|record| get(record.messages.as_ref()?)))
                .map(|spread| spread.median)
        };
        let cpu_spread = Spread::over(records, cpu);
        let ratio = Spread::ratio(records, &runs[0], cpu);
        let faults: u64 =
            records.iter().filter_map(|record| record.messages.as_ref()).map(Messages::faults).sum();
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {faults} |",
            number(cpu_spread.map(|spread| spread.median), 3),
            range(cpu_spread, 3),
            number(ratio.map(|spread| spread.median), 2),
            range(ratio, 2),
            number(of(|messages| Some(messages.delivered_per_s)), 0),
            number(of(|messages| Some(messages.latency_p50_us)), 0),
            number(of(|messages| Some(messages.latency_p99_us)), 0),
            percent(of(|messages| messages.broker_cpu_cores)),
            percent(of(|messages| messages.own_cpu_cores)),
        );
    }
    out
}

fn idle_table(names: &[String], runs: &[Vec<Record>]) -> String {
    let mut out = String::from(
        "| | bytes each | (from - to) | CPU us to open each | (from - to) | CPU % of a core |\n|---|---:|---:|---:|---:|---:|\n",
    );
    for (name, records) in names.iter().zip(runs) {
        let (bytes, micros) = (Spread::over(records, memory), Spread::over(records, opening));
        let busy = |idle: Idle| idle.broker_cpu_percent;
        let busy = Spread::of(records.iter().filter_map(|record| busy(record.idle?)));
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} |",
            number(bytes.map(|spread| spread.median), 0),
            range(bytes, 0),
            number(micros.map(|spread| spread.median), 1),
            range(micros, 1),
            number(busy.map(|spread| spread.median), 3),
        );
    }
    out
}

fn retained_table(names: &[String], runs: &[Vec<Record>]) -> String {
    let mut out = String::from(
        "| | replayed/s | (from - to) | CPU us each | stored/s | CPU us each | bytes each | faults |\n|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (name, records) in names.iter().zip(runs) {
        let of = |get: fn(&Retained) -> Option<f64>| {
            Spread::of(records.iter().filter_map(|record| get(record.retained.as_ref()?)))
        };
        let median = |get| of(get).map(|spread| spread.median);
        let rate = of(|retained| Some(retained.replayed_per_s));
        let faults: u64 = records.iter().map(Record::faults).sum();
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} | {} | {faults} |",
            number(rate.map(|spread| spread.median), 0),
            range(rate, 0),
            number(median(|retained| retained.broker_cpu_us_per_replayed), 3),
            number(median(|retained| Some(retained.stored_per_s)), 0),
            number(median(|retained| retained.broker_cpu_us_per_stored), 3),
            number(median(|retained| retained.bytes_per_retained), 0),
        );
    }
    out
}

/// A number with so many places, or a dash.
pub(super) fn number(figure: Option<f64>, places: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.places$}"))
}

pub(super) fn range(spread: Option<Spread>, places: usize) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |Spread { least, most, .. }| format!("{least:.places$} - {most:.places$}"),
    )
}

fn percent(cores: Option<f64>) -> String {
    cores.map_or_else(|| "-".to_owned(), |cores| format!("{:.0} %", 100.0 * cores))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(cpu: &[f64]) -> Vec<Record> {
        let record = |cpu: &f64| Record {
            messages: Some(Messages {
                broker_cpu_us_per_delivery: Some(*cpu),
                broker_cpu_cores: Some(0.5),
                delivered_per_s: 1e6 / cpu,
                lost: 1,
                ..Messages::default()
            }),
            ..Record::default()
        };
        cpu.iter().map(record).collect()
    }

    #[test]
    fn the_median_lies_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()).unwrap().median, 2.0);
        let four = Spread::of([4.0, 1.0, 2.0, 9.0].into_iter()).unwrap();
        assert_eq!(four, Spread { least: 1.0, median: 3.0, most: 9.0 });
        assert_eq!(Spread::of([f64::NAN].into_iter()), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let (one, other) = (runs(&[1.0, 10.0, 2.0]), runs(&[2.0, 20.0, 8.0]));
        let ratio = Spread::ratio(&other, &one, cpu).unwrap();
        assert_eq!(ratio, Spread { least: 2.0, median: 2.0, most: 4.0 });
    }

    #[test]
    fn people_read_every_broker_in_a_line_of_its_own() {
        let names = ["one".to_owned(), "other".to_owned()];
        let table = table(&names, &[runs(&[1.0, 1.0]), runs(&[2.0, 4.0])]);
        let lines: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            lines[0],
            "| one | 1.000 | 1.000 - 1.000 | 1.00 | 1.00 - 1.00 | 1000000 | 0 | 0 | 50 % | - | 2 |"
        );
        assert!(
            lines[1].starts_with("| other | 3.000 | 2.000 - 4.000 | 3.00 | 2.00 - 4.00 |"),
            "{}",
            lines[1]
        );
        let idle = Idle {
            idle: 10,
            opening_s: 1.0,
            broker_cpu_us_per_connection: Some(40.0),
            bytes_per_connection: Some(1_000.0),
            broker_cpu_percent: None,
        };
        let record = Record { idle: Some(idle), ..Record::default() };
        let table = super::table(&names[..1], &[vec![record]]);
        assert!(table.ends_with("| one | 1000 | 1000 - 1000 | 40.0 | 40.0 - 40.0 | - |\n"), "{table}");
    }
}
