//! Plots as SVG. Colours come from the page, which knows whether it is light or dark.

use super::axis::{Axis, duration, short};
use super::html::escape;
use super::series::Series;
use crate::compare::{Figure, Spread};
use std::fmt::Write;

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 260.0;
/// Left of a plot, for the marks of its vertical axis, and below it, for those of the other.
const LEFT: f64 = 64.0;
const BELOW: f64 = 34.0;
const ABOVE: f64 = 12.0;
const RIGHT: f64 = 34.0;
/// Percentiles are shown up to 99.9999 at most.
const NINES_MAX: f64 = 6.0;
/// The height of a bar with the gap below it.
const BAR: f64 = 30.0;
const GAP: f64 = 8.0;
/// Room for the value behind the longest bar.
const VALUE: f64 = 90.0;

/// How many colours there are; further series begin anew.
pub(super) const COLOURS: usize = 8;

/// Latencies by percentile, both logarithmic: what nine of ten, ninety-nine of a hundred, and so on, were served in.
pub(super) fn percentiles(all: &[Series]) -> Option<String> {
    let curves: Vec<_> = all.iter().map(Series::latencies).collect();
    let values = || curves.iter().flatten().map(|(value, _)| *value);
    let (least, most) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
    let total = |curve: &[(f64, u64)]| curve.iter().map(|(_, count)| count).sum::<u64>();
    let largest = curves.iter().map(|curve| total(curve)).max()?;
    let nines = float(largest).log10().ceil().clamp(1.0, NINES_MAX);
    let (across, up) = (WIDTH - LEFT - RIGHT, HEIGHT - ABOVE - BELOW);
    let y = Axis::log(least, most, up);
    let x = |share_above: f64| (-share_above.max(1e-12).log10()).clamp(0.0, nines) / nines * across;
    let mut out = open("latency by percentile", HEIGHT);
    grid(&mut out, &y, duration);
    for nine in (0..=6).map(f64::from).take_while(|nine| *nine <= nines) {
        let below = 100.0 * (1.0 - 10f64.powf(-nine));
        let label = if nine == 0.0 { "0 %".to_owned() } else { format!("{} %", (below * 1e6).round() / 1e6) };
        mark(&mut out, nine / nines * across, &label);
    }
    for ((number, series), curve) in all.iter().enumerate().zip(&curves) {
        let (count, mut below, mut points) = (float(total(curve)), 0, Points::default());
        for (value, times) in curve {
            let height = up - y.place(*value);
            points.to(x(1.0 - float(below) / count), height);
            below += times;
            points.to(x(1.0 - float(below) / count), height);
        }
        line(&mut out, number, &series.name, &points.0);
    }
    Some(out + "</g></svg>")
}

/// Deliveries per second over time, a line for each run.
pub(super) fn rates(all: &[Series]) -> Option<String> {
    let rate = |before: f64, at: f64, delivered: u64| float(delivered) / (at - before).max(1e-6);
    let lines: Vec<(usize, Vec<(f64, f64)>)> = all
        .iter()
        .enumerate()
        .flat_map(|(number, series)| series.messages().map(move |messages| (number, &messages.samples)))
        .filter(|(_, samples)| samples.len() > 1)
        .map(|(number, samples)| {
            let before = std::iter::once(0.0).chain(samples.iter().map(|sample| sample.at_s));
            let points = samples
                .iter()
                .zip(before)
                .map(|(now, before)| (now.at_s, rate(before, now.at_s, now.delivered)));
            (number, points.collect())
        })
        .collect();
    let points = || lines.iter().flat_map(|(_, points)| points);
    let last = points().map(|(at, _)| *at).reduce(f64::max)?;
    let most = points().map(|(_, rate)| *rate).reduce(f64::max)?;
    let (x, y) = (Axis::linear(last, WIDTH - LEFT - RIGHT), Axis::linear(most, HEIGHT - ABOVE - BELOW));
    let mut out = open("deliveries per second over time", HEIGHT);
    grid(&mut out, &y, short);
    for at in x.marks() {
        mark(&mut out, x.place(at), &format!("{} s", short(at)));
    }
    for (number, points) in &lines {
        let mut drawn = Points::default();
        points.iter().for_each(|(at, rate)| drawn.to(x.place(*at), y.length - y.place(*rate)));
        line(&mut out, *number, &all[*number].name, &drawn.0);
    }
    Some(out + "</g></svg>")
}

