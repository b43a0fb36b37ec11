//! What is logged to stderr: how it reads, and that nobody waits for whoever reads it.
//!
//! A daemon's lines go through a bounded [`queue`]: a pipe that nobody empties, or whose reader is gone, costs lines and nothing
//! else. What other programs said stands in it without control characters, one event a line.

mod json;
mod queue;

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::json;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::args::LogFormat;
use crate::output;
use crate::shown::{self, Lines};
use queue::Queue;

/// How the lines get to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// At once, as of a command that somebody waits for.
    AtOnce,
    /// By a thread of its own, which alone may have to wait.
    Queued,
}

/// The log, while it lives; what is left of it is written when it is dropped, for a moment at most.
#[derive(Debug)]
pub(crate) struct Log {
    queue: Option<Arc<Queue>>,
    format: LogFormat,
}

impl Log {
    /// Says something to the person at stderr, and waits for nobody where the log does not.
    pub(crate) fn say(&self, level: Level, text: impl AsRef<str>) {
        let text = text.as_ref();
        let Some(queue) = &self.queue else { return output::note(text) };
        let mut line = match self.format {
            LogFormat::Text => shown::text(text, Lines::Keep).into_owned(),
            // Whoever reads lines as JSON finds no other between them.
            LogFormat::Json => {
                shown::json(&json!({ "level": level.as_str(), "target": "treewarden", "message": text }))
            }
        };
        line.push('\n');
        queue.push(line.into_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.finish();
        }
    }
}

/// Begins to log what `filter` lets through, or else what `default` does.
pub(crate) fn start(filter: Option<&str>, default: &str, format: LogFormat, way: Way) -> Log {
    let queue = match way {
        Way::AtOnce => None,
        // Where no thread can be started the log is as that of any command: better than none.
        Way::Queued => Queue::start(format).ok(),
    };
    let log = Log { queue: queue.clone(), format };
    let filter = filter.filter(|filter| !filter.is_empty()).unwrap_or(default);
    // `RUST_LOG` may be meant for another program: a filter that is not understood stops nothing.
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        log.say(Level::WARN, format!("warning: the log filter {filter:?} is not understood: {error}"));
        EnvFilter::new(default)
    });
    let is_coloured = format == LogFormat::Text && output::is_coloured(&io::stderr());
    let writer = BoxMakeWriter::new(Arc::new(Writer { queue, format, is_coloured }));
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(is_coloured);
    // A line that cannot be written is lost. It would be complained of on stderr itself, by a macro that panics where that cannot
    // be written either: a full disk with the log on it would end the sessions.
    let subscriber = subscriber.log_internal_errors(false);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.event_format(json::Json).init(),
    }
    if way == Way::Queued {
        panics_are_logged();
    }
    log
}

/// Has a panic be told by the log: the standard library writes it to stderr, and would wait there with whatever the thread holds.
fn panics_are_logged() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("?");
        tracing::error!(thread, "{panic}");
    }));
}

/// Takes one event with each call of `write`, as `tracing-subscriber` makes it.
#[derive(Debug)]
struct Writer {
    queue: Option<Arc<Queue>>,
    format: LogFormat,
    is_coloured: bool,
}

impl Write for &Writer {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = match self.format {
            LogFormat::Json => event.to_vec(),
            LogFormat::Text => one_event(&String::from_utf8_lossy(event), self.is_coloured),
        };
        match &self.queue {
            Some(queue) => queue.push(line),
            None => io::stderr().write_all(&line)?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as it may be shown: whatever somebody else said in it begins no line of its own, and moves no cursor.
fn one_event(text: &str, is_coloured: bool) -> Vec<u8> {
    let lines = if is_coloured { Lines::IndentColoured } else { Lines::Indent };
    let mut line = shown::text(text.trim_end_matches('\n'), lines).into_owned();
    line.push('\n');
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_in_an_event_begins_no_line_and_moves_no_cursor() {
        let event = "12:00 WARN it said: a\x1b]0;x\x07b\r\n12:01 ERROR forged\u{9b}2J\n";
        let shown = "12:00 WARN it said: a\\u{1b}]0;x\\u{7}b\\u{d}\n    12:01 ERROR forged\\u{9b}2J\n";
        assert_eq!(String::from_utf8(one_event(event, false)).expect("UTF-8"), shown);
        let coloured = one_event("\x1b[32m INFO\x1b[0m \x1b[2J\x1b]0;x\n", true);
        assert_eq!(coloured, b"\x1b[32m INFO\x1b[0m \\u{1b}[2J\\u{1b}]0;x\n");
    }
}
