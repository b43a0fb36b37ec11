//! Finds what was probably meant.

/// The candidate that is nearest to `word`, if one is near enough to be worth a mention.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = plain(word);
    candidates
        .into_iter()
        .filter_map(|candidate| far(&word, &plain(candidate)).map(|far| (far, candidate)))
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// How far a word is from a candidate, if it is near at all.
fn far(word: &str, candidate: &str) -> Option<usize> {
    let distance = distance(word, candidate);
    let begins = |long: &str, short: &str| short.len() >= 3 && long.starts_with(short);
    let near = distance <= candidate.len().max(3) / 3;
    (near || begins(word, candidate) || begins(candidate, word)).then_some(distance)
}

/// The word without what people vary: case, dashes, underscores, spaces.
fn plain(word: &str) -> String {
    let letters = word.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    // A longer word is near to nothing, and would make the table below large.
    letters.take(64).flat_map(char::to_lowercase).collect()
}

/// How many insertions, deletions, changes and swaps of neighbours lead from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// Writes candidates as a list for a message: `` `a`, `b` or `c` ``.
pub(super) fn list<'a>(words: impl IntoIterator<Item = &'a str>, quote: char) -> String {
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
