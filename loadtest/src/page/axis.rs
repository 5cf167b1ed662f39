//! Axes of plots: where a value goes, and where the marks are.

/// From a value to its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    /// In pixels.
    pub(super) length: f64,
}

impl Axis {
    /// From 0 to at least `most`.
    pub(super) fn linear(most: f64, length: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = step(most);
        Self { low: 0.0, high: (most / step).ceil() * step, log: false, length }
    }

    /// By powers of ten that hold everything from `least` to `most`, which are above 0.
    pub(super) fn log(least: f64, most: f64, length: f64) -> Self {
        let (least, most) = (least.max(1e-3), most.max(1e-3));
        let (low, high) = (least.log10().floor(), most.log10().ceil());
        Self { low, high: if high > low { high } else { low + 1.0 }, log: true, length }
    }

    /// Where a value goes; what lies outside goes to the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = if self.log { value.max(1e-9).log10() } else { value };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0) * self.length
    }

    /// Values with a mark.
    pub(super) fn marks(&self) -> Vec<f64> {
        let step = if self.log { 1.0 } else { step(self.high) };
        let count = ((self.high - self.low) / step).round();
        let at = |n: i32| self.low + f64::from(n) * step;
        let marks = (0..).map(at).take_while(|at| *at <= self.low + (count + 0.5) * step);
        if self.log { marks.map(|power| 10f64.powf(power)).collect() } else { marks.collect() }
    }
}

/// What lies between two marks: 1, 2 or 5 of something, so that there are about five.
fn step(most: f64) -> f64 {
    let power = 10f64.powf((most / 5.0).log10().floor());
    let times = most / 5.0 / power;
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|round| times <= *round + 1e-9);
    round.unwrap_or(10.0) * power
}

/// A number in as few signs as can be read: 1,500,000 is 1.5M.
pub(super) fn short(number: f64) -> String {
    let (number, unit) = match number.abs() {
        size if size >= 1e9 => (number / 1e9, "G"),
        size if size >= 1e6 => (number / 1e6, "M"),
        size if size >= 1e3 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let places = if number.abs() >= 100.0 || number == number.trunc() {
        0
    } else if number.abs() >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{number:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// Microseconds as people say them.
pub(super) fn duration(micros: f64) -> String {
    match micros {
        micros if micros >= 1e6 => format!("{} s", short(micros / 1e6)),
        micros if micros >= 1e3 => format!("{} ms", short(micros / 1e3)),
        micros => format!("{} \u{b5}s", short(micros)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_0_and_has_round_marks() {
        let axis = Axis::linear(1_730_000.0, 100.0);
        assert_eq!(axis.marks(), [0.0, 5e5, 1e6, 1.5e6, 2e6]);
        assert_eq!((axis.place(0.0), axis.place(1e6), axis.place(9e9)), (0.0, 50.0, 100.0));
        assert_eq!(
            Axis::linear(0.0, 1.0).marks().first(),
            Some(&0.0),
            "nothing but zeros has an axis as well"
        );
    }

    #[test]
    fn a_logarithmic_axis_has_whole_powers_of_ten() {
        let axis = Axis::log(25.0, 4_000.0, 300.0);
        assert_eq!(
            axis.marks().iter().map(|mark| mark.round()).collect::<Vec<_>>(),
            [10.0, 100.0, 1_000.0, 10_000.0]
        );
        assert!((axis.place(100.0) - 100.0).abs() < 1e-9);
        assert_eq!(Axis::log(10.0, 10.0, 1.0).marks().len(), 2);
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 0.25, 17.0, 999.0, 1_500.0, 20_000.0, 1_730_000.0].map(short);
        assert_eq!(all, ["0", "0.25", "17", "999", "1.5k", "20k", "1.73M"]);
        assert_eq!([12.0, 1_500.0, 2e6].map(duration), ["12 \u{b5}s", "1.5 ms", "2 s"]);
    }
}
