//! Sees to it that a session gets no CLI of a version that is unfit for it, before that CLI is started.
//!
//! A CLI cannot be asked once it is started for a conversation: 2.1.332 ends if anything comes before `initialize`
//! (`--await-initialize`), and runs on with the conversation as soon as it has that. So the program is asked by `--version`, which
//! takes it some 20 ms; once in the life of a host, and not where a CLI of this file has said it since. To be asked is no small thing
//! for a script in the place of the CLI: one that starts a container takes its name for that time. What was said is remembered as
//! long as the file is the same. Whether a version is fit is [`unfit`]'s to say.

use std::time::Duration;

use treewarden_core::session::{StartFailure, unfit};
use treewarden_process::{Cookie, Ladder, Line, Program};

use super::launch::Surroundings;
use super::start::spawn_failure;
use crate::binaries::Binary;
use crate::session::desk::Desk;

/// How long a program may take to say its version.
const SAY: Duration = Duration::from_secs(10);

/// Refuses a CLI that the session's options do not allow, or that is older than the one that wrote its conversation.
pub(super) async fn fit(desk: &Desk, around: &Surroundings, wrote: Option<&str>) -> Result<(), StartFailure> {
    let named = desk.options().cli_version.clone();
    if named.is_none() && wrote.is_none() {
        return Ok(());
    }
    let said = version(desk, around).await?;
    let said = said.as_deref().map_err(String::as_str);
    unfit(said, named.as_ref(), wrote).map_or(Ok(()), |unfit| Err(StartFailure::Permanent(unfit)))
}

/// What the program says of its version, or why it says nothing.
///
/// What cannot be started to say it could not be started for the session either, and fails as that.
async fn version(desk: &Desk, around: &Surroundings) -> Result<Result<String, String>, StartFailure> {
    let binaries = &desk.host.inner.binaries;
    let binary = Binary::of(&around.path);
    if let Some(known) = binary.as_ref().and_then(|binary| binaries.version(binary)) {
        return Ok(Ok(known));
    }
    let Ok(said) = tokio::time::timeout(SAY, ask(desk, around)).await else {
        return Ok(Err(format!("`--version` took longer than {} s", SAY.as_secs())));
    };
    let said = said?;
    if let (Some(binary), Ok(version)) = (binary, &said) {
        binaries.set_version(binary, version.clone());
    }
    Ok(said)
}

async fn ask(desk: &Desk, around: &Surroundings) -> Result<Result<String, String>, StartFailure> {
    let program = Program {
        path: around.path.clone(),
        args: vec!["--version".into()],
        env: around.environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        cwd: around.cwd.clone(),
    };
    // The mark is the session's: what is left of the program, should this be dropped, is found with the rest of it.
    let cookie = Cookie::new(desk.session_id().to_string());
    let spawned = treewarden_process::spawn(program, cookie, desk.host.inner.containment).await;
    let mut tree = spawned.map_err(|error| spawn_failure(desk, &error))?;
    let mut lines = Vec::new();
    if let Some(mut stdout) = tree.take_stdout() {
        while lines.is_empty() && stdout.next_batch(&mut lines).await.unwrap_or(false) {}
    }
    if let Err(error) = tree.stop(Ladder::kill(), None).await {
        return Ok(Err(format!("failed to {error}")));
    }
    let first = lines.into_iter().find_map(|line| match line {
        Line::Complete(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Line::Partial(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Line::TooLong { .. } => None,
    });
    // `2.1.332 (Claude Code)`.
    let version = first.as_deref().and_then(|line| line.split_whitespace().next());
    Ok(version.map(str::to_owned).ok_or_else(|| "`--version` printed nothing".to_owned()))
}
