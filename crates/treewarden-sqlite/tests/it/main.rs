//! The store on a real disk, with other processes, and against what may go wrong with its files.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod conformance;
mod contract;
mod copies;
mod damage;
mod flips;
mod full;
mod group;
mod kill;
mod lines;
mod locks;
mod lost;
mod openings;
mod problems;
mod prune;
mod removed;
mod support;
