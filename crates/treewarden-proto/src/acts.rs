//! On which prompts a CLI acts that takes none of them verbatim.
//!
//! It is for the CLIs that do not know `client_composed` of a [`UserFrame`](crate::input::UserFrame): a prompt of others is
//! sent to such a one only if nothing in it acts. It says yes where it is in doubt, and must never say no to a prompt on which
//! some CLI acts: that would put a file of the host into a conversation, or begin another one. What acts was measured with
//! 2.1.197 and 2.1.332; `docs/design/cli-versions.md` has the table.

use crate::frame::{Block, Content};

/// Tells whether a CLI may act on the prompt: a command at the start of a text, or an `@` before a name.
///
/// # Examples
///
/// ```
/// use treewarden_proto::input::acts;
///
/// assert!(acts(&"/clear".into()));
/// assert!(acts(&"look at @/etc/passwd".into()));
/// assert!(!acts(&"mail to alice@example.org, and/or ask".into()));
/// ```
pub fn acts(content: &Content) -> bool {
    match content {
        Content::Text(text) => text_acts(text),
        // Each by itself: the CLI looks at one of the text blocks, and which one that is differs.
        Content::Blocks(blocks) => blocks.iter().filter_map(Block::as_text).any(text_acts),
    }
}

fn text_acts(text: &str) -> bool {
    text.trim_start_matches(is_blank).starts_with('/')
        || text.match_indices('@').any(|(at, _)| is_mention(text, at))
}

/// Blanks and marks that cannot be seen: a CLI that cuts more of them off than another finds the command behind them.
fn is_blank(char: char) -> bool {
    char.is_whitespace()
        || char.is_control()
        || matches!(char, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The `@` at this byte stands before a name, and not in an address such as `alice@example.org`.
fn is_mention(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    let after = text[at + 1..].chars().next();
    // A name may begin with what cannot be seen, and what is a blank differs from language to language.
    let is_name = |char| !matches!(char, ' ' | '\t' | '\r' | '\n');
    !before.is_some_and(|char| char.is_ascii_alphanumeric()) && after.is_some_and(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_acts_behind_whatever_cannot_be_seen() {
        for text in [
            "/clear",
            "  /clear",
            "\r\n\t/model opus",
            "\u{feff}/compact",
            "\u{200b}\u{2060}/x",
            "\u{a0}/x",
            "/",
        ] {
            assert!(acts(&text.into()), "{text:?}");
        }
        for text in [
            "",
            "hello",
            "and/or",
            "!ls",
            "# note",
            "\u{ff0f}clear",
            "hello\n/clear",
            "<command-name>/clear</command-name>",
        ] {
            assert!(!acts(&text.into()), "{text:?}");
        }
    }

    #[test]
    fn an_at_acts_before_a_name_and_not_in_an_address() {
        for text in [
            "@/etc/passwd",
            "see @a.txt",
            "(@a",
            "\n@\"a b\"",
            "\u{a0}@a",
            "中@a",
            "a@b @c",
            "@server:x",
            "@@a",
            "@\u{85}a",
            "@\u{200b}a",
            ".@a",
        ] {
            assert!(acts(&text.into()), "{text:?}");
        }
        for text in ["@", "a @ b", "alice@example.org", "x@/etc/passwd", "5@\n"] {
            assert!(!acts(&text.into()), "{text:?}");
        }
    }

    #[test]
    fn any_block_of_text_may_act() {
        let blocks = |texts: &[&str]| Content::Blocks(texts.iter().map(|text| Block::text(*text)).collect());
        assert!(acts(&blocks(&["hello", "/clear"])));
        assert!(acts(&blocks(&["@a", "hello"])));
        assert!(!acts(&blocks(&["hello", "there"])));
    }
}
