//! One page that shows runs: rates, latencies, CPU time. It is a file of its own that loads nothing.

mod axis;
mod html;
mod plot;
mod series;

use self::series::{Group, group};
use crate::record::{Record, SCHEMA};
use clap::Parser;
use std::io;
use std::path::{Path, PathBuf};

/// Writes a page that shows runs: latencies by percentile, rates over time, CPU time for each message.
///
/// Records are what `pantala-load --json` prints and what `compare --json` and `canonical --json` keep: a file has one or,
/// line by line, many. Runs of one scenario are shown together, and those of one broker in one colour.
#[derive(Clone, Debug, Parser)]
#[command(name = "pantala-load report", bin_name = "pantala-load report")]
pub(crate) struct PageArgs {
    /// Files with records.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The page to write.
    #[arg(long, short, default_value = "report.html", value_name = "FILE")]
    output: PathBuf,
    /// Its title.
    #[arg(long, default_value = "Runs of pantala-load")]
    title: String,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, io::Error),
    #[error("{path}, line {1}: no record of a run: {2}", path = .0.display())]
    Line(PathBuf, usize, serde_json::Error),
    #[error(
        "{path}, line {1}: the record has version {2} and this program knows {SCHEMA}: use the one that made it",
        path = .0.display()
    )]
    Version(PathBuf, usize, u32),
    #[error("{path}: no records", path = .0.display())]
    Nothing(PathBuf),
}

/// Writes the page.
///
/// # Errors
/// A file cannot be read or written, or is no record.
pub(crate) fn report(args: &PageArgs) -> Result<(), PageError> {
    let mut records = Vec::new();
    for file in &args.files {
        records.extend(read(file)?);
    }
    let groups: Vec<Group> = group(records);
    let page = html::page(&args.title, &groups);
    std::fs::write(&args.output, page).map_err(|error| PageError::File(args.output.clone(), error))
}

fn read(file: &Path) -> Result<Vec<Record>, PageError> {
    let text = std::fs::read_to_string(file).map_err(|error| PageError::File(file.to_owned(), error))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let record = |(number, line): (usize, &str)| {
        let record: Record =
            serde_json::from_str(line).map_err(|error| PageError::Line(file.to_owned(), number, error))?;
        match record.schema {
            SCHEMA => Ok(record),
            other => Err(PageError::Version(file.to_owned(), number, other)),
        }
    };
    let records: Vec<_> = lines.map(record).collect::<Result<_, _>>()?;
    if records.is_empty() {
        return Err(PageError::Nothing(file.to_owned()));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Record>, PageError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs.jsonl");
        std::fs::write(&file, text).unwrap();
        read(&file)
    }

    #[test]
    fn records_are_read_line_by_line() {
        let records =
            read_text("{\"schema\":1,\"qos\":1}\n\n{\"schema\":1,\"idle\":5,\"opening_s\":1}\n").unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].settings.qos, records[1].idle.unwrap().idle), (1, 5));
    }

    #[test]
    fn what_is_no_record_is_told_with_its_line() {
        let error = |text| read_text(text).unwrap_err().to_string();
        assert!(error("{\"schema\":1}\nnonsense").contains("runs.jsonl, line 2: no record"));
        assert!(error("{\"schema\":7}").contains("line 1: the record has version 7"));
        assert!(error("\n").contains("no records"));
    }
}
