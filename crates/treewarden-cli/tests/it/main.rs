//! The command from outside: its output, its exit codes, and the daemon on real processes.

mod at_most_once;
mod clients;
mod command;
mod copies;
mod daemon;
mod damaged;
mod dynamic;
mod events;
mod given_up;
mod hosts;
mod left;
mod left_open;
mod limits;
mod one_writer;
mod orphans;
mod prompts;
mod reload;
mod removals;
mod removed;
mod secrets;
mod stopped;
mod support;
mod unread;
mod unsaved;
mod words;
