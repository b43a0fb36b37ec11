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
mod log;
mod output;
mod place;
mod shown;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Verb};
use log::Way;

fn main() -> ExitCode {
    // Before any thread is started, which would inherit the mask.
    treewarden_process::take_all_signals();
    // The demo's sessions run this very program under another name as their CLI.
    if let Some(code) = demo::stand_in() {
        return code;
    }
    let cli = Cli::parse();
    let (filter, format) = (cli.log.clone(), cli.log_format);
    let Some(verb) = cli.into_verb(args::is_checkout()) else { return help() };
    let default = match verb {
        Verb::Run { .. } => "info",
        // The demo kills on purpose, and tells of it itself.
        Verb::Demo => "off",
        _ => "error",
    };
    // A daemon must not wait for whoever reads its log; a command that somebody waits for may.
    let way = if matches!(verb, Verb::Run { .. }) { Way::Queued } else { Way::AtOnce };
    let log = log::start(filter.as_deref(), default, format, way);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log.say(tracing::Level::ERROR, format!("error: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(verbs::run(verb, &log));
    // Reads of stdin cannot be cancelled, and must not keep the command from ending.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) if exit::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            log.say(tracing::Level::ERROR, format!("error: {error:#}"));
            exit::code(&error).into()
        }
    }
}

/// Whoever gives no verb looks for what there is.
fn help() -> ExitCode {
    match Cli::command().print_help() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
