//! The protocol of the control socket: one JSON object a line, in both directions.
//!
//! A client sends one request and reads lines until one has `ok` or `error`; then it may send the next. `item` lines
//! may come before. docs/command.md describes it for clients in other languages.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use treewarden::TurnId;
use treewarden::events::Position;

use crate::exit::Exit;

/// The version of the protocol; it changes when an old client would misunderstand.
pub(crate) const VERSION: u32 = 1;

/// The longest request.
pub(crate) const MAX_REQUEST: u64 = 16 * 1024 * 1024;

/// The longest answer that the client takes: a frame may be 64 MiB, and grows when it is quoted.
pub(crate) const MAX_ANSWER: u64 = 160 * 1024 * 1024;

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    Hello {},
    Reload {
        /// An absolute path; the file that the tree was started with unless it is given.
        #[serde(default)]
        file: Option<PathBuf>,
        #[serde(default)]
        dry_run: bool,
        /// Also if the file declares no child, which stops every session.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        allow_empty: bool,
        /// Also if that loses a conversation.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    Ps {},
    Tree {},
    Ask {
        name: String,
        prompt: String,
        #[serde(default)]
        stream: Streaming,
        #[serde(default)]
        detach: bool,
    },
    Turn {
        turn: TurnId,
        #[serde(default)]
        wait: bool,
    },
    Cancel {
        turn: TurnId,
    },
    Restart {
        name: String,
        /// Also if that loses a conversation.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    Stop {
        name: String,
        /// Also if the conversation is not on disk, and so lost with the CLI.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    Start {
        name: String,
    },
    Clear {
        name: String,
    },
    Interrupt {
        name: String,
    },
    Events {
        #[serde(default)]
        follow: bool,
        /// The last event that was seen; all that are kept are shown unless it is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Position>,
    },
}

impl Request {
    /// Whether it waits for the end of a CLI or of a start.
    pub(crate) fn takes_its_time(&self) -> bool {
        matches!(
            self,
            Self::Reload { .. }
                | Self::Restart { .. }
                | Self::Stop { .. }
                | Self::Start { .. }
                | Self::Clear { .. }
                | Self::Turn { wait: true, .. }
        )
    }
}

/// What comes before the outcome of a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Streaming {
    /// Nothing but the turn's id.
    #[default]
    None,
    /// The text as it comes.
    Text,
    /// The CLI's frames.
    Frames,
}

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Item(Value),
    Ok(Value),
    Error(Refusal),
}

/// Why a request was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl ToString) -> Self {
        Self { code, message: message.to_string() }
    }
}

/// The kinds of [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    BadRequest,
    NoSuchSession,
    NoSuchTurn,
    Busy,
    /// The config file is not valid.
    Config,
    /// The conversation is not on disk, and would be lost with its CLI.
    Unsaved,
    /// Processes of the session live on, and may not be ended.
    NotGone,
    /// The session is stopped, or the tree is stopping.
    Stopped,
    Failed,
    #[serde(other)]
    Unknown,
}

impl Code {
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::BadRequest => Exit::Usage,
            Self::NoSuchSession | Self::NoSuchTurn => Exit::NotFound,
            Self::Busy => Exit::Busy,
            Self::Config => Exit::Config,
            Self::Unsaved | Self::NotGone | Self::Stopped | Self::Failed | Self::Unknown => Exit::Failed,
        }
    }
}

/// Reads one line of at most `limit` bytes into `line`; `false` at the end of the input.
///
/// Cancelled, it leaves what it has read in `line`, and may be called again.
pub(crate) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    limit: u64,
) -> io::Result<bool> {
    let left = limit.saturating_sub(line.len() as u64);
    reader.take(left).read_until(b'\n', line).await?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(true);
    }
    if line.len() as u64 >= limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line is longer than {limit} bytes"),
        ));
    }
    if line.is_empty() {
        Ok(false)
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended in the middle of a line"))
    }
}
