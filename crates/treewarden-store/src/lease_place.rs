//! Where leases lie: in the folder in which the conversations lie, `<config>/projects` or what that is linked to.
//!
//! Whoever takes, looks at or makes anew a lease asks here, so that all come to one file.

use std::fs;
use std::path::{Path, PathBuf};

use treewarden_proto::SessionId;

/// As many links the system follows at most.
const LINKS: usize = 40;

/// The folder whose `treewarden/leases` has the leases of a config directory's conversations.
///
/// Two config directories may share one `projects` by a link. A *mounted* `projects` cannot be told from a folder.
pub(crate) fn home(config_dir: &Path) -> PathBuf {
    let projects = config_dir.join("projects");
    // The usual case costs one call: what is no link, or is not there yet, lies here.
    if fs::read_link(&projects).is_err() {
        return config_dir.to_owned();
    }
    let real = fs::canonicalize(&projects).ok().or_else(|| to_be_made(projects));
    real.and_then(|real| real.parent().map(Path::to_owned)).unwrap_or_else(|| config_dir.to_owned())
}

/// What a link names that is not there yet; its folder must be.
fn to_be_made(mut path: PathBuf) -> Option<PathBuf> {
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent()?.join(target),
            Err(_) => return Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?)),
        }
    }
    None
}

/// The folder of ours in a config directory, or beside the `projects` that it is linked to.
pub(crate) fn folder(home: &Path) -> PathBuf {
    home.join("treewarden")
}

/// The lease's file.
pub(crate) fn file(home: &Path, id: SessionId) -> PathBuf {
    folder(home).join("leases").join(format!("{id}.lock"))
}

/// Where versions before the lease moved to the config directory have it.
pub(crate) fn earlier_file(state_dir: &Path, id: SessionId) -> PathBuf {
    earlier_folder(state_dir).join(format!("{id}.lock"))
}

pub(crate) fn earlier_folder(state_dir: &Path) -> PathBuf {
    state_dir.join("leases")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_home_is_where_projects_really_lies() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(dir.path()).expect("it is there");
        let (config, shared) = (root.join("config"), root.join("shared"));
        fs::create_dir_all(&config).expect("made");
        fs::create_dir_all(&shared).expect("made");
        let projects = config.join("projects");
        assert_eq!(home(&config), config, "nothing there yet");
        fs::create_dir(&projects).expect("made");
        assert_eq!(home(&config), config, "a folder");
        fs::remove_dir(&projects).expect("removed");
        let cases =
            [("../shared/projects", &shared), ("../hop", &shared), ("own", &config), ("projects", &config)];
        symlink("shared/projects", root.join("hop")).expect("linked");
        for (target, expected) in cases {
            symlink(target, &projects).expect("linked");
            assert_eq!(&home(&config), expected, "{target}, which is to be made");
            fs::remove_file(&projects).expect("removed");
        }
        fs::create_dir(shared.join("projects")).expect("made");
        fs::create_dir(config.join("own")).expect("made");
        for (target, expected) in &cases[..3] {
            symlink(target, &projects).expect("linked");
            assert_eq!(&home(&config), *expected, "{target}");
            fs::remove_file(&projects).expect("removed");
        }
    }
}
