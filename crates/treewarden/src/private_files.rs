//! What a CLI is given in files that its user alone can read, as arguments can be read by everybody: settings, and MCP
//! servers with what they are started with.
//!
//! What the session's options say is never dropped silently: a CLI ignores a settings file that is no JSON as a whole, and
//! so with its [second door](crate::second_door) open; here it is an error.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use treewarden_proto::SessionId;
use treewarden_proto::spec::{McpConfig, Opening, SessionSpec, Settings, is_json_text};
use treewarden_store::placed;

use crate::second_door;

/// What goes in files; what is `None` is said by the arguments, or not at all.
///
/// It holds secrets, and so has no `Debug`.
#[derive(Clone, PartialEq)]
pub(crate) struct Private {
    settings: Option<Map<String, Value>>,
    mcp_servers: Option<Value>,
}

impl Private {
    /// What these options say; a settings file is read beside, and waited for so long.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings file that the options name.
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed by it.
    pub(crate) async fn of(spec: &SessionSpec, cwd: &Path, within: Duration) -> Result<Self, String> {
        if !matches!(spec.settings, Some(Settings::Path(_))) {
            return Self::now(spec, cwd);
        }
        // A disk that hangs must not keep the threads that all sessions share.
        let (own, dir) = (spec.clone(), cwd.to_owned());
        let reading = tokio::task::spawn_blocking(move || Self::now(&own, &dir));
        match tokio::time::timeout(within, reading).await {
            Ok(Ok(private)) => private,
            Ok(Err(error)) => Err(format!("the settings file cannot be read: {error}")),
            Err(_) => Err("the settings file cannot be read: its disk does not answer".to_owned()),
        }
    }

    /// As [`Self::of`]; blocks.
    pub(crate) fn now(spec: &SessionSpec, cwd: &Path) -> Result<Self, String> {
        Ok(Self { settings: settings(spec, cwd)?, mcp_servers: mcp_servers(spec)? })
    }

    /// The arguments of a CLI, without those that go in a file.
    pub(crate) fn args(&self, spec: &SessionSpec, opening: &Opening) -> Vec<String> {
        let mut args = spec.argv(opening);
        let hidden = [(SETTINGS, self.settings.is_some()), (MCP_CONFIG, self.mcp_servers.is_some())];
        // What goes in a file is said there alone: an argument stands in the list of processes for everybody.
        args.retain(|arg| !hidden.iter().any(|(flag, hidden)| *hidden && arg.starts_with(flag)));
        args
    }

    /// Leaves out the settings, of which the session's options have none: see [`Self::write`].
    pub(crate) fn without_settings(self) -> Self {
        Self { settings: None, ..self }
    }

    /// Writes the files for a CLI that is about to be started.
    ///
    /// # Errors
    ///
    /// One cannot be written; the other one is removed again.
    pub(crate) fn write(&self, state_dir: &Path, id: SessionId) -> io::Result<PrivateFiles> {
        let mut files = PrivateFiles::default();
        if let Some(settings) = &self.settings {
            files.add(SETTINGS, write(state_dir, id, "", &serde_json::to_vec(settings)?)?);
        }
        if let Some(servers) = &self.mcp_servers {
            files.add(MCP_CONFIG, write(state_dir, id, "-mcp", &serde_json::to_vec(servers)?)?);
        }
        Ok(files)
    }
}

const SETTINGS: &str = "--settings=";
const MCP_CONFIG: &str = "--mcp-config=";

/// The largest settings file that is read.
const MAX_SETTINGS: u64 = 16 << 20;

/// The files of one CLI; dropping them when it is gone removes them.
#[derive(Debug, Default)]
pub(crate) struct PrivateFiles {
    files: Vec<(&'static str, PathBuf)>,
}

impl PrivateFiles {
    fn add(&mut self, flag: &'static str, path: PathBuf) {
        self.files.push((flag, path));
    }

    /// The arguments that name them.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = OsString> {
        // Byte by byte: a path that is no UTF-8, shown as text, would name another file, and the CLI would do without.
        self.files.iter().map(|(flag, path)| {
            let mut argument = OsString::from(flag);
            argument.push(path);
            argument
        })
    }
}

impl Drop for PrivateFiles {
    fn drop(&mut self) {
        // A sweep may have removed them, or the user; there is nothing to be done about it.
        for (_, path) in &self.files {
            let _gone_already = fs::remove_file(path);
        }
    }
}

/// Removes the files of CLIs whose host is dead; only who runs the tree of the state directory may.
pub(crate) fn forget(state_dir: &Path) {
    // There is none on a directory that was never used.
    let _none = fs::remove_dir_all(folder(state_dir));
}