/// A figure of each series as a bar: the median of its runs, and a line from the smallest to the largest.
pub(super) fn bars(all: &[Series], what: &str, text: fn(f64) -> String, figure: Figure) -> Option<String> {
    let spreads: Vec<_> = all.iter().map(|series| Spread::over(&series.runs, figure)).collect();
    let most = spreads.iter().flatten().map(|spread| spread.most).reduce(f64::max)?;
    let height = BAR * float(spreads.len() as u64) + ABOVE + BELOW;
    let x = Axis::linear(most, WIDTH - LEFT - RIGHT - VALUE);
    let mut out = open(what, height);
    for at in x.marks() {
        let place = x.place(at);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"0\" y2=\"{:.1}\"/>\
             <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            height - ABOVE - BELOW,
            height - ABOVE - BELOW + 20.0,
            short(at)
        );
    }
    for (number, (series, spread)) in all.iter().zip(&spreads).enumerate() {
        let Some(spread) = spread else { continue };
        let (top, name) = (BAR * float(number as u64), escape(&series.name));
        let (median, least, most) = (x.place(spread.median), x.place(spread.least), x.place(spread.most));
        let (colour, width, height, middle) =
            (number % COLOURS, median.max(1.0), BAR - GAP, top + (BAR - GAP) / 2.0);
        let (behind, below, value) = (most + 8.0, middle + 4.0, text(spread.median));
        let _ = write!(
            out,
            "<rect class=\"c{colour}\" x=\"0\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">\
             <title>{name}</title></rect>\
             <line class=\"spread\" x1=\"{least:.1}\" x2=\"{most:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
             <text x=\"{behind:.1}\" y=\"{below:.1}\" class=\"value\">{value}</text>"
        );
    }
    Some(out + "</g></svg>")
}

#[expect(clippy::cast_precision_loss, reason = "for a picture")]
fn float(count: u64) -> f64 {
    count as f64
}

fn open(what: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{}\"><g transform=\"translate({LEFT} {ABOVE})\">",
        escape(what)
    )
}

/// The lines and marks of a vertical axis.
fn grid(out: &mut String, y: &Axis, label: fn(f64) -> String) {
    for value in y.marks() {
        let place = y.length - y.place(value);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"0\" x2=\"{:.1}\" y1=\"{place:.1}\" y2=\"{place:.1}\"/>\
             <text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - LEFT - RIGHT,
            place + 4.0,
            label(value)
        );
    }
}

/// A mark of the horizontal axis.
fn mark(out: &mut String, place: f64, label: &str) {
    let (bottom, text) = (HEIGHT - ABOVE - BELOW, HEIGHT - ABOVE - BELOW + 20.0);
    let _ = write!(
        out,
        "<line class=\"grid\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"/>\
         <text x=\"{place:.1}\" y=\"{text:.1}\" text-anchor=\"middle\">{label}</text>",
        bottom + 5.0
    );
}

fn line(out: &mut String, number: usize, name: &str, points: &[(f64, f64)]) {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let name = escape(name);
    let colour = number % COLOURS;
    let _ = write!(
        out,
        "<polyline class=\"l{colour}\" points=\"{}\"><title>{name}</title></polyline>",
        points.join(" ")
    );
}

/// Points of a line, without those that lie where the one before does.
#[derive(Default)]
struct Points(Vec<(f64, f64)>);

impl Points {
    fn to(&mut self, x: f64, y: f64) {
        let near = |(last_x, last_y): &(f64, f64)| (x - last_x).abs() < 0.5 && (y - last_y).abs() < 0.5;
        if !self.0.last().is_some_and(near) {
            self.0.push((x, y));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Messages, Record, Sample};

    fn series(latency_us: Vec<(f64, u64)>) -> Series {
        let samples = (1..4).map(|s| Sample {
            at_s: f64::from(s),
            published: 1,
            delivered: 1_000,
            broker_cpu_us: None,
        });
        let messages = Messages {
            latency_us,
            samples: samples.collect(),
            broker_cpu_us_per_delivery: Some(0.5),
            ..Messages::default()
        };
        Series {
            name: "a <b>".to_owned(),
            runs: vec![Record { messages: Some(messages), ..Record::default() }],
        }
    }

    #[test]
    fn a_curve_goes_up_with_the_percentile() {
        let svg = percentiles(&[series(vec![(10.0, 90), (100.0, 9), (1_000.0, 1)])]).unwrap();
        let points = svg.split_once("points=\"").unwrap().1.split_once('"').unwrap().0;
        let points: Vec<(f64, f64)> = points
            .split(' ')
            .map(|point| {
                point.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).unwrap()
            })
            .collect();
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 >= b.1), "{points:?}");
        // 90 of 100 are at the lowest value: half of the way from 0 % to 99 %.
        assert!((points[1].0 - (WIDTH - LEFT - RIGHT) / 2.0).abs() < 1.0, "{points:?}");
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("99 %"));
    }

    #[test]
    fn what_was_not_measured_has_no_plot() {
        let nothing = Series { name: "x".to_owned(), runs: vec![Record::default()] };
        assert!(percentiles(&[]).is_none() && rates(std::slice::from_ref(&nothing)).is_none());
        assert!(
            bars(&[nothing], "", short, |record| record.messages.as_ref()?.broker_cpu_us_per_delivery)
                .is_none()
        );
    }

    #[test]
    fn rates_and_bars_have_marks_and_values() {
        let all = [series(vec![(1.0, 1)])];
        assert!(rates(&all).unwrap().contains(">1k<"));
        let bars = bars(&all, "CPU", duration, |record| record.messages.as_ref()?.broker_cpu_us_per_delivery)
            .unwrap();
        assert!(bars.contains("0.5 \u{b5}s") && bars.contains("class=\"c0\""));
    }
}
