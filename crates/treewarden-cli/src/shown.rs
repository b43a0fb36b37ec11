//! What other programs said, as it may be shown: without anything that a terminal would obey.
//!
//! A CLI, a wrapper, an MCP server and the model write what they like; passed on as it is, it would set the title of a terminal,
//! fill its clipboard, move its cursor, or forge a line of a log.

use std::borrow::Cow;
use std::fmt::Write;
use std::io::{self, IsTerminal};

use serde_json::Value;
use treewarden_store::is_obeyed;

/// What becomes of the line ends of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// They stay, as tabs do.
    Keep,
    /// They are shown like every other control character: the text is one line.
    Escape,
    /// The line behind one is indented, so that nobody takes it for one of its own.
    Indent,
    /// As [`Self::Indent`]; colours stay, which the log itself has put there.
    IndentColoured,
}

/// A text that may be shown wherever it goes.
pub(crate) fn text(text: &str, lines: Lines) -> Cow<'_, str> {
    let stays = |each: char| !is_obeyed(each) || each == '\t' || (each == '\n' && lines == Lines::Keep);
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text.char_indices();
    while let Some((at, each)) = rest.next() {
        match each {
            each if stays(each) => shown.push(each),
            '\n' if lines != Lines::Escape => shown.push_str("\n    "),
            '\x1b' if lines == Lines::IndentColoured && colour(&text[at..]).is_some() => {
                let colour = colour(&text[at..]).unwrap_or_default();
                shown.push_str(colour);
                // All of it is ASCII.
                rest.nth(colour.len().saturating_sub(2));
            }
            each => shown.extend(each.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

/// The sequence that sets a colour or a style with which a text begins.
fn colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\x1b[")?;
    let len = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    parameters[len..].starts_with('m').then(|| &text[..len + 3])
}

/// What the model said, on its way to stdout: as it is into a file or a pipe, without control characters on a terminal.
///
/// What turns the direction of reading stays: an answer in Arabic or Hebrew needs it.
pub(crate) fn answer(said: &str) -> Cow<'_, str> {
    if io::stdout().is_terminal() { without_controls(said) } else { Cow::Borrowed(said) }
}

fn without_controls(said: &str) -> Cow<'_, str> {
    let is_shown = |each: char| each.is_control() && !matches!(each, '\n' | '\t');
    if !said.contains(is_shown) {
        return Cow::Borrowed(said);
    }
    let escaped =
        |each: char| if is_shown(each) { each.escape_unicode().to_string() } else { each.to_string() };
    Cow::Owned(said.chars().map(escaped).collect())
}

/// JSON in one line that means the same, and has no control character: JSON itself escapes only the oldest of them.
pub(crate) fn json(value: &Value) -> String {
    escaped(value.to_string())
}

/// As [`json`], over several lines.
pub(crate) fn pretty_json(value: &Value) -> String {
    escaped(format!("{value:#}"))
}

fn escaped(json: String) -> String {
    let is_obeyed = |each: char| each != '\n' && is_obeyed(each);
    if !json.contains(is_obeyed) {
        return json;
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for each in json.chars() {
        if is_obeyed(each) {
            // They stand in texts alone, and none of them takes two of JSON's escapes.
            // Writing to a text cannot fail.
            let _written = write!(shown, "\\u{:04x}", u32::from(each));
        } else {
            shown.push(each);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SAID: &str = "a\tb\x1b]52;c;aGk=\x07\r\nc\u{9b}2J\u{202e}d\u{7f}";

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(text("plain text, naïve", Lines::Escape), "plain text, naïve");
        let kept = "a\tb\\u{1b}]52;c;aGk=\\u{7}\\u{d}\nc\\u{9b}2J\\u{202e}d\\u{7f}";
        assert_eq!(text(SAID, Lines::Keep), kept);
        assert_eq!(text(SAID, Lines::Escape), kept.replace('\n', "\\u{a}"));
        assert_eq!(text(SAID, Lines::Indent), kept.replace('\n', "\n    "));
        assert_eq!(
            text("\x1b[1;31mred\x1b[0m\x1b[2J\x1b[", Lines::IndentColoured),
            "\x1b[1;31mred\x1b[0m\\u{1b}[2J\\u{1b}["
        );
    }

    #[test]
    fn an_answer_keeps_its_direction_and_has_no_control_character() {
        assert_eq!(without_controls("a\n\tb"), "a\n\tb");
        assert_eq!(
            without_controls("a\x1b]0;x\x07\u{9b}2J\u{200f}b\r"),
            "a\\u{1b}]0;x\\u{7}\\u{9b}2J\u{200f}b\\u{d}"
        );
    }

    #[test]
    fn json_says_the_same_without_control_characters() {
        let value = json!({ "text": SAID });
        for shown in [json(&value), pretty_json(&value)] {
            assert!(!shown.contains(|each| each != '\n' && is_obeyed(each)), "{shown}");
            assert_eq!(serde_json::from_str::<Value>(&shown).expect("JSON"), value);
        }
    }
}
