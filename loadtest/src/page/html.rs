//! The page around the plots.

use super::axis::{duration, short};
use super::plot::{COLOURS, bars, percentiles, rates};
use super::series::{Group, Series};
use crate::compare::Spread;
use crate::record::{Messages, Record};
use std::fmt::Write;

/// Colours that are told apart by most people, in the light and in the dark; names stand beside them anyway.
const LIGHT: [&str; COLOURS] =
    ["#0b62d6", "#d1530a", "#138a5e", "#a0309b", "#8a6d00", "#c02040", "#00798c", "#5f5f5f"];
const DARK: [&str; COLOURS] =
    ["#6aa9ff", "#ff9a56", "#4fd1a1", "#e58be0", "#e0c04a", "#ff8096", "#4fd0e4", "#b9b9b9"];

const STYLE: &str = "\
:root { color-scheme: light dark; --text: #1b1d21; --soft: #5b616b; --rule: #d9dde3; --page: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --text: #e8eaed; --soft: #a3aab5; --rule: #3a3f47; --page: #16181c; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 84rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: .95rem; margin: 0 0 .25rem; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
td.wrong { font-weight: 700; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.5rem 2rem;
  margin-top: 1.25rem; }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; } svg text.value { fill: var(--text); }
.grid { stroke: var(--rule); stroke-width: 1; } .spread { stroke: var(--text); stroke-width: 2; }
polyline { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .5em; }
";

/// The whole page.
pub(super) fn page(title: &str, groups: &[Group]) -> String {
    let title = escape(title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>\n{STYLE}{}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n",
        colours()
    );
    groups.iter().for_each(|group| section(&mut out, group));
    out + "</body>\n</html>\n"
}

fn colours() -> String {
    let each = |colours: &[&str; COLOURS]| -> String {
        let rule = |(n, colour): (usize, &&str)| {
            format!(".l{n} {{ stroke: {colour}; }} .c{n} {{ fill: {colour}; background: {colour}; }}\n")
        };
        colours.iter().enumerate().map(rule).collect()
    };
    format!("{}@media (prefers-color-scheme: dark) {{\n{}}}\n", each(&LIGHT), each(&DARK))
}

fn section(out: &mut String, group: &Group) {
    let _ = writeln!(out, "<section>\n<h2>{}</h2>", escape(&group.name));
    let has = |kind: fn(&Record) -> bool| group.series.iter().any(|series| series.runs.iter().any(kind));
    let table = if has(|run| run.retained.is_some()) {
        retained_table(&group.series)
    } else if has(|run| run.idle.is_some()) {
        idle_table(&group.series)
    } else {
        messages_table(&group.series)
    };
    let _ = writeln!(out, "<div class=\"scroll\">{table}</div>\n<div class=\"plots\">");
    let all = &group.series;
    let plots = [
        ("Latency by percentile", percentiles(all)),
        ("Deliveries per second", rates(all)),
        ("CPU time of the broker for each delivery", bars(all, "CPU time for each delivery", duration, cpu)),
        (
            "CPU time of the broker to open a connection",
            bars(all, "CPU time for each connection", duration, opening),
        ),
        ("Memory of the broker for each connection", bars(all, "memory for each connection", bytes, memory)),
        (
            "CPU time of the broker for each replayed message",
            bars(all, "CPU time for each message", duration, replaying),
        ),
        (
            "Memory of the broker for each message",
            bars(all, "memory for each message", bytes, retained_memory),
        ),
    ];
    for (name, plot) in plots {
        if let Some(plot) = plot {
            let _ = writeln!(out, "<figure><h3>{name}</h3>{plot}</figure>");
        }
    }
    out.push_str("</div>\n</section>\n");
}

fn cpu(record: &Record) -> Option<f64> {
    record.messages.as_ref()?.broker_cpu_us_per_delivery
}

fn opening(record: &Record) -> Option<f64> {
    record.idle?.broker_cpu_us_per_connection
}

fn memory(record: &Record) -> Option<f64> {
    record.idle?.bytes_per_connection
}

fn replaying(record: &Record) -> Option<f64> {
    record.retained?.broker_cpu_us_per_replayed
}

fn retained_memory(record: &Record) -> Option<f64> {
    record.retained?.bytes_per_retained
}

fn retained_table(all: &[Series]) -> String {
    let mut out = head(&["broker", "runs", "stored/s", "replayed/s", "CPU each", "memory each", "wrong"]);
    for (number, series) in all.iter().enumerate() {
        let of =
            |get: fn(&Record) -> Option<f64>| Spread::over(&series.runs, get).map(|spread| spread.median);
        let cells = [
            series.runs.len().to_string(),
            shown(of(|record| Some(record.retained?.stored_per_s)), short),
            shown(of(|record| Some(record.retained?.replayed_per_s)), short),
            shown(of(replaying), duration),
            shown(of(retained_memory), bytes),
        ];
        row(&mut out, number, &series.name, &cells);
        let wrong: u64 = series.runs.iter().map(Record::faults).sum();
        let _ = writeln!(out, "<td>{wrong}</td></tr>");
    }
    out + "</tbody></table>"
}

