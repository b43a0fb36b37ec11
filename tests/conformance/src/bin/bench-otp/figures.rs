//! What was measured: by name, as often as there were rounds.

use std::collections::HashMap;

#[derive(Debug, Default)]
pub(crate) struct Figures(HashMap<String, Vec<f64>>);

impl Figures {
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// Adds what another program printed: lines of a name and a number.
    pub(crate) fn add_printed(&mut self, side: &str, output: &[u8]) {
        for line in String::from_utf8_lossy(output).lines() {
            if let Some((name, value)) = line.split_once(' ')
                && let Ok(value) = value.parse()
            {
                self.add(format!("{name} {side}"), value);
            }
        }
    }

    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        let mut values = self.0.get(name)?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}
