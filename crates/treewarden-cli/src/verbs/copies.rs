//! Copies of the store: made by the tree that runs, or without one, and put back where none runs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use treewarden_service::Request;
use treewarden_sqlite::{Restore, RestoreError, Restored, SqliteOptions, SqliteStore};
use treewarden_store::{Backend, Held, Holder, TreeLock};

use crate::args::Place;
use crate::client::Client;
use crate::exit::{Exit, Failure, code};
use crate::output;
use crate::place::Chosen;

pub(super) async fn backup(to: &Path, place: &Place) -> anyhow::Result<ExitCode> {
    let to = std::path::absolute(to)?;
    let _survives = too_large()?;
    // Which directory a socket is of is known to the tree behind it alone.
    let chosen = if place.has_directory() { Some(place.of_run()?) } else { None };
    let mut place = place.clone();
    if place.socket.is_none() {
        place.state_dir = chosen.as_ref().map(|chosen| chosen.dir.clone());
    }
    let of = match (Client::connect(&place).await, chosen) {
        (Ok(mut client), _) => {
            client.call(&Request::Backup { to: to.clone() }).await?;
            let hello = client.call(&Request::Hello {}).await?;
            format!("{} (of the tree that runs)", hello["state_dir"].as_str().unwrap_or("the tree's store"))
        }
        (Err(error), Some(chosen)) if code(&error) == Exit::NoDaemon => {
            let of = format!("{} ({})", chosen.dir.display(), chosen.by);
            without_a_tree(chosen, to.clone()).await?;
            of
        }
        (Err(error), _) => return Err(error),
    };
    output::line(format!("{} has a copy of {of}", to.display()))?;
    say_damage(to).await?;
    Ok(ExitCode::SUCCESS)
}

/// Says what of a copy is damaged, as what was copied is: it is the one that there is, and whoever has an older one is to keep that.
async fn say_damage(copy: PathBuf) -> anyhow::Result<()> {
    let at = copy.clone();
    match tokio::task::spawn_blocking(move || treewarden_sqlite::damage(&at)).await? {
        Ok(None) => {}
        Ok(Some(why)) => output::note(format!(
            "what was copied is damaged, and so is the copy: {why}; keep an earlier one, and `treewarden restore {}` says whose that is",
            copy.display()
        )),
        // As where the tree is another user's, whose copy is for that one alone.
        Err(error) => output::note(format!("whether the copy is whole is not known: failed to {error}")),
    }
    Ok(())
}

/// Has a file that may not grow any more be an error of the write, which is told, and not the end of this process.
fn too_large() -> std::io::Result<Signal> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))
}

async fn without_a_tree(Chosen { dir, by }: Chosen, to: PathBuf) -> anyhow::Result<()> {
    if !dir.join("treewarden.db").exists() {
        let text = format!(
            "{} ({by}) has nothing that could be copied; name another with --state-dir",
            dir.display()
        );
        return Err(Failure::new(Exit::Failed, text).into());
    }
    if treewarden_sqlite::is_of_earlier_version(&dir) {
        let text = format!(
            "{} was written by an earlier version, and to open it would carry it over, so that that version could not use it any \
             more; to keep it as it is, copy the folder with `cp -a` while nothing runs",
            dir.display()
        );
        return Err(Failure::new(Exit::Failed, text).into());
    }
    let open = move || SqliteStore::open(&dir, SqliteOptions::default());
    let store = tokio::task::spawn_blocking(open).await??;
    Ok(store.backup(to).await?)
}

pub(super) async fn restore(backup: PathBuf, how: Restore, place: Place) -> anyhow::Result<ExitCode> {
    let chosen = place.of_run()?;
    let _survives = too_large()?;
    let another = other_owner(&chosen.dir);
    let name = "restore".parse().context("a plain word is a valid name")?;
    // Held to the end: no tree starts on what is being replaced.
    let _lock = TreeLock::acquire(&chosen.dir, &Holder::this_process(&name))
        .map_err(|held| not_held(&chosen, &held))?;
    let into = chosen.dir.clone();
    let restored =
        tokio::task::spawn_blocking(move || treewarden_sqlite::restore(&backup, &into, how)).await?;
    let Restored { aside, in_use_by, damaged, .. } =
        restored.map_err(|error| not_restored(&chosen, error))?;
    let dir = chosen.dir.display();
    if let Some(aside) = aside {
        output::note(format!("what was there is in {}", aside.display()));
    }
    if let Some(by) = in_use_by {
        output::note(format!(
            "{by} has that open, and goes on with it there: what it writes is not in {dir}"
        ));
    }
    if let Some(why) = damaged {
        output::note(format!(
            "the copy is damaged: {why}; the rest is put back, and `treewarden ps` says the same of it"
        ));
    }
    if let Some(uid) = another {
        output::note(format!(
            "{dir} was made by the super-user, in a folder of user {uid}, who cannot use it: if it is for that user, chown -R {uid} {dir}"
        ));
    }
    output::line(format!("{dir} ({}) is as it was when the copy was made", chosen.by))?;
    Ok(ExitCode::SUCCESS)
}

/// Whose the folder is in which the super-user is about to make a directory.
fn other_owner(dir: &Path) -> Option<u32> {
    let dir =
        std::path::absolute(dir).ok().filter(|dir| rustix::process::geteuid().is_root() && !dir.exists())?;
    let uid = dir.ancestors().find_map(|folder| folder.metadata().ok())?.uid();
    Some(uid).filter(|uid| *uid != 0)
}

fn not_held(Chosen { dir, by }: &Chosen, held: &Held) -> Failure {
    let into = dir.display();
    match &held.error {
        // Nobody has it: the directory cannot be made or written.
        Some(error) => {
            let text = format!(
                "restore into {into} ({by}): {error}; look at the rights of that folder, and whether its filesystem is full or \
                 mounted read-only"
            );
            Failure::new(Exit::Failed, text)
        }
        None => {
            let text =
                format!("restore into {into} ({by}): a tree runs on it, or may: {held}; stop it first");
            Failure::new(Exit::Held, text)
        }
    }
}

fn not_restored(Chosen { by, .. }: &Chosen, error: RestoreError) -> Failure {
    match error {
        RestoreError::Occupied(_) => Failure::new(
            Exit::Held,
            format!("{error} (the state directory is {by}); with --force that is set aside"),
        ),
        RestoreError::InUse(_) => Failure::new(Exit::Held, format!("{error} (the state directory is {by})")),
        RestoreError::Damaged { .. } => {
            let text = format!(
                "{error}; nothing was changed. Restore another copy, or have the rest put back with --damaged, and `treewarden ps` says \
                 what is not"
            );
            Failure::new(Exit::Failed, text)
        }
        error => Failure::new(Exit::Failed, error),
    }
}
