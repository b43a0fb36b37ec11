//! The arguments of the fake CLI: those of 2.1.332 are known, most of them to be ignored.
//!
//! One that is not known is refused, as the real CLI does, so that a test sees a flag that no CLI takes.
//!
//! Only a few of them mean something here; the others are taken so that a host's whole command line is accepted:
//!
//! | flag | what it does here |
//! |---|---|
//! | `--session-id`, `--resume`, `--fork-session` | which conversation it is |
//! | `--model`, `--permission-mode` | what `init` says, until a control request changes it |
//! | `--include-partial-messages` | deltas are written |
//! | `--replay-user-messages` | each prompt is echoed when its turn begins |
//! | `--await-initialize` | the first line must be `initialize` |
//! | `--version` | prints it and ends |
//!
//! It must never guess: a flag that is in none of the three lists ends the start, with the words of the real command. A value that is taken
//! for a prompt, or a prompt for a value, would be such a guess; prompts on the command line are ignored.

/// The flags without a value.
///
/// With a value (`--verbose=1`) they are refused, as an unknown option is.
const SWITCHES: &[&str] = &[
    "--allow-dangerously-skip-permissions",
    "--await-claim",
    "--await-initialize",
    "--ax-screen-reader",
    "--bare",
    "--brief",
    "--chrome",
    "--continue",
    "--dangerously-skip-permissions",
    "--disable-slash-commands",
    "--enable-auth-status",
    "--exclude-dynamic-system-prompt-sections",
    "--fork-session",
    "--forward-subagent-text",
    "--help",
    "--ide",
    "--include-hook-events",
    "--include-partial-messages",
    "--managed-settings-in-initialize",
    "--no-chrome",
    "--no-session-persistence",
    "--print",
    "--replay-user-messages",
    "--restricted",
    "--safe-mode",
    "--session-mirror",
    "--strict-mcp-config",
    "--verbose",
    "--version",
    "-c",
    "-h",
    "-p",
    "-v",
];

/// The flags with a value that may be left out.
///
/// The next argument is the value unless it begins with `-`.
const OPTIONAL: &[&str] =
    &["--debug", "--from-pr", "--prompt-suggestions", "--resume", "--worktree", "-d", "-r", "-w"];

/// The flags with a value, some of which take several.
///
/// The next argument is the value whatever it looks like. Of several only the first is taken for one; the others are passed over as
/// prompts are.
const VALUED: &[&str] = &[
    "--add-dir",
    "--agent",
    "--agents",
    "--allowed-tools",
    "--allowedTools",
    "--append-system-prompt",
    "--append-system-prompt-file",
    "--autocompact",
    "--betas",
    "--debug-file",
    "--disallowed-tools",
    "--disallowedTools",
    "--effort",
    "--fallback-model",
    "--file",
    "--initialize-fields",
    "--input-format",
    "--json-schema",
    "--managed-settings",
    "--max-budget-usd",
    "--max-thinking-tokens",
    "--max-turns",
    "--mcp-config",
    "--model",
    "--name",
    "--output-format",
    "--permission-mode",
    "--permission-prompt-tool",
    "--permission-prompts",
    "--plugin-dir",
    "--plugin-dir-no-mcp",
    "--plugin-url",
    "--project-config-root",
    "--resume-drops-turn",
    "--resume-session-at",
    "--session-id",
    "--setting-sources",
    "--settings",
    "--system-prompt",
    "--system-prompt-file",
    "--system-prompt-snapshot",
    "--task-budget",
    "--thinking",
    "--thinking-display",
    "--tools",
    "-n",
];

/// What the fake CLI follows of its arguments; each is as it was given last.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// The version is asked for, and nothing else is done.
    pub(super) version: bool,
    /// The id of a new conversation, or of the fork; a random one where it is `None`.
    pub(super) session_id: Option<String>,
    /// The conversation to resume; `None` also for `--resume` without an id.
    pub(super) resume: Option<String>,
    /// The resumed conversation goes on as another one, and the old one's file stays as it is.
    pub(super) fork: bool,
    /// Deltas are written; the words `N` and `CRASH=delta` hold without it too.
    pub(super) partial: bool,
    /// Prompts are echoed with `isReplay`, from which a host learns that one was taken.
    pub(super) replay: bool,
    pub(super) model: Option<String>,
    /// The permission mode; one of seven, which are looked at in `check`.
    pub(super) mode: Option<String>,
    /// Nothing is run before `initialize` is there; refused where the script's version does not know it.
    pub(super) await_initialize: bool,
}

impl Options {
    /// Reads the arguments; the error is what the real command writes to stderr.
    pub(super) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter().peekable();
        while let Some(arg) = args.next() {
            let (flag, value) = match arg.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let value = if VALUED.contains(&flag) {
                let value = value.or_else(|| args.next().cloned());
                Some(value.ok_or_else(|| format!("error: option '{flag}' argument missing"))?)
            } else if OPTIONAL.contains(&flag) {
                // A value that may be left out is none if it looks like a flag, or `--resume --verbose` would
                // resume a conversation of that name.
                value.or_else(|| args.next_if(|next| !next.starts_with('-')).cloned())
            } else if flag.starts_with('-') && !(SWITCHES.contains(&flag) && value.is_none()) {
                return Err(format!("error: unknown option '{arg}'"));
            } else {
                None
            };
            match flag {
                "-v" | "--version" => options.version = true,
                "--session-id" => options.session_id = value,
                "--resume" | "-r" => options.resume = value,
                "--fork-session" => options.fork = true,
                "--await-initialize" => options.await_initialize = true,
                "--model" => options.model = value,
                "--permission-mode" => options.mode = value,
                "--include-partial-messages" => options.partial = true,
                "--replay-user-messages" => options.replay = true,
                _ => {}
            }
        }
        options.check()
    }

    /// Refuses what the real command refuses by its values: an id that is no UUID, an id beside a resume that is no fork, an unknown mode.
    fn check(self) -> Result<Self, String> {
        let uuid = |id: &str| id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if self.session_id.as_deref().is_some_and(|id| !uuid(id)) {
            return Err("Error: Invalid session ID. Must be a valid UUID.".to_owned());
        }
        if self.session_id.is_some() && self.resume.is_some() && !self.fork {
            let what = "Error: --session-id with --continue or --resume also needs --fork-session.";
            return Err(what.to_owned());
        }
        let modes = ["acceptEdits", "auto", "bypassPermissions", "default", "manual", "dontAsk", "plan"];
        if let Some(mode) = self.mode.as_deref().filter(|mode| !modes.contains(mode)) {
            return Err(format!("error: option '--permission-mode <mode>' argument '{mode}' is invalid."));
        }
        Ok(self)
    }
}
