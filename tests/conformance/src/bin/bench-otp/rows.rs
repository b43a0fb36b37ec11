//! The table: what must be seen, and what was.

use crate::figures::Figures;

/// How a figure is shown.
#[derive(Clone, Copy)]
enum Unit {
    Time,
    Rate,
    Bytes,
    Times,
}

/// What a figure must be.
enum Bound {
    /// At most so many times another one.
    AtMost(f64, &'static str),
    /// At least so many times another one.
    AtLeast(f64, &'static str),
    /// At most this.
    Limit(f64),
}

struct Row {
    measure: &'static str,
    target: &'static str,
    bare: &'static str,
    otp: &'static str,
    ours: &'static str,
    unit: Unit,
    bounds: &'static [Bound],
}

macro_rules! row {
    ($measure:literal, $target:literal, $bare:literal, $otp:literal, $ours:literal, $unit:ident, $bounds:expr) => {
        Row {
            measure: $measure,
            target: $target,
            bare: $bare,
            otp: $otp,
            ours: $ours,
            unit: Unit::$unit,
            bounds: &$bounds,
        }
    };
}

use Bound::{AtLeast, AtMost, Limit};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row!("restart p50, current-thread", "< OTP", "restart current bare", "restart otp",
        "restart current ours", Time, [AtMost(1.0, "restart otp")]),
    row!("restart p50, 2 workers", "< OTP", "restart workers bare", "restart otp",
        "restart workers ours", Time, [AtMost(1.0, "restart otp")]),
    row!("one_for_all × 10 p50, current-thread", "≤ OTP", "group current bare", "group otp",
        "group current ours", Time, [AtMost(1.0, "group otp")]),
    row!("one_for_all × 10 p50, 2 workers", "≤ 1.5 × OTP", "group workers bare", "group otp",
        "group workers ours", Time, [AtMost(1.5, "group otp")]),
    row!("restarts/s, empty window, current-thread", "", "", "window_empty otp", "window_empty current ours", Rate, []),
    row!("restarts/s, 10,000 in the window, current-thread", "≥ 0.9 × empty window", "", "window_full otp",
        "window_full current ours", Rate, [AtLeast(0.9, "window_empty current ours")]),
    row!("restarts/s, empty window, 2 workers", "", "", "window_empty otp", "window_empty workers ours", Rate, []),
    row!("restarts/s, 10,000 in the window, 2 workers", "≥ 0.9 × empty window", "", "window_full otp",
        "window_full workers ours", Rate, [AtLeast(0.9, "window_empty workers ours")]),
    row!("start_child/s, 100,000 children, current-thread", "≥ 0.5 × bare", "start_child current bare", "start_child otp",
        "start_child current ours", Rate, [AtLeast(0.5, "start_child current bare")]),
    row!("start_child/s, 100,000 children, 2 workers", "≥ 0.5 × bare", "start_child workers bare", "start_child otp",
        "start_child workers ours", Rate, [AtLeast(0.5, "start_child workers bare")]),
    row!("restart p50 among 10, current-thread", "", "", "siblings_10 otp", "siblings_10 current ours", Time, []),
    row!("restart p50 among 100,000, current-thread", "≤ 2 × among 10", "", "siblings_100000 otp",
        "siblings_100000 current ours", Time, [AtMost(2.0, "siblings_10 current ours")]),
    row!("restart p50 among 10, 2 workers", "", "", "siblings_10 otp", "siblings_10 workers ours", Time, []),
    row!("restart p50 among 100,000, 2 workers", "≤ 2 × among 10", "", "siblings_100000 otp",
        "siblings_100000 workers ours", Time, [AtMost(2.0, "siblings_10 workers ours")]),
    row!("shutdown of 100,000, current-thread", "≤ 2 s", "", "shutdown otp", "shutdown current ours", Time, [Limit(2e9)]),
    row!("shutdown of 100,000, 2 workers", "≤ 2 s", "", "shutdown otp", "shutdown workers ours", Time, [Limit(2e9)]),
    row!("… for 10 × the children, current-thread", "", "", "", "shutdown_linear current ours", Times, []),
    row!("… for 10 × the children, 2 workers", "", "", "", "shutdown_linear workers ours", Times, []),
    row!("memory of an idle child", "≤ 1.3 × bare", "memory current bare", "memory otp", "memory current ours", Bytes,
        [AtMost(1.3, "memory current bare")]),
    row!("lookup by name, 1 thread", "≤ ractor's", "lookup_1 bare", "lookup_1 otp", "lookup_1 ours", Time,
        [AtMost(1.0, "lookup_1 bare")]),
    row!("lookup by name, 2 threads", "≤ ractor's", "lookup_2 bare", "lookup_2 otp", "lookup_2 ours", Time,
        [AtMost(1.0, "lookup_2 bare")]),
];

/// Prints the rows of what was measured, as a table in Markdown.
pub(crate) fn print(figures: &Figures) {
    println!("| measure | target | bare ractor | OTP | ours | ratio | |");
    println!("|---|---|--:|--:|--:|--:|---|");
    for row in ROWS {
        let Some(ours) = figures.median(row.ours) else { continue };
        let show =
            |name: &str| figures.median(name).map_or_else(|| "–".to_owned(), |value| row.unit.show(value));
        let (ratio, verdict) = judge(row, ours, figures);
        println!(
            "| {} | {} | {} | {} | {} | {ratio} | {verdict} |",
            row.measure,
            row.target,
            show(row.bare),
            show(row.otp),
            row.unit.show(ours)
        );
    }
}

/// The ratio to what the first bound compares with, and whether all that could be compared hold.
fn judge(row: &Row, ours: f64, figures: &Figures) -> (String, &'static str) {
    let mut ratio = "–".to_owned();
    let mut verdict = if row.bounds.is_empty() { "" } else { "met" };
    for (number, bound) in row.bounds.iter().enumerate() {
        let (against, holds) = match *bound {
            Limit(limit) => (None, Some(ours <= limit)),
            AtMost(factor, name) => {
                let other = figures.median(name);
                (other, other.map(|other| ours <= factor * other))
            }
            AtLeast(factor, name) => {
                let other = figures.median(name);
                (other, other.map(|other| ours >= factor * other))
            }
        };
        if number == 0
            && let Some(other) = against
        {
            ratio = format!("{:.2}", ours / other);
        }
        match holds {
            Some(true) => {}
            Some(false) => verdict = "**missed**",
            None if verdict == "met" => verdict = "not compared",
            None => {}
        }
    }
    (ratio, verdict)
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Time if value < 1e3 => format!("{value:.0} ns"),
            Self::Time if value < 1e6 => format!("{:.1} µs", value / 1e3),
            Self::Time if value < 1e9 => format!("{:.0} ms", value / 1e6),
            Self::Time => format!("{:.2} s", value / 1e9),
            Self::Rate => format!("{:.0} /s", value),
            Self::Bytes => format!("{value:.0} B"),
            Self::Times => format!("{value:.1} ×"),
        }
    }
}
