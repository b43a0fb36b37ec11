//! What `ask` and `chat` show of a turn while it runs: the text on stdout, everything about it on stderr.
//!
//! Words of others, and what a tool is called with is that, are one line here, cut, and nothing that a terminal would obey.

use std::io;

use serde_json::Value;

use crate::output;
use crate::shown::{self, Lines};

/// So many characters are shown of what a tool is called with.
const WIDTH: usize = 100;

/// How far the output of a turn has come.
#[derive(Debug, Default)]
pub(super) struct Printed {
    /// The text has not come to the end of its line.
    open_line: bool,
}

impl Printed {
    /// Shows something that came before the outcome.
    pub(super) fn item(&mut self, item: &Value) -> io::Result<()> {
        match item["type"].as_str() {
            Some("text") => {
                let text = item["text"].as_str().unwrap_or_default();
                self.open_line = !text.ends_with('\n');
                output::text(shown::answer(text))
            }
            Some("tool") => {
                let input = item["input"].as_str().unwrap_or_default();
                self.note(&called(item["name"].as_str(), input))
            }
            Some("waiting") => {
                self.note(&format!("(waiting for {})", item["for"].as_str().unwrap_or("a place")))
            }
            // What was shown of the text is said again by the next CLI.
            Some("resumed") => self.note("(the CLI died; another one carries the turn on)"),
            Some("cut_off") => {
                self.note("(the model's answer was cut off; what follows takes the place of its last part)")
            }
            _ => Ok(()),
        }
    }

    /// Says something about the turn, on a line of its own.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        self.end_line()?;
        output::note(text);
        Ok(())
    }

    /// Whatever comes next begins a line.
    pub(super) fn end_line(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.open_line) { output::line("") } else { Ok(()) }
    }
}

/// A tool call as one line.
fn called(tool: Option<&str>, input: &str) -> String {
    let call = format!("{} {input}", tool.unwrap_or("a tool"));
    let call = shown::text(&call, Lines::Escape);
    match call.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("[{}…]", &call[..at]),
        None => format!("[{call}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_call_is_one_short_line_that_no_terminal_obeys() {
        assert_eq!(called(Some("Bash"), r#"{"command":"ls"}"#), r#"[Bash {"command":"ls"}]"#);
        let hostile = called(Some("Ba\x1b]0;x\x07sh"), "a\nb\u{9b}2J");
        assert_eq!(hostile, "[Ba\\u{1b}]0;x\\u{7}sh a\\u{a}b\\u{9b}2J]");
        let long = called(None, &"é".repeat(1000));
        assert!(long.starts_with("[a tool é") && long.ends_with("é…]"), "{long}");
        assert_eq!(long.chars().count(), WIDTH + 3);
    }
}
