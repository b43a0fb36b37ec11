//! The config file: one file, one tree.
