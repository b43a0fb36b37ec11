//! A model API on loopback.
