//! The times and limits of a session.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use treewarden_proto::spec::duration;

/// The times and limits that the machine keeps to.
///
/// Those that a session's options in a file can say are read and written by serde; the others are for programs only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// How long a CLI may take from the spawn to its answer to `initialize`; 60 s.
    #[serde(with = "duration")]
    pub start_timeout: Duration,
    /// How long a turn may take, unless the turn says otherwise; 300 s.
    #[serde(skip)]
    pub turn_timeout: Option<Duration>,
    /// How long an interrupted turn may take to its result before the CLI is killed; 10 s.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// How long a busy CLI may be silent before it is asked for a sign of life; 120 s.
    #[serde(with = "duration")]
    pub silence_timeout: Duration,
    /// How long the CLI may take to give that sign before it is killed; 10 s.
    #[serde(skip)]
    pub probe_timeout: Duration,
    /// How long the CLI must have been idle, with the turn reported complete and no result seen, before the answer
    /// is looked for in the transcript; 300 ms.
    #[serde(skip)]
    pub settle_grace: Duration,
    /// How often the transcript is asked for such an answer before the CLI is asked to go on; 4.
    #[serde(skip)]
    pub transcript_reads: u32,
    /// How many incarnations may work at one turn before it fails; 20.
    ///
    /// The supervisor's budget bounds how fast a session may crash; this bounds a turn that crashes it slowly.
    #[serde(skip)]
    pub max_attempts: u32,
    /// How often a turn is gone on with, in one CLI, when the model API failed it in a way that may pass; 2.
    ///
    /// The CLI has tried ten times by itself then, for about three minutes (2.1.332).
    pub api_retries: u32,
    /// How long the session may be idle before its CLI is parked; never unless set.
    #[serde(with = "duration::option")]
    pub idle_timeout: Option<Duration>,
    /// How long a turn waits for a CLI that works at something of its own, from when it is the next one; 30 s.
    #[serde(with = "duration")]
    pub own_work_wait: Duration,
    /// How long such work, or a background task, keeps its CLI from being parked, from its last sign of life; 1 h.
    #[serde(with = "duration")]
    pub background_wait: Duration,
    /// How long a turn waits for a place among the live CLIs, from when it asked for one; 10 min.
    #[serde(with = "duration")]
    pub place_wait: Duration,
    /// How long starts of a CLI are tried again that fail in a way that may pass; 30 s.
    #[serde(skip)]
    pub start_patience: Duration,
    /// How many CLIs in a row may end before they answer `initialize`; 5.
    #[serde(skip)]
    pub start_attempts: u32,
    /// The pause after the first such failure; each is twice as long as the one before, up to 5 s; 500 ms.
    #[serde(skip)]
    pub start_pause: Duration,
    /// How often the disk is looked at for a turn that was not there; each 30 s.
    #[serde(skip)]
    pub look_again: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // A CLI that is alone on two cores takes about 0.6 s; the rest is room for a machine on which
            // many start at once.
            start_timeout: Duration::from_secs(60),
            turn_timeout: Some(Duration::from_secs(300)),
            drain_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(120),
            probe_timeout: Duration::from_secs(10),
            settle_grace: Duration::from_millis(300),
            transcript_reads: 4,
            max_attempts: 20,
            api_retries: 2,
            // A parked session costs its next caller a start: that is the user's to weigh against memory.
            idle_timeout: None,
            own_work_wait: Duration::from_secs(30),
            background_wait: Duration::from_secs(3600),
            // A busy CLI gives its place up when its turn ends, which takes five minutes at most by default.
            place_wait: Duration::from_secs(600),
            // An update of the CLI takes some seconds, as does the removal of a container.
            start_patience: Duration::from_secs(30),
            start_attempts: 5,
            start_pause: Duration::from_millis(500),
            look_again: Duration::from_secs(30),
        }
    }
}