fn settings(spec: &SessionSpec, cwd: &Path) -> Result<Option<Map<String, Value>>, String> {
    let own = match &spec.settings {
        None if spec.peer_messages => return Ok(None),
        None => Map::new(),
        Some(Settings::Inline(table)) => table.clone(),
        Some(Settings::Path(path)) => read(path, cwd)?,
    };
    let mut settings = own;
    // Over what the session sets for the key: only `peer_messages` opens the door.
    if !spec.peer_messages {
        let (key, value) = second_door::INBOUND;
        settings.insert(key.into(), value.into());
    }
    Ok(Some(settings))
}

/// The CLI takes either a path, seen from its directory, or the JSON itself.
fn read(path: &Path, cwd: &Path) -> Result<Map<String, Value>, String> {
    let said = path.to_string_lossy();
    let is_json = is_json_text(path);
    let text = if is_json { Ok(said.into_owned()) } else { text_of(&cwd.join(path)) };
    // What stands in it may be secret, and so only the place is told.
    let place =
        if is_json { "`settings`".to_owned() } else { format!("the settings file {}", path.display()) };
    // Some editors begin a file with a byte order mark, which is no part of the JSON.
    let text = text.map_err(|error| format!("{place} cannot be read: {error}"))?;
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        format!(
            "{place} is no JSON object (line {}, column {}), and the CLI would ignore it as a whole; mend it",
            error.line(),
            error.column()
        )
    })
}

fn text_of(path: &Path) -> io::Result<String> {
    let text = placed::read_elsewhere(path, MAX_SETTINGS)?;
    String::from_utf8(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8"))
}

/// A file of the user's own stays where it is: its path is no secret, and the CLI says itself what is wrong with it.
fn mcp_servers(spec: &SessionSpec) -> Result<Option<Value>, String> {
    match &spec.mcp_config {
        None => Ok(None),
        Some(McpConfig::Servers(servers)) => Ok(Some(json!({ "mcpServers": servers }))),
        Some(McpConfig::Path(path)) => {
            if !is_json_text(path) {
                return Ok(None);
            }
            let said = path.to_string_lossy();
            let said = said.trim_start_matches('\u{feff}');
            // Only the place is told: the parser's own message may quote what stands there, and a key with
            // it.
            serde_json::from_str(said).map(Some).map_err(|error| {
                format!("`mcp_config` is no JSON object (line {}, column {})", error.line(), error.column())
            })
        }
    }
}

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("settings")
}

