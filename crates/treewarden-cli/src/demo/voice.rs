//! How the demo speaks: headings, who says what, and text that wraps while it streams.

use std::io;

use crate::output::{self, Paint};

const WIDTH: usize = 78;
const INDENT: usize = 14;

/// The narrator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice {
    pub(super) paint: Paint,
    step: u32,
}

impl Voice {
    pub(super) fn new() -> Self {
        Self { paint: Paint(output::is_colourful()), step: 0 }
    }

    /// Begins the next part.
    pub(super) fn part(&mut self, title: &str) -> io::Result<()> {
        self.step += 1;
        output::line(format!("\n{}\n", self.paint.bold(&format!("{}. {title}", self.step))))
    }

    /// Says something to the reader.
    pub(super) fn tell(self, text: &str) -> io::Result<()> {
        text.lines().try_for_each(|line| output::line(format!("   {}", self.paint.dim(line))))
    }

    /// Shows a block of output, a little to the right.
    pub(super) fn show(self, block: &str) -> io::Result<()> {
        block.lines().try_for_each(|line| output::line(format!("   {line}")))
    }

    /// Shows a command as it would be typed.
    pub(super) fn command(self, command: &str) -> io::Result<()> {
        output::line(format!("\n   {}", self.paint.red(&format!("$ {command}"))))
    }

    /// Says a whole line for somebody.
    pub(super) fn say(self, who: &str, text: &str) -> io::Result<()> {
        self.begin(who)?;
        let mut speech = Speech::default();
        speech.add(text)?;
        speech.end()
    }

    /// Begins to speak for somebody.
    pub(super) fn begin(self, who: &str) -> io::Result<()> {
        let name = format!("{who:11}");
        let name = if who == "you" { self.paint.cyan(&name) } else { self.paint.green(&name) };
        output::text(format!("   {name}"))
    }
}

/// Text that comes in pieces, wrapped at the words.
#[derive(Debug, Default)]
pub(super) struct Speech {
    column: usize,
    /// A space that is due if another word follows on the line.
    space: bool,
}

impl Speech {
    pub(super) fn add(&mut self, text: &str) -> io::Result<()> {
        for piece in text.split_inclusive(' ') {
            let word = piece.trim_end_matches(' ');
            let width = word.chars().count();
            if self.space && INDENT + self.column + 1 + width > WIDTH {
                output::text(format!("\n{:INDENT$}", ""))?;
                self.column = 0;
            } else if self.space {
                output::text(" ")?;
                self.column += 1;
            }
            output::text(word)?;
            self.column += width;
            self.space = word.len() < piece.len();
        }
        Ok(())
    }

    pub(super) fn end(&self) -> io::Result<()> {
        output::line("")
    }
}
