//! Finds what was probably meant: a key, a value, a name.
//!
//! It is for the words of an error. It is not for deciding: nothing may be done to a name that was only probably meant.

/// How many candidates are looked at, since each takes time.
const MOST: usize = 10_000;

/// How many names are listed where none is near.
const LISTED: usize = 20;

/// So many names may have been meant.
const MEANT: usize = 3;

/// What is said of a name that nothing has: which were probably meant, three at most, or else which there are, the first twenty.
///
/// `what` is the kind of thing in the singular, and `known` the names that there are.
///
/// # Examples
///
/// ```
/// let said = treewarden::no_such("session", "assitant", &["assistant", "reviewer"]);
/// assert_eq!(said, r#"no session is named "assitant"; did you mean "assistant"?"#);
/// ```
pub fn no_such<S: AsRef<str>>(what: &str, name: &str, known: &[S]) -> String {
    let none = format!("no {what} is named {name:?}");
    let mut meant = near(name, known.iter().map(AsRef::as_ref));
    meant.truncate(MEANT);
    match meant.is_empty() {
        false => format!("{none}; did you mean {}?", list(meant, '"')),
        true if known.is_empty() => format!("{none}: there is none"),
        true => {
            let shown: Vec<_> = known.iter().take(LISTED).map(AsRef::as_ref).collect();
            let more = known.len() - shown.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{none}; there are: {}{more}", shown.join(", "))
        }
    }
}

/// The candidate that is nearest to `word`, if one is near enough to be worth a mention.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    near(word, candidates).into_iter().next()
}

/// All that are, the nearest first.
fn near<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let word = plain(word);
    let mut near: Vec<_> = candidates
        .into_iter()
        .take(MOST)
        .filter_map(|candidate| far(&word, &plain(candidate)).map(|far| (far, candidate)))
        .collect();
    // As they came where two are as near.
    near.sort_by_key(|(far, _)| *far);
    near.into_iter().map(|(_, candidate)| candidate).collect()
}

/// How far a word is from a candidate, if it is near at all.
fn far(word: &str, candidate: &str) -> Option<usize> {
    // `max` is far from `max_turns` by its letters, and is most likely meant for it.
    let begins = |long: &str, short: &str| short.len() >= 3 && long.starts_with(short);
    let is_part = begins(word, candidate) || begins(candidate, word);
    let far = candidate.len().max(3) / 3;
    // No distance is less than this difference, which takes no time. A letter has four bytes at most.
    if !is_part && word.len().abs_diff(candidate.len()) > 4 * far {
        return None;
    }
    let distance = strsim::osa_distance(word, candidate);
    // Of a word of one letter every other one is no further away.
    (is_part || (distance <= far && 2 * distance <= candidate.len())).then_some(distance)
}

/// The word without what people vary: case, dashes, underscores, spaces.
fn plain(word: &str) -> String {
    let letters = word.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    // A longer word is near to nothing, and the distance takes time for each pair of letters.
    letters.take(64).flat_map(char::to_lowercase).collect()
}

/// Writes candidates as a list for a message: `` `a`, `b` or `c` ``.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>, quote: char) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("{quote}{word}{quote}")).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_noise_finds_none() {
        let words = ["model", "max_turns", "cwd", "one_for_one"];
        assert_eq!(nearest("modle", words), Some("model"));
        assert_eq!(nearest("maxTurns", words), Some("max_turns"));
        assert_eq!(nearest("one-for-one", words), Some("one_for_one"));
        assert_eq!(nearest("max", words), Some("max_turns"));
        assert_eq!(nearest("temperature", words), None);
        assert_eq!(nearest("", words), None);
    }

    #[test]
    fn of_a_name_that_nothing_has_the_nearest_is_told_or_else_the_first_of_all() {
        let said = |name: &str, known: &[&str]| no_such("session", name, known);
        assert_eq!(
            said("asistant", &["assistant", "writer"]),
            "no session is named \"asistant\"; did you mean \"assistant\"?"
        );
        assert_eq!(said("zoe", &["alice", "bob"]), "no session is named \"zoe\"; there are: alice, bob");
        assert_eq!(
            said("alicf", &["alice", "alicia", "alic", "alicef", "bob"]),
            "no session is named \"alicf\"; did you mean \"alice\", \"alic\" or \"alicef\"?"
        );
        assert_eq!(said("s", &["a", "b"]), "no session is named \"s\"; there are: a, b");
        assert_eq!(said("zoe", &[]), "no session is named \"zoe\": there is none");
        let many: Vec<String> = (0..25).map(|n| format!("session-of-somebody-{n:02}")).collect();
        let said = no_such("session", "zoe", &many);
        assert!(said.contains("session-of-somebody-19 and 5 more") && !said.contains("-20"), "{said}");
    }

    #[test]
    fn a_list_reads_as_a_sentence() {
        assert_eq!(list(["a"], '`'), "`a`");
        assert_eq!(list(["a", "b", "c"], '"'), "\"a\", \"b\" or \"c\"");
    }
}
