//! The control socket's lines: one JSON object each, in both directions, and how long they may be.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// The longest request.
pub(crate) const MAX_REQUEST: u64 = 16 * 1024 * 1024;

/// The longest answer that the client takes: a frame may be 64 MiB, and grows when it is quoted.
pub(crate) const MAX_ANSWER: u64 = 160 * 1024 * 1024;

/// Reads one line of at most `limit` bytes into `line`; `false` at the end of the input.
///
/// Cancelled, it leaves what it has read in `line`, and may be called again.
pub(crate) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    limit: u64,
) -> io::Result<bool> {
    // What stands in the line already counts: otherwise a line that comes in parts would have no bound.
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
