//! Copies of the store: made by the tree that runs, or without one, and put back where none runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use treewarden_service::Request;
use treewarden_sqlite::{RestoreError, SqliteOptions, SqliteStore};
use treewarden_store::{Backend, Holder, TreeLock};

use crate::args::Place;
use crate::client::Client;
use crate::exit::{Exit, Failure, code};
use crate::output;

pub(super) async fn backup(to: &Path, place: &Place) -> anyhow::Result<ExitCode> {
    let to = std::path::absolute(to)?;
    match Client::connect(place).await {
        Ok(mut client) => drop(client.call(&Request::Backup { to: to.clone() }).await?),
        // Which directory a socket is of is known to the tree behind it alone.
        Err(error) if code(&error) == Exit::NoDaemon && place.has_directory() => {
            without_a_tree(place.state_dir(None)?, to.clone()).await?;
        }
        Err(error) => return Err(error),
    }
    output::line(format!("{} has a copy", to.display()))?;
    Ok(ExitCode::SUCCESS)
}

async fn without_a_tree(dir: PathBuf, to: PathBuf) -> anyhow::Result<()> {
    if !dir.join("treewarden.db").exists() {
        let text =
            format!("{} has nothing that could be copied; name another with --state-dir", dir.display());
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

pub(super) async fn restore(backup: PathBuf, force: bool, place: Place) -> anyhow::Result<ExitCode> {
    let dir = place.state_dir(None)?;
    let name = "restore".parse().context("a plain word is a valid name")?;
    // Held to the end: no tree starts on what is being replaced.
    let into = dir.display();
    let _lock = TreeLock::acquire(&dir, &Holder::this_process(&name)).map_err(|held| match &held.error {
        // Nobody has it: the directory cannot be made or written.
        Some(error) => {
            let text = format!(
                "restore into {into}: {error}; look at the rights of that folder, and whether its filesystem is full or mounted \
                 read-only"
            );
            Failure::new(Exit::Failed, text)
        }
        None => {
            let text = format!("restore into {into}: a tree runs on it, or may: {held}; stop it first");
            Failure::new(Exit::Held, text)
        }
    })?;
    let into = dir.clone();
    let restored =
        tokio::task::spawn_blocking(move || treewarden_sqlite::restore(&backup, &into, force)).await?;
    let aside = restored.map_err(|error| match error {
        RestoreError::Occupied(_) => {
            Failure::new(Exit::Held, format!("{error}; with --force that is set aside"))
        }
        RestoreError::InUse(_) => Failure::new(Exit::Held, error),
        error => Failure::new(Exit::Failed, error),
    })?;
    if let Some(aside) = aside {
        output::note(format!("what was there is in {}", aside.display()));
    }
    output::line(format!("{} is as it was when the copy was made", dir.display()))?;
    Ok(ExitCode::SUCCESS)
}
