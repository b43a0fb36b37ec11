//! Finds actors by name or key, as Elixir's Registry does.
