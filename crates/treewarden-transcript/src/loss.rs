//! What of a conversation is lost, and in which words that is said.

use std::io;
use std::path::{Path, PathBuf};

use treewarden_proto::{SessionId, TurnId};

use crate::keep::{are_one, kept};
use crate::prepare::Resumable;
use crate::resume::{self, Missing, Point};
use crate::tree::Tree;
use crate::{Known, tail};

/// What a file has not got any more.
#[derive(Debug)]
pub(crate) enum Loss {
    /// Something that it must hold.
    Missing(Missing),
    /// It has only the end of the conversation, and our second name stands for another file.
    Beginning {
        /// The line that it goes on from.
        missing: String,
        /// What our second name stands for.
        ours: PathBuf,
    },
}

/// Says where to resume, or what is lost; the whole file must have been read.
pub(crate) fn look(
    config_dir: &Path,
    path: &Path,
    id: SessionId,
    tree: &Tree,
    known: &Known,
    open: Option<TurnId>,
) -> io::Result<Result<Option<Point>, Loss>> {
    // What must be there comes first: that a file begins in the middle matters only if all else is in it.
    let point = match resume::sound(tree, known, open) {
        Ok(point) => point,
        Err(missing) => return Ok(Err(Loss::Missing(missing))),
    };
    let missing = point.and_then(|point| resume::begins_amid(tree, point.leaf));
    if let Some(missing) = missing
        && let Some(ours) = another(config_dir, path, id)?
    {
        return Ok(Err(Loss::Beginning { missing: tree.name(missing), ours }));
    }
    Ok(Ok(point))
}

impl Loss {
    /// What is missing in the CLI's file, and whether our second name stands for one that has it.
    pub(crate) fn reason(&self, config_dir: &Path, path: &Path, id: SessionId, known: &Known) -> String {
        let file = path.display();
        let what = match self {
            Self::Beginning { missing, ours } => {
                return format!(
                    "{file} begins in the middle: it goes on from {missing}, which is not in it; what came before may be \
                     in {}: stop the session and put the lines of the former behind those of the latter, in the place \
                     of the former",
                    ours.display()
                );
            }
            Self::Missing(Missing::Turn(turn)) => format!("the settled turn {turn} is not in {file}"),
            Self::Missing(Missing::Answer(turn)) => {
                format!("the answer to the settled turn {turn} is not in {file}; was the disk full?")
            }
            Self::Missing(Missing::First) => {
                let first = known.first.as_deref().unwrap_or_default();
                format!("its first message {first}, which was seen in {file}, is not in it any more")
            }
        };
        let how = match path.metadata() {
            // Only a guess at how it came, for people: a file whose size cannot be read gets none.
            Ok(meta) if meta.len() == 0 => ", which is empty now: somebody emptied it, or the disk was full",
            _ => "",
        };
        let elsewhere = match another(config_dir, path, id) {
            Err(error) => format!("whether another copy is kept cannot be seen: {error}"),
            Ok(Some(ours))
                if tail::whole(&ours).is_ok_and(|tree| resume::sound(&tree, known, None).is_ok()) =>
            {
                format!("{} has it: stop the session and put that in its place", ours.display())
            }
            Ok(Some(ours)) => format!("nor is it in {}", ours.display()),
            Ok(None) => "no other copy is kept".to_owned(),
        };
        format!("{what}{how}; {elsewhere}")
    }
}

/// What it means that there is no file, under either name.
pub(crate) fn without_file(config_dir: &Path, id: SessionId, known: &Known) -> Resumable {
    let held = match (known.written(), &known.first) {
        (Some(turn), _) => format!("the settled turn {turn}"),
        (None, Some(first)) => format!("its first message {first}"),
        // Nothing was ever seen of it on disk, so that nothing can be lost: the conversation begins.
        (None, None) => return Resumable::NothingPersisted,
    };
    let dir = config_dir.display();
    let reason = format!(
        "no transcript of it is left, which held {held}: there is no {id}.jsonl below {dir}/projects, and no second name of \
         it below {dir}/treewarden/transcripts; somebody deleted it, or a Claude Code CLI that cleaned up \
         (`cleanupPeriodDays` in its settings, 30 if not set), or it lies below another config directory: if HOME or \
         CLAUDE_CONFIG_DIR of the session was changed, change it back"
    );
    Resumable::Lost { reason }
}

/// A file of the conversation that has our second name and is not the CLI's.
pub(crate) fn another(config_dir: &Path, path: &Path, id: SessionId) -> io::Result<Option<PathBuf>> {
    Ok(kept(config_dir, id)?.filter(|ours| !are_one(ours, path)))
}
