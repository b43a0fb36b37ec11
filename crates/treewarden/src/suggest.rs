//! Finds what was probably meant.

/// The candidate that is nearest to `word`, if one is near enough to be worth a mention.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = plain(word);
    candidates
        .into_iter()
        .filter_map(|candidate| far(&word, &plain(candidate)).map(|far| (far, candidate)))
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// How far a word is from a candidate, if it is near at all.
fn far(word: &str, candidate: &str) -> Option<usize> {
    // `max` is far from `max_turns` by its letters, and is most likely meant for it.
    let distance = strsim::osa_distance(word, candidate);
    let begins = |long: &str, short: &str| short.len() >= 3 && long.starts_with(short);
    let near = distance <= candidate.len().max(3) / 3;
    (near || begins(word, candidate) || begins(candidate, word)).then_some(distance)
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
    fn a_list_reads_as_a_sentence() {
        assert_eq!(list(["a"], '`'), "`a`");
        assert_eq!(list(["a", "b", "c"], '"'), "\"a\", \"b\" or \"c\"");
    }
}
