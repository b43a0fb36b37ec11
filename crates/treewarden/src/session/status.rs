//! What is known of a session at any time.
//!
//! It is for showing. Nothing may be decided by it that another caller could change meanwhile: a call says by its error what was so.

use serde::Serialize;
use treewarden_core::session::SessionState;
use treewarden_proto::frame::TokenUsage;
use treewarden_proto::{SessionId, SessionName, TurnId};

/// What was found out about a session's CLI that decides what holds after a crash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CliFeatures {
    /// Its version, once it was up; an old one says it with its first turn.
    pub version: Option<Box<str>>,
    /// Whether a resumed one goes on only after the session's own settings reached it (`--await-initialize`); `None`
    /// until that was tried.
    pub awaits_initialize: Option<bool>,
    /// Whether it can tell the model of a tool that was cut off by a crash; `None` until its version is known.
    pub tells_cut_off_tools: Option<bool>,
    /// Whether it takes a prompt as it is (`client_composed`); one that does not, or does not say its version, is sent none on
    /// which it would act. `None` until its version is known.
    pub takes_verbatim: Option<bool>,
}

impl CliFeatures {
    /// Takes what follows from the version that the CLI says it has.
    pub(crate) fn set_version(&mut self, version: &str) {
        self.tells_cut_off_tools = is_at_least(version, TELLS_CUT_OFF_TOOLS);
        self.takes_verbatim = is_at_least(version, TAKES_VERBATIM);
        self.version = Some(version.into());
    }
}

/// The first version that was seen to know `CLAUDE_CODE_RESUME_SHOWS_CUT_OFF_CALLS`: nothing but the version tells.
const TELLS_CUT_OFF_TOOLS: [u64; 3] = [2, 1, 310];

/// The first version that takes a prompt verbatim: one that does not know the field says nothing of that.
const TAKES_VERBATIM: [u64; 3] = [2, 1, 248];

/// The same in words.
pub(crate) const VERBATIM_FROM: &str = "2.1.248";

/// Tells whether the CLI of this version takes a prompt verbatim; of one that is no version nothing is taken for granted.
pub(crate) fn takes_verbatim(version: &str) -> bool {
    is_at_least(version, TAKES_VERBATIM).unwrap_or(false)
}

/// Compares a version such as `2.1.332`; `None` if it is none.
fn is_at_least(version: &str, least: [u64; 3]) -> Option<bool> {
    // What follows the third number (`-beta.1`, ` (Claude Code)`) says nothing of the order here.
    let mut parts = version.split(['.', '-', '+', ' ']).map(|part| part.parse::<u64>().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    Some(version >= least)
}

/// What is known of a session; the answer comes at once, whatever the session is doing.
///
/// No count outlives the host. Text is for people, and may be worded otherwise
/// in another version; a program goes by [`state`](Self::state), by whether a field is `None`, and by the events.
///
/// # Examples
///
/// ```no_run
/// # async fn run(session: treewarden::Session) -> Result<(), Box<dyn std::error::Error>> {
/// use treewarden::session::SessionState;
///
/// let status = session.status().await?;
/// match status.state {
///     SessionState::GivenUp => println!("{}: {}", status.name, status.reason.as_deref().unwrap_or("no reason is known")),
///     _ if status.unstored.is_some() => println!("{}: its store takes nothing", status.name),
///     _ => println!("{}: {} turns wait or run, {} restarts", status.name, status.queued, status.restarts),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The session's name.
    pub name: SessionName,
    /// Its conversation; `None` before the first start.
    pub session_id: Option<SessionId>,
    /// What it is doing.
    pub state: SessionState,
    /// The process id of its CLI; `None` while none lives: before the first turn, parked, between two CLIs, stopped.
    pub pid: Option<u32>,
    /// The turn that its CLI works at; `None` between two turns.
    pub turn: Option<TurnId>,
    /// How many CLIs it has had in this host.
    pub generation: u64,
    /// How often its supervisor restarted it.
    pub restarts: u64,
    /// How often its CLI was replaced since it took more memory than `recycle_above`.
    pub recycled: u64,
    /// How many of its turns were settled in this host.
    pub turns: u64,
    /// What its CLIs are known to have spent by their price list, in US dollars, over all conversations and hosts; `None` until one
    /// said so. What a CLI that died had spent since its last result is not in it.
    pub cost_usd: Option<f64>,
    /// The tokens of the same, of all models.
    pub usage: Option<TokenUsage>,
    /// How its processes are held together.
    pub containment: Option<Box<str>>,
    /// How its last CLI ended.
    pub last_exit: Option<Box<str>>,
    /// Why it failed or was given up, with the tail of the CLI's stderr.
    pub reason: Option<Box<str>>,
    /// How many turns wait or run.
    pub queued: usize,
    /// Whether its CLI names prompts on its results; without that the promises of a turn are weaker.
    pub attributed: Option<bool>,
    /// What was found out about its CLI.
    pub cli: CliFeatures,
    /// When a usage limit is lifted, in seconds of the Unix epoch.
    pub suspended_until: Option<u64>,
    /// Why its CLI works though no turn is in it: `task_ended` (a background task ended), `wake_up` (a wake-up or a scheduled
    /// prompt is due) or `unknown`.
    pub own_work: Option<&'static str>,
    /// How many background tasks its CLI says it has; while it has some it is not parked.
    pub background_tasks: usize,
    /// What of the conversation is not on disk, as far as it was looked for: its CLI holds the only copy and is not parked.
    pub unsaved: Option<Box<str>>,
    /// What the store does not take of it, and why: outcomes of turns are in the host's memory alone, and its next turn waits. What
    /// the store refuses for good is let go by [`Session::restart`](crate::Session::restart).
    pub unstored: Option<Box<str>>,
    /// Why its turns are refused, if its record is lost: until it is cleared, or takes a conversation over.
    pub lost: Option<Box<str>>,
    /// How many lines of its CLI were no frames, or too long.
    pub skipped_lines: u64,
    /// How many frames were of a type that treewarden does not know.
    pub unknown_frames: u64,
    /// Its lease, the state directory or the database was removed under it and cannot be had again, for this reason: its turns
    /// are refused.
    pub removed: Option<Box<str>>,
    /// Which of its processes live on although its CLI was ended, as they may not be ended, and why: it does not start again
    /// while they live.
    pub not_gone: Option<Box<str>>,
    /// Which processes may be its own, and were left alone.
    pub may_be_left: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_says_whether_a_cut_off_tool_is_told() {
        let tells = |version: &str| {
            let mut features = CliFeatures::default();
            features.set_version(version);
            features.tells_cut_off_tools
        };
        assert_eq!(
            ["2.1.309", "2.1.310", "2.2.0", "3.0.0-beta.1"].map(tells),
            [Some(false), Some(true), Some(true), Some(true)]
        );
        assert_eq!(["", "2.1", "next"].map(tells), [None; 3]);
    }
}
