//! What model calls took, as the CLI says it: tokens, and their price.
//!
//! It is for sums of results. It is not for what a single message took, which is its [`Usage`](super::Usage), and it must never
//! make a number of one that is missing: what is not told is unknown, and not nothing.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use super::ResultFrame;
use crate::wire::wire;

wire! {
    /// What one model took.
    pub struct ModelUsage {
        /// Tokens read outside of the cache.
        input_tokens: u64 = "inputTokens",
        /// Tokens written, thinking included.
        output_tokens: u64 = "outputTokens",
        /// Tokens put into the cache.
        cache_creation_input_tokens: u64 = "cacheCreationInputTokens",
        /// Tokens read from the cache.
        cache_read_input_tokens: u64 = "cacheReadInputTokens",
        /// What that costs by the CLI's price list, in US dollars.
        cost_usd: f64 = "costUSD",
    }
}

/// Tokens of model calls, of all models together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TokenUsage {
    /// Tokens read outside of the cache.
    pub input_tokens: u64,
    /// Tokens written, thinking included.
    pub output_tokens: u64,
    /// Tokens put into the cache.
    pub cache_creation_input_tokens: u64,
    /// Tokens read from the cache.
    pub cache_read_input_tokens: u64,
}

/// What model calls took: tokens, and their price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Spent {
    /// The tokens.
    pub usage: TokenUsage,
    /// The price by the CLI's list, in US dollars; never negative, and always finite.
    pub cost_usd: f64,
}

impl Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (a, b) = (self.usage, other.usage);
        let sum = u64::saturating_add;
        let usage = TokenUsage {
            input_tokens: sum(a.input_tokens, b.input_tokens),
            output_tokens: sum(a.output_tokens, b.output_tokens),
            cache_creation_input_tokens: sum(a.cache_creation_input_tokens, b.cache_creation_input_tokens),
            cache_read_input_tokens: sum(a.cache_read_input_tokens, b.cache_read_input_tokens),
        };
        // JSON has no infinity: a record that held one could not be read again.
        Self { usage, cost_usd: (self.cost_usd + other.cost_usd).min(f64::MAX) }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl ModelUsage {
    fn spent(&self) -> Option<Spent> {
        let usage = TokenUsage {
            input_tokens: self.input_tokens?,
            output_tokens: self.output_tokens?,
            cache_creation_input_tokens: self.cache_creation_input_tokens?,
            cache_read_input_tokens: self.cache_read_input_tokens?,
        };
        let cost_usd = self.cost_usd.filter(|cost| cost.is_finite() && *cost >= 0.0)?;
        Some(Spent { usage, cost_usd })
    }
}

impl ResultFrame {
    /// What was spent since the result before it, or since the start of this CLI; `None` if the CLI does not say so in full.
    ///
    /// It is the CLI's own difference (2.1.330 and 2.1.332 tell it, 2.1.197 does not), and has in it what the other numbers
    /// leave out: sub-agents, a compaction, a request that an interrupt cut off. `total_cost_usd` and `modelUsage` are sums that a
    /// resumed CLI may or may not go on with, depending on how the one before it ended.
    pub fn spent(&self) -> Option<Spent> {
        let models = self.model_usage_since_last_result.as_ref()?;
        models.values().try_fold(Spent::default(), |sum, model| Some(sum + model.spent()?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Frame;

    fn spent(since: &Value) -> Option<Spent> {
        let line = json!({ "type": "result", "model_usage_since_last_result": since, "total_cost_usd": 9.0 });
        let frame = Frame::parse(line.to_string().into()).expect("a frame");
        frame.result().expect("a result").spent()
    }

    fn model(input: u64, cost: f64) -> Value {
        json!({ "inputTokens": input, "outputTokens": 5, "cacheReadInputTokens": 3, "cacheCreationInputTokens": 2,
            "costUSD": cost, "contextWindow": 200_000, "costBasis": "list" })
    }

    #[test]
    fn what_was_spent_is_the_sum_of_all_models_since_the_last_result() {
        let both = spent(&json!({ "a": model(10, 0.25), "b": model(20, 0.5) })).expect("it is told");
        let usage = TokenUsage {
            input_tokens: 30,
            output_tokens: 10,
            cache_creation_input_tokens: 4,
            cache_read_input_tokens: 6,
        };
        assert_eq!(both, Spent { usage, cost_usd: 0.75 });
        assert_eq!(spent(&json!({})), Some(Spent::default()), "no model was asked");
    }

    #[test]
    fn what_is_not_told_in_full_is_unknown_and_not_nothing() {
        let mut odd = model(10, 0.25);
        odd["costUSD"] = json!(null);
        for since in [
            json!(null),
            json!("x"),
            json!({ "a": odd }),
            json!({ "a": {} }),
            json!({ "a": model(10, -1.0) }),
            json!({ "a": model(10, 0.25), "b": { "inputTokens": -1 } }),
        ] {
            assert_eq!(spent(&since), None, "{since}");
        }
    }

    #[test]
    fn a_sum_stays_a_number_that_can_be_written() {
        let most = Spent {
            usage: TokenUsage { input_tokens: u64::MAX, ..TokenUsage::default() },
            cost_usd: f64::MAX,
        };
        let mut sum = most;
        sum += most;
        let json = serde_json::to_string(&sum).expect("JSON");
        assert_eq!(serde_json::from_str::<Spent>(&json).expect("it is read back"), most);
    }
}
