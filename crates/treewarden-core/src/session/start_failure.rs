//! Which failures of a start pass and which last: two lists, each row with what was seen of it.
//!
//! A start has failed when its CLI ended, or was never there, before it answered `initialize`. What is on no list passes: to try
//! again in vain costs seconds, and to refuse what would have passed costs a turn. What becomes of a failure that passes is
//! the machine's (`starts.rs`). Nothing here may go by words that somebody else can write: MCP servers, npm and wrappers share
//! the CLI's stderr. So a refusal is a line of the CLI's own, from its beginning, with the CLI's own exit code, and with the id in
//! it where it names one.

use super::event::StartFailure;
use super::exit_class::{ExitFacts, Permanent, PermanentKind};

/// A failure of a start that passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passing {
    /// How the CLI ended, or why there was none: `exit 127`, `no such file`.
    pub how: String,
    /// Its last words on stderr, as far as there are any.
    pub words: String,
    /// A CLI was spawned. What could not even be spawned is tried again for longer.
    pub spawned: bool,
}

/// One kind of failure that passes, as the documentation has it.
#[derive(Debug, Clone, Copy)]
pub struct Passes {
    /// What is seen.
    pub what: &'static str,
    /// Where it was seen.
    pub seen: &'static str,
}

/// The failures that pass.
pub const PASSING: &[Passes] = &[
    Passes { what: "ETXTBSY at the spawn", seen: "the native CLI 2.1.332 while it was being written, Linux" },
    Passes {
        what: "ENOENT or EACCES of a path from which a CLI has come up, in this host or, by the session's record, before",
        seen: "the native CLI 2.1.332 moved away for two seconds, as by its updater, also while a daemon started, Linux",
    },
    Passes {
        what: "no folder where the session's CLI was started last",
        seen: "a `cwd` that was renamed for three seconds while its daemon started, Linux",
    },
    Passes {
        what: "a file or a command of `env` without a value, where a CLI of the session has come up",
        seen: "a token's file that was away for three seconds while its daemon started, Linux",
    },
    Passes { what: "ENOEXEC", seen: "the first bytes of the native CLI 2.1.332 not written yet, Linux" },
    Passes {
        what: "SIGSEGV, SIGBUS or SIGILL",
        seen: "the native CLI 2.1.332, cut short at a half of its length, Linux",
    },
    Passes { what: "any other signal", seen: "the CLI's cgroup out of memory; a person's `kill -9`, Linux" },
    Passes { what: "exit 126 or 127", seen: "`#!/usr/bin/env node` while node was being replaced, Linux" },
    Passes {
        what: "exit 125, or any exit with words that are none of the CLI's",
        seen: "`docker run --name` while the container of before was being removed; npm's stub of the package",
    },
    Passes { what: "exit 0", seen: "a wrapper that printed a banner and ended" },
    Passes {
        what: "no answer to `initialize`",
        seen: "an MCP server of the CLI 2.1.332 that never answered",
    },
];

/// What a program says of a disk without room: node, and what goes by the words of the C library.
///
/// The CLI's stderr is shared, and so these may be another's words: all that follows is that the start waits as for a place. The
/// CLI itself comes up on a full disk and answers (2.1.332, its home on a tmpfs without room).
const NO_ROOM: [&str; 4] = ["ENOSPC", "EDQUOT", "No space left on device", "Disk quota exceeded"];

/// Tells whether a CLI that ended before it was up said that a disk has no room.
pub(super) fn has_no_room(words: &str) -> bool {
    NO_ROOM.iter().any(|said| words.contains(said))
}

impl StartFailure {
    /// What a start is that does not find what it needs: a program, a folder, a secret.
    ///
    /// Where a CLI has come up with it before, it was right, and is away for a moment: renamed, being replaced, not mounted yet.
    /// Otherwise it is taken for wrong, and told at once.
    pub fn without(what: Permanent, has_come_up: bool) -> Self {
        if has_come_up {
            Self::Passing(Passing { how: what.message, words: String::new(), spawned: false })
        } else {
            Self::Permanent(what)
        }
    }
}

/// A refusal of the CLI.
struct Lasts {
    /// How the line begins that says it.
    begins: &'static str,
    /// The line names the conversation's id.
    names_id: bool,
    kind: PermanentKind,
}

/// The exit code of the CLI's refusals: 1, of each of them (2.1.332, Linux).
const REFUSES: i32 = 1;

const fn lasts(begins: &'static str, kind: PermanentKind) -> Lasts {
    Lasts { begins, names_id: false, kind }
}

const fn lasts_for(begins: &'static str, kind: PermanentKind) -> Lasts {
    Lasts { begins, names_id: true, kind }
}

/// The CLI's own words for credentials that it has not, or that were refused; at the start of a line, or of a result of its own, which
/// is then all that it says (2.1.332: `Not logged in · Please run /login`, `Invalid API key · Fix external API key`).
pub(super) const NO_LOGIN: [&str; 2] = ["Invalid API key \u{b7} ", "Not logged in \u{b7} "];

