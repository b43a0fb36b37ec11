//! Texts in which a shell, or a service manager, would put something else: nothing here does.
//!
//! It is for warnings, so that what may well be meant as it stands, such as a password with a `$` in it, must not be taken for one.

/// What somebody seems to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expansion<'a> {
    /// The value of a variable, which is the whole text or a part of it.
    Variable { name: &'a str, whole: bool },
    /// What a command prints.
    Command(&'a str),
}

/// What of a value somebody seems to wait for: `$NAME` alone, `${NAME}` anywhere, `$(command)` alone.
pub(super) fn of_value(text: &str) -> Option<Expansion<'_>> {
    let command = text.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'));
    if let Some(command) = command.filter(|command| !command.trim().is_empty()) {
        return Some(Expansion::Command(command));
    }
    if let Some(name) = text.strip_prefix('$').filter(|name| is_name(name)) {
        return Some(Expansion::Variable { name, whole: true });
    }
    braced(text).map(|(name, shown)| Expansion::Variable { name, whole: shown == text })
}

/// What of a path somebody seems to wait for, as it is written there: `$NAME` as one segment, `${NAME}` anywhere.
pub(super) fn of_path(text: &str) -> Option<&str> {
    let plain = |segment: &&str| segment.strip_prefix('$').is_some_and(is_name);
    text.split('/').find(plain).or_else(|| braced(text).map(|(_, shown)| shown))
}

/// The first `${NAME}`, also `${NAME:-else}`: its name, and how it is written.
fn braced(text: &str) -> Option<(&str, &str)> {
    text.match_indices("${").find_map(|(at, _)| {
        let inner = text[at + 2..].split_once('}')?.0;
        let name = inner.split_once(":-").map_or(inner, |(name, _)| name);
        is_name(name).then(|| (name, &text[at..at + inner.len() + 3]))
    })
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a name may be shown beside a value that may be secret: what is in capitals is a variable's name, and no password.
pub(super) fn is_plainly_a_name(name: &str) -> bool {
    !name.chars().any(|c| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_known_by_its_braces_or_when_it_stands_alone() {
        let whole = |name| Some(Expansion::Variable { name, whole: true });
        let part = |name| Some(Expansion::Variable { name, whole: false });
        let cases = [
            ("$TOKEN", whole("TOKEN")),
            ("${TOKEN}", whole("TOKEN")),
            ("${TOKEN:-none}", whole("TOKEN")),
            ("https://${HOST}:8080", part("HOST")),
            ("${A}${B}", part("A")),
            ("${1}${TWO}", part("TWO")),
            ("$(pass show token)", Some(Expansion::Command("pass show token"))),
        ];
        for (text, expected) in cases {
            assert_eq!(of_value(text), expected, "{text}");
        }
    }

    #[test]
    fn a_password_with_a_dollar_in_it_is_none() {
        for text in
            ["pa$$word", "$ecret!", "a$TOKEN", "$", "$$", "${", "${}", "${a b}", "$(", "$()", "100$", "$1"]
        {
            assert_eq!(of_value(text), None, "{text}");
        }
        assert!(is_plainly_a_name("API_KEY_2") && !is_plainly_a_name("hunter2"));
    }

    #[test]
    fn a_path_waits_for_a_variable_in_a_segment_of_its_own_or_in_braces() {
        assert_eq!(of_path("$HOME/work"), Some("$HOME"));
        assert_eq!(of_path("/srv/${USER}-work"), Some("${USER}"));
        assert_eq!(of_path("${XDG_DATA_HOME:-/srv}/x"), Some("${XDG_DATA_HOME:-/srv}"));
        for text in ["/srv/a$b", "/srv/$", "/srv/$1", "/srv/{x}", "/srv/cost$"] {
            assert_eq!(of_path(text), None, "{text}");
        }
    }
}
