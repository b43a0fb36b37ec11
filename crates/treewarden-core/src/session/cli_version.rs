//! Which versions of the CLI a session may have: those that its options name, and none that is older than its conversation.
//!
//! A CLI is not known to read what a newer one wrote, and never says that it cannot. So one that was set back, as by an update that
//! was undone, would go on with a conversation that it reads in part. This decides; who asks a CLI for its version is elsewhere.

use std::fmt;
use std::str::FromStr;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use super::exit_class::{Permanent, PermanentKind};

/// The versions of the CLI that a session may have: one, such as `2.1.332`, or a range, such as `>=2.1.300, <3`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CliVersion {
    text: String,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Exactly(Version),
    Range(VersionReq),
}

/// A text that names no versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid version {text:?}: expected one such as 2.1.332, or a range such as >=2.1.300 ({why})")]
pub struct InvalidVersion {
    text: String,
    why: String,
}

impl FromStr for CliVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        // A version alone is that one. As a range it would mean every later one that is compatible with it, too.
        let exactly = Version::parse(text.trim()).map(Wanted::Exactly);
        let wanted = exactly.or_else(|_| VersionReq::parse(text).map(Wanted::Range));
        let wanted =
            wanted.map_err(|error| InvalidVersion { text: text.to_owned(), why: error.to_string() })?;
        Ok(Self { text: text.to_owned(), wanted })
    }
}

impl TryFrom<String> for CliVersion {
    type Error = InvalidVersion;

    fn try_from(text: String) -> Result<Self, InvalidVersion> {
        text.parse()
    }
}

impl From<CliVersion> for String {
    fn from(version: CliVersion) -> Self {
        version.text
    }
}

impl fmt::Display for CliVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl CliVersion {
    fn allows(&self, version: &Version) -> bool {
        match &self.wanted {
            Wanted::Exactly(wanted) => wanted == version,
            Wanted::Range(range) => range.matches(version),
        }
    }
}

/// Why a CLI of the version `has` must not have the session: `wanted` are those that the options name, and `wrote` is the one
/// that wrote the conversation last.
///
/// What does not say its version is refused only where one is named. An older CLI than the conversation's is allowed by naming it.
pub fn unfit(has: Result<&str, &str>, wanted: Option<&CliVersion>, wrote: Option<&str>) -> Option<Permanent> {
    let refused = |message: String| Some(Permanent::new(PermanentKind::WrongVersion, message));
    let version = has.ok().and_then(|has| Version::parse(has).ok());
    match (wanted, version) {
        (Some(wanted), Some(version)) if wanted.allows(&version) => None,
        (Some(wanted), Some(version)) => refused(format!(
            "the CLI is version {version}, and `cli_version` asks for {wanted}: install that, or change `cli_version`"
        )),
        (Some(wanted), None) => {
            let said = has.map_or_else(|why| why.to_owned(), |has| format!("it says {has:?}"));
            refused(format!(
                "the CLI does not say that it is the version that `cli_version` asks for ({wanted}): {said}"
            ))
        }
        (None, version) => {
            let (version, wrote) = (version?, Version::parse(wrote?).ok()?);
            if version >= wrote {
                return None;
            }
            refused(format!(
                "the CLI is version {version}, and the conversation was written by {wrote}, which is newer: install that or a \
                 later one, allow this one with `cli_version = \"{version}\"`, or `clear` the session to begin a new conversation"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> CliVersion {
        text.parse().expect("it names versions")
    }

    #[test]
    fn a_version_alone_is_that_one_and_a_range_is_what_it_says() {
        for (text, yes, no) in [
            ("2.1.332", "2.1.332", "2.1.333"),
            (">=2.1.300", "2.2.0", "2.1.299"),
            (">=2.1.300, <2.1.400", "2.1.399", "2.1.400"),
            ("~2.1", "2.1.999", "2.2.0"),
        ] {
            assert_eq!(unfit(Ok(yes), Some(&wanted(text)), None), None, "{text}");
            let refused = unfit(Ok(no), Some(&wanted(text)), None).expect(text);
            assert_eq!(refused.kind, PermanentKind::WrongVersion);
            assert!(refused.message.contains(no) && refused.message.contains(text), "{refused}");
        }
        for bad in ["", "latest", "2.1.332 (Claude Code)"] {
            let error = bad.parse::<CliVersion>().expect_err(bad);
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn a_cli_that_is_older_than_the_conversation_is_refused_unless_it_is_named() {
        let refused = unfit(Ok("2.1.330"), None, Some("2.1.332")).expect("it is older");
        for part in ["2.1.330", "2.1.332", "clear", "cli_version"] {
            assert!(refused.message.contains(part), "{refused}");
        }
        for same_or_newer in ["2.1.332", "2.1.333", "3.0.0"] {
            assert_eq!(unfit(Ok(same_or_newer), None, Some("2.1.332")), None);
        }
        assert_eq!(unfit(Ok("2.1.330"), Some(&wanted("2.1.330")), Some("2.1.332")), None);
        assert_eq!(unfit(Ok("2.1.330"), None, None), None);
    }

    #[test]
    fn what_says_no_version_is_refused_only_where_one_is_asked_for() {
        for unknown in [Ok("nightly"), Err("unknown request")] {
            assert_eq!(unfit(unknown, None, Some("2.1.332")), None);
            let refused = unfit(unknown, Some(&wanted("2.1.332")), None).expect("it is asked for");
            assert!(refused.message.contains(unknown.unwrap_or_else(|why| why)), "{refused}");
        }
        assert_eq!(unfit(Ok("2.1.332"), None, Some("from another world")), None);
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        let read: CliVersion = serde_json::from_str("\">=2.1.300\"").expect("it can be read");
        assert_eq!(serde_json::to_string(&read).expect("it can be written"), "\">=2.1.300\"");
        assert!(serde_json::from_str::<CliVersion>("\"newest\"").is_err());
    }
}
