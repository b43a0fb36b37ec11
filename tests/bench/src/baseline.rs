//! The table that is kept, and the figures of the README, which come from it.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The head of the README's table; its rows name measures of the baseline.
const README_HEAD: &str = "| measure | must be | figure |";

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Writes the table to `baseline.md` under this caption, and its figures into the README.
pub(crate) fn write(caption: &str, table: &str) -> Result<()> {
    let text = format!(
        "# Baseline\n\nWritten by `just bench-baseline`: {caption}. Absolute figures are the machine's; read the ratios. What the rows\nmean: [docs/benchmarks.md](../../docs/benchmarks.md).\n\n{table}"
    );
    let (baseline, readme) = (path("baseline.md"), path("../../README.md"));
    std::fs::write(&baseline, text).with_context(|| format!("write {}", baseline.display()))?;
    let old = std::fs::read_to_string(&readme).with_context(|| format!("read {}", readme.display()))?;
    std::fs::write(&readme, with_figures(&old, table)).with_context(|| format!("write {}", readme.display()))
}

/// The README with the figures of this table; a measure that is not in the table keeps its old one.
fn with_figures(readme: &str, table: &str) -> String {
    let (mut text, mut in_table) = (String::new(), false);
    for line in readme.lines() {
        in_table = line == README_HEAD || (in_table && line.starts_with('|'));
        let new = columns(line).first().filter(|_| in_table).and_then(|measure| row(measure, table));
        text.push_str(new.as_deref().unwrap_or(line));
        text.push('\n');
    }
    text
}

/// The README's row of a measure: the ratio where there is one, and the figure itself where not.
fn row(measure: &str, table: &str) -> Option<String> {
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let found = rows.map(columns).find(|columns| columns.first() == Some(&measure))?;
    let [_, must, _, ours, ratio, _] = found[..] else { return None };
    let figure = if ratio.is_empty() { ours.to_owned() } else { format!("{ratio} ×") };
    Some(format!("| {measure} | {must} | {figure} |"))
}

fn columns(line: &str) -> Vec<&str> {
    let inner = line.strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    inner.map(|inner| inner.split('|').map(str::trim).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| measure | must be | floor | treewarden | ratio | ok? |\n|---|---|---|---|---|---|\n\
        | a | ≥ 0.8 × floor | 10/s | 9/s | 0.90 | yes |\n| b | ≤ 3 s |  | 2 s |  | yes |\n";

    #[test]
    fn a_row_of_the_readme_takes_the_ratio_or_else_the_figure() {
        let readme = format!(
            "{README_HEAD}\n|---|---|---|\n| a | old | old |\n| b | old | old |\n| c | old | old |\n\n| a | x |\n"
        );
        let expected = format!(
            "{README_HEAD}\n|---|---|---|\n| a | ≥ 0.8 × floor | 0.90 × |\n| b | ≤ 3 s | 2 s |\n| c | old | old |\n\n| a | x |\n"
        );
        assert_eq!(with_figures(&readme, TABLE), expected);
    }

    #[test]
    fn the_figures_of_the_readme_are_those_of_the_baseline() {
        let read = |file| std::fs::read_to_string(path(file)).expect("it is kept");
        let (readme, baseline) = (read("../../README.md"), read("baseline.md"));
        let expected = with_figures(&readme, &baseline);
        let other = expected.lines().zip(readme.lines()).find(|(expected, line)| expected != line);
        assert_eq!(other, None, "run `just bench-baseline`");
        let rows = readme.lines().skip_while(|line| *line != README_HEAD).skip(2);
        let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).map(columns).collect();
        assert!(!rows.is_empty(), "the README has figures");
        for columns in rows {
            assert!(row(columns[0], &baseline).is_some(), "{} is no measure of the baseline", columns[0]);
        }
    }
}
