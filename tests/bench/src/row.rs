//! One row of the table: what was measured, beside the floor and what it must be.

use std::fmt;
use std::time::Duration;

/// The head of the table.
pub(crate) const HEAD: &str =
    "| measure | must be | floor | treewarden | ratio | ok? |\n|---|---|---|---|---|---|";

/// A figure with its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Figure {
    /// So many a second.
    Rate(f64),
    /// Seconds.
    Time(f64),
    /// Bytes.
    Bytes(f64),
}

impl Figure {
    fn value(self) -> f64 {
        match self {
            Self::Rate(value) | Self::Time(value) | Self::Bytes(value) => value,
        }
    }
}

impl From<Duration> for Figure {
    fn from(time: Duration) -> Self {
        Self::Time(time.as_secs_f64())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Rate(rate) if rate >= 1e6 => write!(f, "{:.2} M/s", rate / 1e6),
            Self::Rate(rate) if rate >= 1e4 => write!(f, "{:.0} k/s", rate / 1e3),
            Self::Rate(rate) => write!(f, "{rate:.0}/s"),
            Self::Time(time) if time >= 1.0 => write!(f, "{time:.2} s"),
            Self::Time(time) if time >= 1e-2 => write!(f, "{:.1} ms", time * 1e3),
            Self::Time(time) if time >= 1e-4 => write!(f, "{:.0} µs", time * 1e6),
            Self::Time(time) => write!(f, "{:.1} µs", time * 1e6),
            Self::Bytes(bytes) if bytes >= 1e6 => write!(f, "{:.1} MiB", bytes / f64::from(1 << 20)),
            Self::Bytes(bytes) => write!(f, "{:.1} KiB", bytes / 1024.0),
        }
    }
}

/// What a measure must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Must {
    /// Nothing: it is shown.
    Shown,
    /// At least so many times the floor.
    TimesAtLeast(f64),
    /// At most so many times the floor.
    TimesAtMost(f64),
    /// At most this.
    AtMost(Figure),
}

impl Must {
    fn show(self, beside: &str) -> String {
        match self {
            Self::Shown => "shown".to_owned(),
            Self::TimesAtLeast(times) => format!("≥ {times} × {beside}"),
            Self::TimesAtMost(times) => format!("≤ {times} × {beside}"),
            Self::AtMost(figure) => format!("≤ {figure}"),
        }
    }
}

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    measure: String,
    must: Must,
    floor: Option<Figure>,
    /// What stands in the column of the floor.
    beside: &'static str,
    ours: Option<Figure>,
}

impl Row {
    /// A figure that is shown.
    pub(crate) fn new(measure: impl Into<String>, ours: impl Into<Figure>) -> Self {
        Self {
            measure: measure.into(),
            must: Must::Shown,
            floor: None,
            beside: "floor",
            ours: Some(ours.into()),
        }
    }

    /// A floor that is shown without anything of ours beside it.
    pub(crate) fn floor_alone(measure: impl Into<String>, floor: impl Into<Figure>) -> Self {
        Self {
            measure: measure.into(),
            must: Must::Shown,
            floor: Some(floor.into()),
            beside: "floor",
            ours: None,
        }
    }

    /// Sets the floor.
    pub(crate) fn floor(mut self, floor: impl Into<Figure>) -> Self {
        self.floor = Some(floor.into());
        self
    }

    /// Sets the figure of another program, which stands where the floor would.
    pub(crate) fn peer(mut self, peer: impl Into<Figure>) -> Self {
        self.beside = "peer";
        self.floor(peer)
    }

    /// Sets what it must be.
    pub(crate) fn must(mut self, must: Must) -> Self {
        self.must = must;
        self
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.ours?.value() / self.floor?.value())
    }

    fn ok(&self) -> Option<bool> {
        match self.must {
            Must::Shown => None,
            Must::TimesAtLeast(times) => Some(self.ratio()? >= times),
            Must::TimesAtMost(times) => Some(self.ratio()? <= times),
            Must::AtMost(figure) => Some(self.ours?.value() <= figure.value()),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |figure: Option<Figure>| figure.map(|figure| figure.to_string()).unwrap_or_default();
        let ratio = self.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let ok = match self.ok() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let (floor, ours) = (show(self.floor), show(self.ours));
        let must = self.must.show(self.beside);
        write!(f, "| {} | {must} | {floor} | {ours} | {ratio} | {ok} |", self.measure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_judged_by_its_ratio_or_by_its_figure() {
        let row = |must| Row::new("a", Figure::Rate(90.0)).floor(Figure::Rate(100.0)).must(must);
        assert_eq!(row(Must::TimesAtLeast(0.8)).ok(), Some(true));
        assert_eq!(row(Must::TimesAtLeast(0.95)).ok(), Some(false));
        assert_eq!(row(Must::TimesAtMost(0.8)).ok(), Some(false));
        assert_eq!(row(Must::AtMost(Figure::Rate(91.0))).ok(), Some(true));
        assert_eq!(row(Must::Shown).ok(), None);
        assert_eq!(
            Row::new("a", Figure::Rate(1.0)).must(Must::TimesAtMost(1.0)).ok(),
            None,
            "without a floor"
        );
        assert_eq!(
            row(Must::TimesAtMost(1.5)).to_string(),
            "| a | ≤ 1.5 × floor | 100/s | 90/s | 0.90 | yes |"
        );
    }
}
