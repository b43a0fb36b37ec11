//! Durations as people write them in a file: `90s`, `2m`, `1h 30m`; for `#[serde(with = "…")]`.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes a duration.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// Reads a duration.
///
/// # Errors
///
/// The text is no duration; the message says how one is written.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    // A bare number is refused: nobody could tell whether it means seconds or milliseconds.
    humantime::parse_duration(&text).map_err(|e| {
        D::Error::custom(format_args!("invalid duration {text:?}: {e}; write it as \"90s\" or \"2m\""))
    })
}

/// Durations that may be unset.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    /// Writes a duration, or nothing.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a duration, or nothing.
    ///
    /// # Errors
    ///
    /// The text is no duration; the message says how one is written.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Written(#[serde(with = "super")] Duration);
        Ok(Option::<Written>::deserialize(deserializer)?.map(|Written(duration)| duration))
    }
}
