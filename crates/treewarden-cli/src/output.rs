//! What goes to stdout: text, tables, and a little colour where a person reads it.

use std::io::{self, IsTerminal, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::shown::{self, Lines};

/// Writes a line to stdout and flushes it.
pub(crate) fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    out.write_all(b"\n")?;
    // Whoever reads through a pipe sees each line when it is said, and not the last ones at the end.
    out.flush()
}

/// Writes text to stdout and flushes it.
pub(crate) fn text(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    out.flush()
}

/// Writes JSON to stdout, as one line.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    line(shown::json(value))
}

/// Writes JSON to stdout, for people.
pub(crate) fn pretty_json(value: &Value) -> io::Result<()> {
    line(shown::pretty_json(value))
}

/// Whether nobody reads stdout any more: the other end of its pipe is closed, or its terminal is gone.
pub(crate) fn is_unread() -> bool {
    let out = io::stdout();
    // No event is asked for: the kernel tells of an end in any case.
    let mut asked = [PollFd::new(&out, PollFlags::empty())];
    let polled = poll(&mut asked, Some(&Timespec::default()));
    polled.is_ok() && asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// A number of things in words: `1 session`, `2 sessions`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Writes a line to stderr; nobody is told if that fails. What others said in it is without control characters.
pub(crate) fn note(text: impl AsRef<str>) {
    // Where stderr is closed there is nobody to tell of it.
    let _unread = writeln!(io::stderr().lock(), "{}", shown::text(text.as_ref(), Lines::Keep));
}

/// Whether stdout takes colours.
pub(crate) fn is_colourful() -> bool {
    is_coloured(&io::stdout())
}

/// Whether an output takes colours: a terminal does, a file or a journal does not.
pub(crate) fn is_coloured(output: &impl IsTerminal) -> bool {
    let unset = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
    output.is_terminal() && unset("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A few styles, which do nothing where there is no colour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }

    /// A session's state, in the colour of its health.
    pub(crate) fn state(self, state: &str) -> String {
        match state.trim_end() {
            "ready" | "busy" | "working" => self.green(state),
            "failed" | "given_up" | "restarting" => self.red(state),
            "parked" | "stopped" => self.dim(state),
            _ => self.cyan(state),
        }
    }
}

/// Lays rows out in columns, as wide as their widest cell; `style` paints a cell after it was padded.
pub(crate) fn table(rows: &[Vec<String>], style: impl Fn(usize, usize, &str) -> String) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for (r, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let last = c + 1 == row.len();
            let padded = if last { cell.clone() } else { format!("{cell:width$}  ", width = widths[c]) };
            line.push_str(&style(r, c, &padded));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
