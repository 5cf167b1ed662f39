//! Two lines over time, as SVG.

use crate::samples::{SERIES, Sample};
use std::fmt::Write;

/// The area of the plot, and the space around it.
const WIDTH: u64 = 720;
const HEIGHT: u64 = 260;
const LEFT: u64 = 64;
const TOP: u64 = 24;
const BELOW: u64 = 44;
/// One for each of [`SERIES`]; they differ in lightness too.
const COLOURS: [&str; 2] = ["#1f5fa8", "#e08214"];
const LINES: u64 = 4;
const MIB: u64 = 1 << 20;

pub(crate) fn svg(samples: &[Sample]) -> String {
    let values = samples.iter().flat_map(|sample| SERIES.map(|(_, of)| of(sample)));
    // A whole number of MiB for each line of the grid.
    let step = values.max().unwrap_or_default().div_ceil(LINES * MIB).max(1);
    let (top, end) = (step * LINES * MIB, samples.last().map_or(1, |sample| sample.millis.max(1)));
    let (width, height) = (LEFT + WIDTH + 20, TOP + HEIGHT + BELOW);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for line in 0..=LINES {
        let (y, right) = (TOP + HEIGHT - HEIGHT * line / LINES, LEFT + WIDTH);
        let (mib, text_x, text_y) = (step * line, LEFT - 6, y + 4);
        writeln!(
            svg,
            "<path d=\"M{LEFT} {y}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{text_x}\" y=\"{text_y}\" text-anchor=\"end\">{mib} MiB</text>"
        )
        .expect("room");
    }
    for ((number, (name, of)), colour) in (0..).zip(SERIES).zip(COLOURS) {
        let points: Vec<String> = samples
            .iter()
            .map(|sample| {
                let (x, y) = (LEFT + WIDTH * sample.millis / end, TOP + HEIGHT - HEIGHT * of(sample) / top);
                format!("{x},{y}")
            })
            .collect();
        let (points, x, y) = (points.join(" "), LEFT + 90 * number, TOP + HEIGHT + 36);
        writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{name}</text>"
        )
        .expect("room");
    }
    let (x, y) = (LEFT + WIDTH, TOP + HEIGHT + 18);
    writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{} s</text>\n</svg>", end / 1_000)
        .expect("room");
    svg
}