fn bytes(count: f64) -> String {
    format!("{count:.0} bytes")
}

fn messages_table(all: &[Series]) -> String {
    let mut out = head(&[
        "broker",
        "runs",
        "delivered/s",
        "p50",
        "p99",
        "p99.9",
        "largest",
        "CPU each",
        "broker busy",
        "memory",
        "wrong",
    ]);
    for (number, series) in all.iter().enumerate() {
        let of = |get: fn(&Messages) -> Option<f64>| {
            Spread::of(series.messages().filter_map(get)).map(|spread| spread.median)
        };
        let wrong: u64 = series.messages().map(Messages::faults).sum();
        let memory = of(|messages| {
            messages.broker_resident_bytes.and_then(|bytes| u32::try_from(bytes >> 10).ok()).map(f64::from)
        });
        let cells = [
            series.runs.len().to_string(),
            shown(of(|messages| Some(messages.delivered_per_s)), short),
            shown(of(|messages| Some(messages.latency_p50_us)), duration),
            shown(of(|messages| Some(messages.latency_p99_us)), duration),
            shown(of(|messages| Some(messages.latency_p99_9_us)), duration),
            shown(of(|messages| Some(messages.latency_max_us)), duration),
            shown(of(|messages| messages.broker_cpu_us_per_delivery), |micros| {
                format!("{micros:.3} \u{b5}s")
            }),
            shown(of(|messages| messages.broker_cpu_cores), |cores| format!("{:.0} %", 100.0 * cores)),
            shown(memory, |kib| format!("{:.1} MiB", kib / 1_024.0)),
        ];
        row(&mut out, number, &series.name, &cells);
        let class = if wrong > 0 { " class=\"wrong\"" } else { "" };
        let _ = writeln!(out, "<td{class}>{wrong}</td></tr>");
    }
    out + "</tbody></table>"
}

fn idle_table(all: &[Series]) -> String {
    let mut out =
        head(&["broker", "runs", "opened in", "CPU to open each", "memory each", "busy while idle"]);
    for (number, series) in all.iter().enumerate() {
        let of =
            |get: fn(&Record) -> Option<f64>| Spread::over(&series.runs, get).map(|spread| spread.median);
        let cells = [
            series.runs.len().to_string(),
            shown(of(|record| Some(record.idle?.opening_s)), |seconds| duration(seconds * 1e6)),
            shown(of(opening), duration),
            shown(of(memory), bytes),
            shown(of(|record| record.idle?.broker_cpu_percent), |percent| format!("{percent:.2} %")),
        ];
        row(&mut out, number, &series.name, &cells);
        out.push_str("</tr>\n");
    }
    out + "</tbody></table>"
}

fn head(names: &[&str]) -> String {
    let names: String = names.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    format!("<table><thead><tr>{names}</tr></thead><tbody>\n")
}

/// A row without its end.
fn row(out: &mut String, number: usize, name: &str, cells: &[String]) {
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    let _ =
        write!(out, "<tr><td><span class=\"key c{}\"></span>{}</td>{cells}", number % COLOURS, escape(name));
}

fn shown(figure: Option<f64>, text: fn(f64) -> String) -> String {
    figure.map_or_else(|| "\u{2013}".to_owned(), text)
}

/// Text that means nothing to a browser.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Idle;

    #[test]
    fn a_page_loads_nothing_and_shows_every_run() {
        let messages =
            Messages { delivered_per_s: 1_500.0, lost: 2, latency_us: vec![(5.0, 9)], ..Messages::default() };
        let record = Record { messages: Some(messages), ..Record::default() };
        let idle = Idle {
            idle: 7,
            opening_s: 0.1,
            broker_cpu_us_per_connection: Some(40.0),
            bytes_per_connection: Some(900.0),
            broker_cpu_percent: None,
        };
        let series = |name: &str, record: Record| Series { name: name.to_owned(), runs: vec![record] };
        let groups = [
            Group { name: "pairs".to_owned(), series: vec![series("<script>", record)] },
            Group {
                name: "idle".to_owned(),
                series: vec![series("b", Record { idle: Some(idle), ..Record::default() })],
            },
        ];
        let page = page("A & B", &groups);
        for text in
            ["A &amp; B", "&lt;script&gt;", "1.5k", "<td class=\"wrong\">2</td>", "900 bytes", "40 \u{b5}s"]
        {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("<script") && !page.contains("http") && !page.contains("url("));
        assert_eq!(page.matches("<section>").count(), 2);
    }
}
