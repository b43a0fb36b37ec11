//! An amount of memory, as a file writes it: `512 MiB`, `1.5 GiB`.
//!
//! It is a plain number with a unit. It must never lose a byte between two writings of it: what is written is what a diff of
//! two files compares.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of memory in bytes, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// The binary units, the largest first: in these a size is written.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// The decimal units, which are read as well.
const DECIMAL: [(&str, u64); 4] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

impl Size {
    /// Makes a size of so many bytes; `None` of nothing.
    pub fn new(bytes: u64) -> Option<Self> {
        (bytes > 0).then_some(Self(bytes))
    }

    /// Makes a size of so many MiB; nothing counts as one byte.
    pub fn mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20).max(1))
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// The size without what is less than a MiB, for a person to read; less than one MiB stays as it is.
    #[must_use]
    pub fn rounded(self) -> Self {
        Self::new(self.0 & !((1 << 20) - 1)).unwrap_or(self)
    }
}

/// A text that is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a number above 0 with its unit, such as \"512 MiB\" or \"1.5 GiB\"")]
pub struct NoSize;

impl FromStr for Size {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        let text = text.trim();
        let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(NoSize)?;
        let (number, unit) = text.split_at(split);
        let number: f64 = number.trim().parse().map_err(|_| NoSize)?;
        let known = UNITS.iter().chain(&DECIMAL).find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let (_, unit) = known.ok_or(NoSize)?;
        let bytes = (number * *unit as f64).round();
        // More than that a float does not count in bytes, and no machine has it.
        if !(1.0..=(1_u64 << 53) as f64).contains(&bytes) {
            return Err(NoSize);
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Size {
    /// In the largest unit of which it is a whole number of quarters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: u64| self.0 >= unit && self.0.is_multiple_of((unit / 4).max(1));
        let (name, unit) = UNITS.into_iter().find(|(_, unit)| fits(*unit)).unwrap_or(("B", 1));
        let quarters = ["", ".25", ".5", ".75"];
        let part = usize::try_from(self.0 % unit * 4 / unit).unwrap_or(0);
        write!(f, "{}{} {name}", self.0 / unit, quarters[part])
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<u64, NoSize> {
        text.parse().map(Size::bytes)
    }

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        assert_eq!(read("512 MiB"), Ok(512 << 20));
        assert_eq!(read(" 1.5 GiB "), Ok(3 << 29));
        assert_eq!(read("1.5gib"), Ok(3 << 29));
        assert_eq!(read("2 GB"), Ok(2_000_000_000));
        assert_eq!(read("1 B"), Ok(1));
        for text in
            ["", "512", "MiB", "0 MiB", "-1 MiB", "0.1 B", "1 MiBs", "1e300 TiB", "NaN B", "inf B", "1.5 G"]
        {
            assert_eq!(read(text), Err(NoSize), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same_size_to_the_byte() {
        for bytes in [1, 255, 256, 1 << 10, 1_000, 1_536, (1 << 20) + 1, 3 << 29, 5 << 38, 1 << 53] {
            let size = Size::new(bytes).expect("it is something");
            assert_eq!(read(&size.to_string()), Ok(bytes), "{size}");
        }
        let written = |bytes| Size::new(bytes).expect("it is something").to_string();
        assert_eq!(written(3 << 29), "1.5 GiB");
        assert_eq!(written(512 << 20), "512 MiB");
        assert_eq!(written((512 << 20) + 1), "536870913 B");
        assert_eq!(
            Size::new((512 << 20) + 1).map(|size| size.rounded().to_string()).as_deref(),
            Some("512 MiB")
        );
        assert_eq!(Size::new(7).map(Size::rounded), Size::new(7));
    }
}
