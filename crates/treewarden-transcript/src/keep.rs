//! A second name for a transcript, so that nobody else's clean-up deletes it.
//!
//! Any CLI removes the transcripts of its configuration directory that are older than `cleanupPeriodDays` (30 by default,
//! by the time of the last change) when it starts, those of other conversations included. So a quiet session would be
//! destroyed by its sibling. The second name is a hard link at `<config>/treewarden/transcripts/<project>/<id>.jsonl`:
//! measured with CLI 2.1.332, no CLI looks below `<config>/treewarden`, and a CLI only appends, so that both names go on
//! being one file. A link costs no space and needs no copy.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use treewarden_proto::SessionId;

use crate::find;

/// What became of the second name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kept {
    /// It was made.
    Linked,
    /// It was there.
    Already,
    /// There is no transcript yet.
    NoTranscript,
    /// The second name stands for another file than the CLI's, and was left alone.
    Another,
    /// It cannot be made here: another file system below the folder, a system that forbids it, a symbolic link.
    Impossible {
        /// Why.
        reason: String,
    },
}

/// Gives the transcript of a conversation its second name, unless it has one.
///
/// A second name that stands for another file is left alone: that file may be all that is left of the conversation.
pub fn keep(config_dir: &Path, id: SessionId) -> Kept {
    match find(config_dir, id) {
        // Here nobody has looked whether the CLI's file is whole: an empty one must not take the name of the
        // only copy.
        Ok(Some(path)) => keep_file(config_dir, &path, id, OtherFile::Stays),
        Ok(None) => Kept::NoTranscript,
        Err(error) => Kept::Impossible { reason: error.to_string() },
    }
}

/// What happens to a second name that stands for another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OtherFile {
    Stays,
    /// The CLI's file was just found to hold all that it must.
    GivesWay,
}

pub(crate) fn keep_file(config_dir: &Path, path: &Path, id: SessionId, other: OtherFile) -> Kept {
    link(config_dir, path, id, other)
        // Told and not failed: a session whose file system has no hard links works as it is, and only a
        // clean-up could take its transcript away.
        .unwrap_or_else(|error| Kept::Impossible { reason: error.to_string() })
}

fn link(config_dir: &Path, path: &Path, id: SessionId, other: OtherFile) -> io::Result<Kept> {
    // No symbolic link: the second name would be one of whatever the link leads to.
    let file = regular(path)?;
    let dir = folders(config_dir, &project_of(path))?;
    let ours = second_name(config_dir, path, id);
    match regular(&ours) {
        // Asked by device and inode: both names have one content, but so have two copies.
        Ok(own) if is_same(&own, &file) => return Ok(Kept::Already),
        Ok(_) if other == OtherFile::Stays => return Ok(Kept::Another),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Linked under a passing name and renamed from there, so that the second name is never absent: a crash
    // between a removal and a new link would leave the transcript to the next clean-up.
    let moment = dir.join(format!(".{id}.{}.new", std::process::id()));
    // What a process of the same number left here when it died in between.
    remove(&moment)?;
    fs::hard_link(path, &moment)?;
    let linked = fs::rename(&moment, &ours);
    // Where both names are links to one file already, `rename` does nothing and leaves the first, as POSIX
    // has it.
    remove(&moment)?;
    linked.map(|()| Kept::Linked)
}

/// What the second name of a transcript at `path` is, whether it has one or not.
pub fn second_name(config_dir: &Path, path: &Path, id: SessionId) -> PathBuf {
    root(config_dir).join(project_of(path)).join(format!("{id}.jsonl"))
}

fn project_of(path: &Path) -> String {
    path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
}

/// The second name of a transcript, if it has one.
///
/// # Errors
///
/// An [`io::Error`] if its folders cannot be looked through.
pub fn kept(config_dir: &Path, id: SessionId) -> io::Result<Option<PathBuf>> {
    let found = crate::place::newest_below(&root(config_dir), id)?;
    // A link that somebody placed here would have a resume read, and restore, another file.
    Ok(found.filter(|found| regular(found).is_ok()))
}

/// The transcript of a conversation: the CLI's file, or where that is gone its second name.
///
/// # Errors
///
/// An [`io::Error`] if the folders cannot be looked through.
pub fn find_any(config_dir: &Path, id: SessionId) -> io::Result<Option<PathBuf>> {
    match find(config_dir, id)? {
        Some(path) => Ok(Some(path)),
        None => kept(config_dir, id),
    }
}

/// Gives a transcript its first name back, if that is gone and the second is there; returns it.
///
/// # Errors
///
/// An [`io::Error`] if the first name cannot be made.
pub fn restore(config_dir: &Path, id: SessionId) -> io::Result<Option<PathBuf>> {
    // The CLI's name is there: whatever is in it, it is not this function's to replace.
    if let Some(path) = find(config_dir, id)? {
        return Ok(Some(path));
    }
    let Some(ours) = kept(config_dir, id)? else { return Ok(None) };
    let project = ours.parent().and_then(Path::file_name).unwrap_or_default();
    let dir = config_dir.join("projects").join(project);
    DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let path = dir.join(format!("{id}.jsonl"));
    match fs::hard_link(&ours, &path) {
        // A CLI may have made the file between the look and the link; it is there, which is what was wanted.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => {
            // With its old date the next clean-up would take the name away again.
            fs::File::options().append(true).open(&path).and_then(|file| crate::prepare::freshen(&file))?;
            Ok(Some(path))
        }
    }
}

/// Takes the second name back; whatever has no other name stays.
///
/// # Errors
///
/// An [`io::Error`] if it cannot be removed.
pub fn release(config_dir: &Path, id: SessionId) -> io::Result<()> {
    let Some(path) = find(config_dir, id)? else { return Ok(()) };
    // A conversation that moved to another project's folder has one there, too.
    for ours in crate::place::files_below(&root(config_dir), id)? {
        // A second name of another file may be all that is left of a conversation, and stays.
        if regular(&ours).is_ok_and(|own| regular(&path).is_ok_and(|file| is_same(&own, &file))) {
            remove(&ours)?;
        }
    }
    Ok(())
}

/// Tells whether two names stand for one file.
pub fn are_one(one: &Path, other: &Path) -> bool {
    matches!((fs::metadata(one), fs::metadata(other)), (Ok(one), Ok(other)) if is_same(&one, &other))
}

fn root(config_dir: &Path) -> PathBuf {
    config_dir.join("treewarden").join("transcripts")
}

/// Makes the folders down to the project's, for nobody else; one that is a symbolic link is refused.
fn folders(config_dir: &Path, project: &str) -> io::Result<PathBuf> {
    let mut dir = config_dir.to_owned();
    for name in ["treewarden", "transcripts", project] {
        dir.push(name);
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // A symbolic link answers `AlreadyExists` as well, and would lead the second name elsewhere.
        if !dir.symlink_metadata()?.is_dir() {
            return Err(io::Error::other(format!("{} is no folder", dir.display())));
        }
    }
    Ok(dir)
}

/// What is at a path, if that is a file and no link to one.
fn regular(path: &Path) -> io::Result<Metadata> {
    let meta = path.symlink_metadata()?;
    if meta.is_file() {
        Ok(meta)
    } else {
        Err(io::Error::other(format!("{} is no plain file", path.display())))
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