fn write(state_dir: &Path, id: SessionId, what: &str, text: &[u8]) -> io::Result<PathBuf> {
    // Of its own for each CLI: one that is being ended must not take the next one's away.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // The CLI sees it from another directory.
    let folder = folder(&std::path::absolute(state_dir)?);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    // The number is for a name alone, so that no order of memory is needed.
    let name = format!("{id}-{}-{}{what}.json", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = folder.join(name);
    // Left over from a dead process with our pid.
    let _none = fs::remove_file(&path);
    // `create_new` follows no link: a tool of the user's sessions may have put one there, at a name that can
    // be guessed.
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    if let Err(error) = file.write_all(text) {
        // Half a file would be JSON of nothing, and it holds secrets.
        let _empty = fs::remove_file(&path);
        return Err(error);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn table(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).expect("a table")
    }

    #[test]
    fn the_door_is_shut_whatever_the_session_sets_unless_it_opens_it() {
        let (dir, cwd) = (tempfile::tempdir().expect("a folder"), Path::new("/"));
        let file = dir.path().join("own.json");
        fs::write(&file, "{\"model\":\"opus\",\"crossSessionInbound\":\"accept\"}").expect("written");
        let mut inline = SessionSpec::new();
        inline.settings = Some(Settings::Inline(table(json!({ "model": "opus" }))));
        let shut = json!({ "model": "opus", "crossSessionInbound": "refuse" });
        for spec in [
            SessionSpec::new().settings(file.clone()),
            inline.clone(),
            SessionSpec::new().settings("{\"model\":\"opus\"}"),
        ] {
            assert_eq!(settings(&spec, cwd).expect("read"), Some(table(shut.clone())));
        }
        let none = settings(&SessionSpec::new(), cwd).expect("made");
        assert_eq!(none, Some(table(json!({ "crossSessionInbound": "refuse" }))));
        assert_eq!(settings(&SessionSpec::new().peer_messages(true), cwd).expect("none"), None);
        let open = settings(&inline.peer_messages(true), cwd).expect("made");
        assert_eq!(open, Some(table(json!({ "model": "opus" }))), "private all the same");
    }

    #[test]
    fn a_settings_file_that_the_cli_would_ignore_is_an_error_that_shows_nothing_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("own.json"), "{\n// secret\n\"a\":1}").expect("written");
        let said = settings(&SessionSpec::new().settings("own.json"), dir.path()).expect_err("refused");
        assert!(said.contains("own.json") && said.contains("line 2") && !said.contains("secret"), "{said}");
        let said = settings(&SessionSpec::new().settings("none.json"), dir.path()).expect_err("refused");
        assert!(said.contains("none.json cannot be read"), "{said}");
        let said = settings(&SessionSpec::new().settings("."), dir.path()).expect_err("refused");
        assert!(said.contains("no regular file") && !said.contains("remove"), "{said}");
    }

    #[test]
    fn the_files_are_for_the_user_only_and_go_with_their_cli() {
        let dir = tempfile::tempdir().expect("a folder");
        let id = SessionId::random();
        let spec = SessionSpec::new().settings("{\"env\":{\"TOKEN\":\"secret\"}}");
        let private = Private::now(&spec.mcp_config("{\"mcpServers\":{}}"), dir.path()).expect("valid");
        let write = || private.write(dir.path(), id).expect("written");
        let paths = |files: &PrivateFiles| -> Vec<PathBuf> {
            files.files.iter().map(|(_, path)| path.clone()).collect()
        };
        let (first, second) = (write(), write());
        let (one, two) = (paths(&first), paths(&second));
        assert_eq!((one.len(), two.len()), (2, 2));
        assert!(one.iter().all(|path| !two.contains(path)), "the next CLI's are others");
        for path in &one {
            assert_eq!(fs::metadata(path).expect("there").mode() & 0o777, 0o600);
        }
        let arguments: Vec<String> =
            first.arguments().map(|argument| argument.into_string().expect("UTF-8")).collect();
        assert!(arguments[0].starts_with("--settings=/") && arguments[1].starts_with("--mcp-config=/"));
        assert!(arguments.iter().all(|argument| !argument.contains("secret")), "{arguments:?}");
        drop(first);
        assert!(one.iter().all(|path| !path.exists()) && two.iter().all(|path| path.exists()));
        forget(dir.path());
        assert!(two.iter().all(|path| !path.exists()));
        drop(second);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_in_a_state_directory_that_is_no_utf_8_is_named_as_it_is() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().expect("a folder");
        let state_dir = dir.path().join(OsStr::from_bytes(b"st\xffate"));
        let private = Private::now(&SessionSpec::new(), dir.path()).expect("valid");
        let files = private.write(&state_dir, SessionId::random()).expect("written");
        let argument = files.arguments().next().expect("the settings");
        let path = argument.as_bytes().strip_prefix(SETTINGS.as_bytes()).expect("it names them");
        assert!(fs::metadata(OsStr::from_bytes(path)).is_ok_and(|meta| meta.len() > 0), "{argument:?}");
    }

    #[test]
    fn mcp_servers_stand_in_no_argument_however_they_are_given() {
        let opening = Opening::Fresh(SessionId::random());
        let servers = table(json!({ "files": { "command": "mcp", "env": { "KEY": "secret" } } }));
        let mut inline = SessionSpec::new();
        inline.mcp_config = Some(McpConfig::Servers(servers.clone()));
        let text = json!({ "mcpServers": servers }).to_string();
        for spec in [inline, SessionSpec::new().mcp_config(text)] {
            let private = Private::now(&spec, Path::new("/")).expect("valid");
            assert_eq!(private.mcp_servers, Some(json!({ "mcpServers": servers })));
            let args = private.args(&spec, &opening);
            assert!(!args.iter().any(|arg| arg.contains("secret") || arg.contains("mcp")), "{args:?}");
        }
        let own = SessionSpec::new().mcp_config("/srv/mcp.json");
        let private = Private::now(&own, Path::new("/")).expect("valid");
        assert!(private.args(&own, &opening).contains(&"--mcp-config=/srv/mcp.json".to_owned()));
        // Some editors begin a text with a byte order mark.
        for broken in ["{ secret", "\u{feff}{ secret"] {
            for (key, spec) in [
                ("`mcp_config`", SessionSpec::new().mcp_config(broken)),
                ("`settings`", SessionSpec::new().settings(broken)),
            ] {
                let said = Private::now(&spec, Path::new("/")).err().expect("refused");
                assert!(said.contains(key) && !said.contains("secret"), "{said}");
            }
        }
    }
}
