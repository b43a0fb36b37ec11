//! What the end of a CLI means.
//!
//! This file and `start_failure.rs`, which has the CLI's refusals, are the only ones that read exit codes, stderr and error
//! texts; everything else asks [`ExitClass`].

use std::fmt;

use super::start_failure;
use crate::limits::Size;

/// What is known about a CLI that ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExitFacts<'a> {
    /// Its exit code, if it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The last lines that it wrote to stderr.
    pub stderr: &'a str,
    /// `startup_failure_reason` of its last result, if it gave one.
    pub startup_failure: Option<&'a str>,
    /// `errors` of its last result, joined.
    pub errors: &'a str,
    /// We asked it to end, or ended it.
    pub asked: bool,
    /// Why we killed it, if it was for a fault of its own.
    pub killed_for: Option<CrashKind>,
    /// The ids of conversations that it was started with.
    pub ids: &'a [&'a str],
    /// It had answered `initialize`.
    pub started: bool,
    /// If it was killed, it was at this limit of memory.
    pub limit: Option<Size>,
}

/// How a CLI ended, and so what is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitClass {
    /// It ended as it was asked to, or by itself without an error.
    Clean,
    /// It crashed or was killed: restarted, and counted.
    Crash(CrashKind),
    /// It was killed for memory, at this limit of its session if that is known: restarted, and counted.
    OutOfMemory(Option<Size>),
    /// It cannot run: not restarted.
    Permanent(Permanent),
}

/// How a CLI crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashKind {
    /// It exited with this code.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
    /// It did not come up in time.
    StartTimeout,
    /// It gave no sign of life.
    Silent,
    /// It did not end an interrupted turn.
    NotDrained,
    /// It reported a turn complete and neither printed nor stored the answer.
    AnswerMissing,
    /// The task that drove it failed.
    EngineFailed,
}

/// A reason for which trying again by itself would not help.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permanent {
    /// What kind of reason it is.
    pub kind: PermanentKind,
    /// The reason in words, with the bad value.
    pub message: String,
}

impl Permanent {
    /// Makes a reason.
    pub fn new(kind: PermanentKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The kinds of permanent failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermanentKind {
    /// There is no CLI at the path, or it cannot be executed.
    CliNotFound,
    /// The working directory is gone.
    CwdMissing,
    /// The CLI refused an option.
    BadOption,
    /// The id belongs to another conversation on disk.
    IdInUse,
    /// The conversation that is to be resumed is gone.
    ConversationLost,
    /// The conversation is there, and its transcript cannot be read or written now: a disk that is read-only or full.
    Transcript,
    /// The CLI refused to start (`startup_failure_reason`).
    StartupRefused,
    /// No CLI came up, however often one was tried.
    NeverUp,
    /// The credentials were refused.
    Credentials,
    /// Another session holds the conversation.
    Held,
    /// The config directory is no place where a conversation could be kept to one writer.
    NoLease,
    /// Processes of the predecessor could not be ended.
    NotGone,
    /// The store refused to record the start.
    Store,
    /// The CLI would act on a prompt that is no command to it.
    WouldAct,
    /// There was no place among the live CLIs: pinned sessions have them all, none became free in time, or the system was
    /// short of what a CLI needs.
    NoPlace,
    /// The CLI is of another version than the session's options ask for, or older than its conversation.
    WrongVersion,
    /// The kernel does not keep the limits that the session demands of it.
    NoLimits,
}

impl ExitClass {
    /// Classifies the end of a CLI that had been spawned.
    pub fn of(facts: &ExitFacts<'_>) -> Self {
        // Before everything else: the CLI says so itself, and only about what no further try mends.
        if let Some(reason) = facts.startup_failure {
            let message = format!("the CLI refused to start: {reason}{}", tail(facts));
            return Self::Permanent(Permanent::new(PermanentKind::StartupRefused, message));
        }
        // Whoever killed it says so, and knows better than what it wrote before.
        if facts.limit.is_some() && !facts.asked && (facts.signal == Some(9) || facts.code == Some(137)) {
            return Self::OutOfMemory(facts.limit);
        }
        // The same words of a CLI that was up may be a tool's or the model's: a restart would be refused for
        // what somebody wrote.
        if !facts.started
            && let Some(kind) = start_failure::refusal(facts)
        {
            let code = facts.code.map_or_else(String::new, |code| format!(" (exit {code})"));
            let message = format!("the CLI refused to start{code}{}", tail(facts));
            return Self::Permanent(Permanent::new(kind, message));
        }
        match (facts.code, facts.signal) {
            // Before the codes: a CLI that is sent SIGTERM exits with 143, and a kill shows as a signal;
            // neither is a crash of its own.
            _ if facts.asked => facts.killed_for.map_or(Self::Clean, Self::Crash),
            (Some(0), _) => Self::Clean,
            // 128 + 9 is how a shell or a container reports that its process was killed; a process that is
            // killed itself has a signal and no code.
            (Some(137), _) => Self::OutOfMemory(None),
            (Some(code), _) => Self::Crash(CrashKind::Exit(code)),
            (None, Some(signal)) => Self::Crash(CrashKind::Signal(signal)),
            // The status is not known. That it did not end well is the safe side: the turn stays open.
            (None, None) => Self::Crash(CrashKind::Exit(-1)),
        }
    }

    /// The reason for which trying again would not help, if there is one.
    pub fn permanent(&self) -> Option<Permanent> {
        match self {
            Self::Permanent(permanent) => Some(permanent.clone()),
            _ => None,
        }
    }

    /// Tells whether the id was refused as one that exists (`--session-id`).
    pub fn is_id_in_use(&self) -> bool {
        matches!(self, Self::Permanent(p) if p.kind == PermanentKind::IdInUse)
    }

    /// Tells whether the id was refused as one that does not exist (`--resume`).
    pub fn is_conversation_lost(&self) -> bool {
        matches!(self, Self::Permanent(p) if p.kind == PermanentKind::ConversationLost)
    }
}

fn tail(facts: &ExitFacts<'_>) -> String {
    let text = if facts.stderr.trim().is_empty() { facts.errors } else { facts.stderr };
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl fmt::Display for CrashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::StartTimeout => f.write_str("no answer to initialize in time"),
            Self::Silent => f.write_str("no sign of life"),
            Self::NotDrained => f.write_str("an interrupted turn did not end"),
            Self::AnswerMissing => f.write_str("a turn completed without an answer"),
            Self::EngineFailed => f.write_str("the task that drove it failed"),
        }
    }
}