/// The failures that last, beside a path that was never seen to work, which the spawn tells, and what the CLI says of itself in a
/// frame (`startup_failure_reason`, an error to `initialize`).
///
/// On stderr unless said otherwise; 2.1.332 on Linux, and earlier where said.
#[rustfmt::skip]
const LASTING: &[Lasts] = &[
    // `--session-id` of a transcript that is there (2.1.197, 2.1.330, 2.1.332).
    lasts_for("Error: Session ID ", PermanentKind::IdInUse),
    // `--resume` of none; on stderr, and since 2.1.330 in the `errors` of a result too.
    lasts_for("No conversation found with session ID: ", PermanentKind::ConversationLost),
    // Its parser of arguments (2.1.197 to 2.1.332).
    lasts("error: unknown option ", PermanentKind::BadOption),
    lasts("error: option ", PermanentKind::BadOption),
    lasts("Error: Invalid MCP configuration", PermanentKind::BadOption),
    lasts("Error: Settings file not found", PermanentKind::BadOption),
    lasts("Error: Invalid --agents configuration", PermanentKind::BadOption),
    lasts("Error: --json-schema is not", PermanentKind::BadOption),
    lasts("Error: System prompt file not found", PermanentKind::BadOption),
    lasts("Error: Append system prompt file not found", PermanentKind::BadOption),
    lasts("Error: Invalid session ID", PermanentKind::BadOption),
    // What it also says in the result of a turn; at a start by 2.1.197 only.
    lasts(NO_LOGIN[0], PermanentKind::Credentials),
    lasts(NO_LOGIN[1], PermanentKind::Credentials),
];

/// The refusal that a CLI ended with before it answered `initialize`, if it was one.
pub(super) fn refusal(facts: &ExitFacts<'_>) -> Option<PermanentKind> {
    // A wrapper's codes are 125 to 127, and a signal is nobody's word: whatever stands on stderr was said about
    // something else.
    if facts.code != Some(REFUSES) {
        return None;
    }
    let lines = || facts.stderr.lines().chain(facts.errors.split("; ")).map(str::trim);
    let says = |refusal: &&Lasts| {
        lines().any(|line| {
            line.strip_prefix(refusal.begins)
                .is_some_and(|rest| !refusal.names_id || facts.ids.iter().any(|id| rest.starts_with(id)))
        })
    };
    LASTING.iter().find(says).map(|refusal| refusal.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{CrashKind, ExitClass};

    const ID: &str = "11111111-1111-4111-8111-111111111111";

    fn of(code: Option<i32>, stderr: &str) -> Option<PermanentKind> {
        refusal(&ExitFacts { code, stderr, ids: &[ID], ..ExitFacts::default() })
    }

    #[test]
    fn the_clis_own_words_last_and_the_same_words_of_others_pass() {
        let in_use = format!("Error: Session ID {ID} is already in use.");
        assert_eq!(of(Some(1), &in_use), Some(PermanentKind::IdInUse));
        let lost = format!("No conversation found with session ID: {ID}");
        assert_eq!(of(Some(1), &lost), Some(PermanentKind::ConversationLost));
        assert_eq!(
            refusal(&ExitFacts { code: Some(1), errors: &lost, ids: &[ID], ..ExitFacts::default() }),
            Some(PermanentKind::ConversationLost)
        );
        for others in [
            "Conflict. The container name \"/agent\" is already in use by container \"12ab\".",
            "Error: Session ID 22222222-1111-4111-8111-111111111111 is already in use.",
            "[mcp] Error: Invalid API key provided to the MCP server weather",
            "npm error: unknown option of the registry",
            "server: Invalid MCP configuration",
            "my-server: please run /login",
        ] {
            assert_eq!(of(Some(1), others), None, "{others}");
        }
    }

    #[test]
    fn nothing_lasts_after_a_signal_or_a_code_that_is_none_of_the_clis() {
        let refused = "error: unknown option '--flag'";
        assert_eq!(of(Some(1), refused), Some(PermanentKind::BadOption));
        for code in [None, Some(0), Some(2), Some(125), Some(126), Some(127), Some(137), Some(139)] {
            assert_eq!(of(code, refused), None, "{code:?}");
        }
    }

    #[test]
    fn a_refusal_is_found_behind_what_others_said() {
        let said = "npm warn old\nError: Invalid MCP configuration:\nMCP config file not found: /no/x.json";
        assert_eq!(of(Some(1), said), Some(PermanentKind::BadOption));
    }

    #[test]
    fn what_is_not_there_passes_where_a_cli_has_come_up_with_it_and_lasts_otherwise() {
        let gone = || Permanent::new(PermanentKind::CwdMissing, "/work is gone");
        assert_eq!(StartFailure::without(gone(), false), StartFailure::Permanent(gone()));
        let passing = Passing { how: "/work is gone".to_owned(), words: String::new(), spawned: false };
        assert_eq!(StartFailure::without(gone(), true), StartFailure::Passing(passing));
    }

    #[test]
    fn a_start_that_ends_for_want_of_room_on_a_disk_waits_for_that() {
        let crash = ExitClass::Crash(CrashKind::Exit(1));
        for words in ["Error: ENOSPC: no space left on device, write", "write error: Disk quota exceeded\n"] {
            let waits = StartFailure::Shortage(format!("exit 1: {}", words.trim()));
            assert_eq!(StartFailure::passing(&crash, words), waits);
        }
        assert!(matches!(StartFailure::passing(&crash, "no network"), StartFailure::Passing(_)));
    }

    #[test]
    fn each_kind_that_passes_says_where_it_was_seen() {
        assert!(PASSING.iter().all(|row| !row.what.is_empty() && !row.seen.is_empty()));
    }
}
