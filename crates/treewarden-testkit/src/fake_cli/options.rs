//! The arguments of the fake CLI: those of 2.1.332 are known, most of them to be ignored.
//!
//! One that is not known is refused, as the real CLI does, so that a test sees a flag that no CLI takes.

/// The flags without a value.
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
const OPTIONAL: &[&str] =
    &["--debug", "--from-pr", "--prompt-suggestions", "--resume", "--worktree", "-d", "-r", "-w"];

/// The flags with a value, some of which take several.
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

#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) version: bool,
    pub(super) session_id: Option<String>,
    pub(super) resume: Option<String>,
    pub(super) fork: bool,
    pub(super) partial: bool,
    pub(super) replay: bool,
    pub(super) model: Option<String>,
    pub(super) mode: Option<String>,
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
