//! The text of the file: where an offset is, and how its line may be shown.

use std::ops::Range;

use super::error::Place;

/// So many characters of a line are shown.
pub(super) const SHOWN: usize = 160;

/// The text, and the parts of it that must not be shown.
#[derive(Debug)]
pub(super) struct Source<'a> {
    text: &'a str,
    private: Vec<Range<usize>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, private: Vec::new() }
    }

    /// Keeps this part of the text out of every report.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.private.push(span);
    }

    /// The place of a span, in lines and columns that count from 1.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let start = self.floor(span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        // A width of nothing would mark nothing, as at the end of a line.
        let end = self.floor(span.end).clamp(start, line_end);
        Place {
            line: self.text[..start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            width: self.text[start..end].chars().count().max(1),
            excerpt: self.excerpt(line_start..line_end),
        }
    }

    /// The line, with what must not be shown as dots.
    fn excerpt(&self, line: Range<usize>) -> String {
        let text = self.text[line.clone()].trim_end_matches('\r');
        // Of what is shown alone: a line may be as long as the file, and hold as many private parts.
        let text = text.char_indices().nth(SHOWN).map_or(text, |(end, _)| &text[..end]);
        let (start, end) = (line.start, line.start + text.len());
        let private: Vec<_> =
            self.private.iter().filter(|span| span.start < end && start < span.end).collect();
        let hidden = |at: usize| private.iter().any(|span| span.contains(&at));
        // A tab is shown as one space, so that the marks below stay under their text.
        let show = |(at, c): (usize, char)| match c {
            _ if hidden(line.start + at) && c.is_alphanumeric() => '·',
            c if c.is_control() => ' ',
            c => c,
        };
        text.char_indices().map(show).collect()
    }

    /// The nearest boundary of a character at or before an offset.
    fn floor(&self, at: usize) -> usize {
        floor(self.text, at)
    }
}

fn floor(text: &str, at: usize) -> usize {
    // A parser's offset may stand within a character, and a slice there would panic.
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The values in a line that is no valid TOML, of which nobody knows whether they are secret.
pub(super) fn values_in_line(text: &str, at: usize) -> Range<usize> {
    let at = floor(text, at);
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    match text[start..end].find('=') {
        Some(equals) => start + equals..end,
        None => end..end,
    }
}
