//! The identities that every layer shares.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that is already known.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.as_hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| InvalidId { what: stringify!($name), text: text.into() })
            }
        }
    };
}

uuid_id! {
    /// The CLI's UUID of one conversation.
    ///
    /// It is chosen by us at the first start, and followed when the CLI changes it.
    SessionId
}

uuid_id! {
    /// The UUID of one turn, which is also the `uuid` of its user frame.
    TurnId
}

impl SessionId {
    /// Makes a new random id, in the form that the CLI's `--session-id` takes.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl TurnId {
    /// Makes a new id; ids made later sort after ids made earlier.
    pub fn new() -> Self {
        // Version 7 begins with the time, so that the turns of a store sort in the order in which they were
        // made.
        Self(Uuid::now_v7())
    }

    /// The id of the `n`th message that asks the CLI to go on with this turn: always the same for the same turn, so that
    /// a host that knows only the turn recognises what answers it.
    pub fn nudge(&self, n: u32) -> Self {
        // Computed and not drawn: the host that sent the message may be dead when the answer comes, and the
        // next one must know it.
        Self(Uuid::new_v5(&self.0, &n.to_be_bytes()))
    }
}

impl Default for TurnId {
    fn default() -> Self {
        Self::new()
    }
}

/// A text that is not a UUID where one is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {text:?}: expected a UUID such as 11111111-2222-4333-8444-555555555555")]
pub struct InvalidId {
    what: &'static str,
    text: String,
}

/// The name by which a session is found; it never changes.
///
/// One or more segments of `A-Z a-z 0-9 . _ -`, joined by `/`, at most 128 bytes in all:
/// `assistant`, `tenant-7/reviewer`. A segment does not begin with `.`.
///
/// # Examples
///
/// ```
/// use treewarden_proto::SessionName;
///
/// let name: SessionName = "tenant-7/reviewer".parse()?;
/// assert_eq!(name.as_str(), "tenant-7/reviewer");
/// assert!("no spaces".parse::<SessionName>().is_err());
/// # Ok::<(), treewarden_proto::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName(Arc<str>);

impl SessionName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] if `text` is empty, too long, or holds a character or segment that a name must not.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        // These characters alone, since a name becomes a part of paths and of lines for people: no blank, no
        // control character.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        // No dot at the beginning, so that no segment is `.` or `..` and leads out of a folder.
        let segment = |s: &str| !s.is_empty() && !s.starts_with('.') && s.chars().all(allowed);
        if text.len() <= Self::MAX_LEN && text.split('/').all(segment) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName { text: text.into() })
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for SessionName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl Serialize for SessionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SessionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Checked here as well: a name that is read from a file or a socket has gone by no `new`.
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// A text that is not a session name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid session name {text:?}: expected segments of A-Z a-z 0-9 . _ - joined by /, \
     none empty or beginning with a dot, at most 128 bytes, such as tenant-7/reviewer"
)]
pub struct InvalidName {
    text: String,
}
