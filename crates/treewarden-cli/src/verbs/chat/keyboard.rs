//! What a person types: a line editor with a history, which a file keeps.
//!
//! The editor reads a terminal on a thread of its own, since a read of that cannot be called off. It must never be at work while a
//! turn is: it takes the terminal's signals, and Ctrl-C would end no turn.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use crate::output;

/// The name of the history in the user's state directory.
const NAME: &str = "chat-history";

/// So many prompts are kept, of all chats together.
const KEPT: usize = 1000;

/// A longer prompt is not kept.
const LONGEST: usize = 16 << 10;

/// What a person said.
#[derive(Debug)]
pub(super) enum Said {
    /// A prompt, without blanks around it; never a blank one.
    Prompt(String),
    /// They leave.
    End,
}

/// The line editor, and where its history is kept.
pub(super) struct Keyboard {
    editor: Editor<Watcher, FileHistory>,
    history: Option<PathBuf>,
    /// Nothing is typed yet.
    is_blank: Arc<AtomicBool>,
}

impl Keyboard {
    /// Makes the editor, with what was typed before if `keep_history` says so.
    pub(super) fn new(keep_history: bool) -> anyhow::Result<Self> {
        let config = Config::builder()
            .max_history_size(KEPT)?
            // As shells have it: what is not to be kept is typed behind a blank.
            .history_ignore_space(true)
            // A paste of many lines is one prompt.
            .bracketed_paste(true)
            .build();
        let is_blank = Arc::new(AtomicBool::new(true));
        let mut editor = Editor::with_config(config).context("cannot read from the terminal")?;
        editor.set_helper(Some(Watcher(Arc::clone(&is_blank))));
        let history = if keep_history { file(&mut editor) } else { None };
        Ok(Self { editor, history, is_blank })
    }

    /// Waits for the next prompt, and gives the keyboard back.
    pub(super) async fn read(mut self) -> anyhow::Result<(Self, Said)> {
        let reading = tokio::task::spawn_blocking(move || {
            let said = self.typed();
            (self, said)
        });
        let (keyboard, said) = reading.await.context("cannot read from the terminal")?;
        Ok((keyboard, said?))
    }

    fn typed(&mut self) -> anyhow::Result<Said> {
        let mut is_warned = false;
        loop {
            self.is_blank.store(true, Ordering::Relaxed);
            match self.editor.readline("> ") {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => {
                    self.keep(&text);
                    return Ok(Said::Prompt(text.trim().to_owned()));
                }
                // A line that was begun is dropped, as in a shell.
                Err(ReadlineError::Interrupted) if !self.is_blank.load(Ordering::Relaxed) => {
                    is_warned = false
                }
                Err(ReadlineError::Interrupted) if !std::mem::replace(&mut is_warned, true) => {
                    output::note("(Ctrl-C once more, or Ctrl-D, ends the chat; the session goes on)");
                }
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(Said::End),
                // The window has another size, or the program was stopped for a while.
                Err(ReadlineError::Signal(_)) => {}
                Err(error) => return Err(error).context("cannot read from the terminal"),
            }
        }
    }

    /// Puts a prompt into the history.
    fn keep(&mut self, text: &str) {
        if text.len() > LONGEST {
            return;
        }
        // What cannot be kept is there all the same until the chat ends.
        let _is_new = self.editor.add_history_entry(text);
        if let Some(path) = &self.history
            && let Err(error) = self.editor.append_history(path)
        {
            output::note(format!("(the history {} is not kept: {error})", path.display()));
            // Said once, and not for each prompt.
            self.history = None;
        }
    }
}

/// Reads the history into the editor, and says where it is kept; `None` if it cannot be, which is said.
fn file(editor: &mut Editor<Watcher, FileHistory>) -> Option<PathBuf> {
    let found = place().and_then(|path| match editor.load_history(&path) {
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Ok(()) => Ok(path),
        Err(error) => Err(format!("{}: {error}", path.display())),
    });
    found.map_err(|why| output::note(format!("(no history is kept: {why})"))).ok()
}

/// The file of the history, in a folder of ours.
fn place() -> Result<PathBuf, String> {
    let dir = treewarden_store::default_state_dir().ok_or("neither XDG_STATE_HOME nor HOME is set")?;
    let told = |error: io::Error| format!("{}: {error}", dir.display());
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(told)?;
    let owner = fs::metadata(&dir).map_err(told)?.uid();
    // With sudo it is another user's, who could not read or change a file of ours.
    if owner != rustix::process::geteuid().as_raw() {
        return Err(format!("{} belongs to user {owner}", dir.display()));
    }
    let path = dir.join(NAME);
    if is_something_else(&path) {
        return Err(format!("{} is no file; remove it, or chat with --no-history", path.display()));
    }
    Ok(path)
}

/// Whether something is there that is no file: to open a named pipe would wait for its other end.
fn is_something_else(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file())
}

/// Notes whether anything is typed: an editor that was interrupted does not say what was.
struct Watcher(Arc<AtomicBool>);

impl Hinter for Watcher {
    type Hint = String;

    fn hint(&self, line: &str, _at: usize, _context: &Context<'_>) -> Option<String> {
        self.0.store(line.is_empty(), Ordering::Relaxed);
        None
    }
}

impl Completer for Watcher {
    type Candidate = String;
}

impl Highlighter for Watcher {}

impl Validator for Watcher {}

impl Helper for Watcher {}