impl fmt::Display for ExitClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("clean"),
            Self::Crash(kind) => write!(f, "crash: {kind}"),
            Self::OutOfMemory(None) => f.write_str("out of memory (exit 137)"),
            Self::OutOfMemory(Some(limit)) => write!(f, "out of memory: its limit of {limit}"),
            Self::Permanent(permanent) => permanent.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32, stderr: &str) -> ExitClass {
        ExitClass::of(&ExitFacts { code: Some(code), stderr, ..ExitFacts::default() })
    }

    #[test]
    fn a_refusal_of_a_starting_cli_is_told_in_its_own_words() {
        let said = "error: unknown option '--no-such-flag=1'";
        let ExitClass::Permanent(refused) = of(1, said) else { panic!("it is a refusal") };
        assert_eq!(refused.kind, PermanentKind::BadOption);
        assert_eq!(refused.message, format!("the CLI refused to start (exit 1): {said}"));
    }

    #[test]
    fn the_same_words_of_a_running_cli_are_a_crash() {
        let facts = ExitFacts {
            code: Some(1),
            stderr: "error: unknown option",
            started: true,
            ..ExitFacts::default()
        };
        assert_eq!(ExitClass::of(&facts), ExitClass::Crash(CrashKind::Exit(1)));
    }

    #[test]
    fn codes_and_signals_are_told_apart() {
        assert_eq!(of(0, ""), ExitClass::Clean);
        assert_eq!(of(137, ""), ExitClass::OutOfMemory(None));
        assert_eq!(of(70, ""), ExitClass::Crash(CrashKind::Exit(70)));
        let killed = ExitFacts { signal: Some(9), ..ExitFacts::default() };
        assert_eq!(ExitClass::of(&killed), ExitClass::Crash(CrashKind::Signal(9)));
        let asked = ExitFacts { asked: true, ..killed };
        assert_eq!(ExitClass::of(&asked), ExitClass::Clean);
        let why = CrashKind::StartTimeout;
        let late = ExitFacts { killed_for: Some(why), ..asked };
        assert_eq!(ExitClass::of(&late), ExitClass::Crash(why), "it did not end well because we ended it");
    }

    #[test]
    fn a_cli_that_was_killed_at_its_limit_is_told_with_the_limit() {
        let limit = Some(Size::mib(512));
        let killed =
            ExitFacts { signal: Some(9), limit, stderr: "is already in use", ..ExitFacts::default() };
        let class = ExitClass::of(&killed);
        assert_eq!(class, ExitClass::OutOfMemory(limit));
        assert_eq!(class.to_string(), "out of memory: its limit of 512 MiB");
        // A wrapper says it by its code.
        let by_code = ExitFacts { code: Some(137), signal: None, ..killed };
        assert_eq!(ExitClass::of(&by_code), ExitClass::OutOfMemory(limit));
        // It ended of something else, or as it was asked to.
        let other = ExitFacts { signal: Some(11), stderr: "", ..killed };
        assert_eq!(ExitClass::of(&other), ExitClass::Crash(CrashKind::Signal(11)));
        assert_eq!(ExitClass::of(&ExitFacts { asked: true, stderr: "", ..killed }), ExitClass::Clean);
    }
}
