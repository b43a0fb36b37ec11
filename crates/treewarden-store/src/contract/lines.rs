//! Lines of a transcript.

use treewarden_proto::SessionId;

/// What was appended to one file of a conversation at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// The conversation.
    pub conversation: SessionId,
    /// Which of its files: empty for the transcript itself, else the path below the conversation's own folder.
    pub subpath: String,
    /// Its place among the flushes of this file; the first is 0, and the next is one more. Where others stand at it the commit
    /// fails.
    pub seq: u64,
    /// The lines as they were written.
    pub entries: Box<str>,
}
