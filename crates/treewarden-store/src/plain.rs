//! What a stranger wrote, for a person to read on a terminal.

use std::fmt::{self, Write};

/// Shows a text without anything that a terminal would obey, or that would change the order in which it is read.
pub(crate) struct Plain<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for each in text.chars() {
            if is_obeyed(each) {
                write!(self.0, "{}", each.escape_unicode())?;
            } else {
                self.0.write_char(each)?;
            }
        }
        Ok(())
    }
}

/// Whether a terminal would obey a character, or show what follows it in another order: no text of a stranger may have it when it is
/// shown.
pub fn is_obeyed(each: char) -> bool {
    let turns = matches!(each, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    each.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_and_everything_else_is_as_it_was() {
        assert_eq!(Plain("/hôme/a b").to_string(), "/hôme/a b");
        let shown = Plain("a\x1b]0;x\x07\nb\u{9b}2J\u{202e}c").to_string();
        assert_eq!(shown, "a\\u{1b}]0;x\\u{7}\\u{a}b\\u{9b}2J\\u{202e}c");
    }
}
