//! A figure, its limit, and how they are shown.

use comfy_table::Table;
use indicatif::HumanCount;
use serde::Serialize;
use wskclient_tests::timeline;

/// What a figure must be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
    /// It is only told.
    None,
}

/// What became of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Met,
    Missed,
    /// It cannot be said, as with too few samples.
    Unknown,
    /// There is no limit.
    None,
}

/// Samples without which CPU time is not judged.
pub const FEWEST_SAMPLES: u64 = 400;

/// One figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The driver's value as people read it.
    pub driver: String,
    /// What it is compared with, where there is something: whose, and the value.
    pub other: String,
    /// What is held against the limit.
    pub value: f64,
    /// Its unit; none for a ratio.
    pub unit: &'static str,
    /// What it must be.
    pub limit: Limit,
    /// Whether it is.
    pub verdict: Verdict,
}

impl Figure {
    /// A figure of the driver's alone.
    pub fn alone(name: impl Into<String>, value: f64, unit: &'static str, limit: Limit) -> Self {
        let driver = format!("{value:.2} {unit}").trim_end().to_owned();
        Self { name: name.into(), driver, other: String::new(), value, unit, limit, verdict: limit.holds(value) }
    }

    /// A ratio of the driver's value to tokio's.
    pub fn ratio(name: impl Into<String>, driver: f64, tokio: f64, show: impl Fn(f64) -> String, limit: Limit) -> Self {
        Self::ratio_to("tokio", name, driver, tokio, show, limit)
    }

    /// A ratio of the driver's value to that of something else.
    pub fn ratio_to(
        whose: &str,
        name: impl Into<String>,
        driver: f64,
        other: f64,
        show: impl Fn(f64) -> String,
        limit: Limit,
    ) -> Self {
        let value = driver / other;
        let (driver, other) = (show(driver), format!("{whose}: {}", show(other)));
        Self { name: name.into(), driver, other, value, unit: "", limit, verdict: limit.holds(value) }
    }

    /// The same figure, which comes from so many samples of the driver and of the other. With too few it is not judged.
    pub fn from_samples(mut self, driver: u64, other: u64) -> Self {
        self.driver += &format!(" ({} samples)", HumanCount(driver));
        self.other += &format!(" ({} samples)", HumanCount(other));
        if driver.min(other) < FEWEST_SAMPLES && self.verdict != Verdict::None {
            self.verdict = Verdict::Unknown;
        }
        self
    }

    /// The same figure, which cannot be judged.
    pub fn unknown(mut self, why: &str) -> Self {
        self.other += &format!(" ({why})");
        self.verdict = Verdict::Unknown;
        self
    }

    fn cells(&self) -> [String; 6] {
        let value = if !self.other.is_empty() { format!("{:.2}", self.value) } else { String::new() };
        let verdict = match self.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Unknown => "UNKNOWN",
            Verdict::None => "",
        };
        [self.name.clone(), self.driver.clone(), self.other.clone(), value, self.limit.describe(self.unit), verdict.to_owned()]
    }
}

impl Limit {
    fn holds(self, value: f64) -> Verdict {
        let holds = match self {
            Limit::AtLeast(limit) => value >= limit,
            Limit::AtMost(limit) => value <= limit,
            Limit::None => return Verdict::None,
        };
        if holds { Verdict::Met } else { Verdict::Missed }
    }

    fn describe(self, unit: &str) -> String {
        let text = match self {
            Limit::AtLeast(limit) => format!("at least {limit} {unit}"),
            Limit::AtMost(limit) => format!("at most {limit} {unit}"),
            Limit::None => String::new(),
        };
        text.trim_end().to_owned()
    }
}

/// All figures, one a row.
pub fn table(figures: &[Figure]) -> Table {
    let mut table = timeline::table(&["figure", "driver", "compared with", "ratio", "limit", ""], 0);
    for figure in figures {
        table.add_row(figure.cells());
    }
    table
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The smallest value.
pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().reduce(f64::min).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_limit_is_noticed() {
        let show = |value: f64| value.to_string();
        assert_eq!(Figure::ratio("", 6.0, 10.0, show, Limit::AtLeast(0.6)).verdict, Verdict::Met);
        assert_eq!(Figure::ratio("", 5.9, 10.0, show, Limit::AtLeast(0.6)).verdict, Verdict::Missed);
        assert_eq!(Figure::ratio("", 0.1, 10.0, show, Limit::None).verdict, Verdict::None);
        assert_eq!(Figure::alone("", 100.1, "ms", Limit::AtMost(100.0)).verdict, Verdict::Missed);
        assert_eq!(Figure::alone("", f64::NAN, "ms", Limit::AtMost(100.0)).verdict, Verdict::Missed);
    }

    #[test]
    fn few_samples_are_not_judged() {
        let figure = |value, limit| Figure::ratio_to("C", "", value, 1.0, |value| value.to_string(), limit);
        let limit = Limit::AtMost(1.1);
        assert_eq!(figure(1.0, limit).from_samples(FEWEST_SAMPLES, 9999).verdict, Verdict::Met);
        assert_eq!(figure(1.2, limit).from_samples(FEWEST_SAMPLES, 9999).verdict, Verdict::Missed);
        assert_eq!(figure(1.0, limit).from_samples(FEWEST_SAMPLES - 1, 9999).verdict, Verdict::Unknown);
        assert_eq!(figure(1.0, limit).from_samples(9999, FEWEST_SAMPLES - 1).verdict, Verdict::Unknown);
        assert_eq!(figure(9.0, Limit::None).from_samples(1, 1).verdict, Verdict::None);
        assert_eq!(figure(1.0, limit).from_samples(1234, 400).other, "C: 1 (400 samples)");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert!(median(Vec::new()).is_nan());
        assert_eq!(least(&[9.0, 1.0, 5.0]), 1.0);
    }
}
