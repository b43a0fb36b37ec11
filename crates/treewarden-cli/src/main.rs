//! The treewarden command: runs a tree of sessions, and talks to one that runs.
//!
//! It holds no logic that an embedder would miss: `daemon` is a door to `treewarden-service`, by a socket, `verbs` are clients of
//! it, `demo` shows both without a key.

mod args;
mod capacity;
mod client;
mod daemon;
mod demo;
mod exit;
mod lines;
mod output;
mod place;
mod verbs;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Cli, Verb};

fn main() -> ExitCode {
    // The demo's sessions run this very program under another name as their CLI.
    if let Some(code) = demo::stand_in() {
        return code;
    }
    let cli = Cli::parse();
    let default = match cli.verb {
        Some(Verb::Run { .. }) => "info",
        // The demo kills on purpose, and tells of it itself.
        None | Some(Verb::Demo) => "off",
        Some(_) => "error",
    };
    log(cli.log.as_deref(), default);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(format!("error: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(verbs::run(cli.verb.unwrap_or(Verb::Demo)));
    // Reads of stdin cannot be cancelled, and must not keep the command from ending.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) if exit::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(format!("error: {error:#}"));
            exit::code(&error).into()
        }
    }
}

fn log(filter: Option<&str>, default: &str) {
    let filter = filter.filter(|filter| !filter.is_empty()).unwrap_or(default);
    // `RUST_LOG` may be meant for another program: a filter that is not understood stops nothing.
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        output::note(format!("warning: the log filter {filter:?} is not understood: {error}"));
        EnvFilter::new(default)
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A line that cannot be written is lost. It would be complained of on stderr itself, by a macro that panics where that cannot
    // be written either: a full disk with the log on it would end the sessions.
    let log = log.log_internal_errors(false);
    log.with_ansi(output::is_coloured(&std::io::stderr())).init();
}
