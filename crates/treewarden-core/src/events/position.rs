//! Where in the stream something stands: in which life of the host, and behind which event.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of one life of a host: the numbers of its events mean nothing in another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Boot(u64);

impl Boot {
    /// The name of this number, which is to be one that no other life has.
    pub fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Boot {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        // Asked here, since `from_str_radix` takes a sign as well.
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| InvalidPosition(text.to_owned()))
    }
}

impl Serialize for Boot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Boot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A place in the stream: behind the event of this number, in this life of the host.
///
/// As text it is `BOOT:SEQ`.
///
/// # Examples
///
/// ```
/// use treewarden_core::events::Position;
///
/// let position: Position = "00c0ffee00c0ffee:17".parse()?;
/// assert_eq!(position.seq, 17);
/// assert_eq!(position.to_string(), "00c0ffee00c0ffee:17");
/// # Ok::<(), treewarden_core::events::InvalidPosition>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The life of the host.
    pub boot: Boot,
    /// The number of the last event that was seen; 0 before the first one.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.boot, self.seq)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let invalid = || InvalidPosition(text.to_owned());
        let (boot, seq) = text.split_once(':').ok_or_else(invalid)?;
        Ok(Self { boot: boot.parse().map_err(|_| invalid())?, seq: seq.parse().map_err(|_| invalid())? })
    }
}

/// A text that names no place in a stream of events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place in the events: give `boot` and `seq` of the last event that was seen, as BOOT:SEQ"
)]
pub struct InvalidPosition(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_as_it_was_written() {
        let position = Position { boot: Boot::new(0x00c0_ffee), seq: 7 };
        assert_eq!(position.to_string().parse(), Ok(position));
        let json = serde_json::to_string(&position).expect("it can be written");
        assert_eq!(serde_json::from_str::<Position>(&json).expect("it can be read"), position);
    }

    #[test]
    fn what_is_no_position_is_refused_and_named() {
        for text in [
            "",
            "7",
            "00c0ffee00c0ffee",
            "00c0ffee00c0ffee:",
            "00c0ffee00c0ffee:-1",
            "+0c0ffee00c0ffee:1",
            "c0ffee:1",
        ] {
            let error = text.parse::<Position>().expect_err("it is none");
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
