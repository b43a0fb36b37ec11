//! The verbs: most are one request to the control socket, and its answer as text or as JSON.

mod ask;
mod chat;
mod check;
mod copies;
mod events;
mod in_force;
mod lost;
mod printed;
mod ps;
mod reload;
mod simple;
mod top;
mod tree;
mod turn;

pub(crate) use ps::table as session_table;
pub(crate) use tree::outline_text;

use std::process::ExitCode;

use treewarden_service::Request;
use treewarden_sqlite::Restore;

use crate::args::{Place, Target, Verb};
use crate::log::Log;
use crate::{daemon, demo};

/// Runs a verb to its end.
pub(crate) async fn run(verb: Verb, log: &Log) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Demo => demo::run().await,
        Verb::Run { file, place } => daemon::run(&file, &place, log).await,
        Verb::Reload { file, dry_run, allow_empty, force, output, place } => {
            let file = file.map(std::path::absolute).transpose()?;
            reload::run(Request::Reload { file, dry_run, allow_empty, force }, output, &place).await
        }
        Verb::Ps { output, place } => ps::run(output, &place).await,
        Verb::Ask(ask) => ask::run(ask).await,
        Verb::Chat { name, no_history, place } => chat::run(&name, !no_history, &place).await,
        Verb::Turn { turn, wait, output, place } => turn::run(turn, wait, output, &place).await,
        Verb::Cancel { turn, place } => simple::cancel(turn, &place).await,
        Verb::Restart { name, force, place } => {
            let done = format!("{name} was restarted");
            simple::run(Request::Restart { name, force }, &done, &place).await
        }
        Verb::Stop { force, target: Target { name, place } } => simple::stop(name, force, &place).await,
        Verb::Start(Target { name, place }) => {
            simple::run(Request::Start { name: name.clone() }, &format!("{name} was started"), &place).await
        }
        Verb::New { template, target: Target { name, place } } => {
            let done = format!("{name} is made");
            simple::run(Request::New { template, name }, &done, &place).await
        }
        Verb::Remove { force, target: Target { name, place } } => simple::remove(name, force, &place).await,
        Verb::Clear { name: Some(name), place, .. } => {
            let done = format!("{name} has a new conversation");
            simple::run(Request::Clear { name }, &done, &place).await
        }
        Verb::Clear { name: None, place, .. } => lost::clear(&place).await,
        Verb::Adopt { name: Some(name), id: Some(session_id), place, .. } => {
            lost::adopt_one(name, session_id, &place).await
        }
        Verb::Adopt { place, .. } => lost::adopt_all(&place).await,
        Verb::Interrupt(Target { name, place }) => simple::interrupt(name, &place).await,
        Verb::Tree { output, place } => tree::run(output, &place).await,
        Verb::Events { follow, since, output, place } => events::run(follow, since, output, &place).await,
        Verb::Top { interval, place } => top::run(interval, &place).await,
        Verb::Backup { dir, place } => copies::backup(&dir, &place).await,
        Verb::Restore { dir, force, damaged, state_dir } => {
            let how = Restore { replace: force, damaged };
            copies::restore(dir, how, Place { socket: None, state_dir }).await
        }
        Verb::Check { file, strict } => check::run(&file, strict),
        Verb::Schema => check::schema(),
    }
}
