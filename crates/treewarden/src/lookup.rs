//! Where the name of a program leads: the files that it may mean.
//!
//! It is for starts of a CLI and for [`config::check`](crate::config::check()), which must not differ. It looks at nothing: which of the
//! files is there is asked by its callers.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The CLI, where no option names one.
pub(crate) const CLI: &str = "claude";

/// Whether a program is given by its place; otherwise it is a name, to be looked up in `PATH`.
pub(crate) fn is_place(program: &Path) -> bool {
    program.as_os_str().as_encoded_bytes().contains(&b'/')
}

/// The files that `name` may mean, in the order of `path`, the value of `PATH`; each is absolute.
///
/// A relative entry, or an empty one, is below `folder`, which is this process's own, and is left out without it. The folder of
/// a session must never take its place: the model writes there, and what it puts there would be run.
pub(crate) fn files(name: &Path, path: Option<&OsStr>, folder: Option<&Path>) -> Vec<PathBuf> {
    // An empty value would be one empty entry: somebody who took all away did not ask for the folder.
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Vec::new() };
    let entries = std::env::split_paths(path);
    let absolute =
        entries.filter_map(|dir| if dir.is_absolute() { Some(dir) } else { Some(folder?.join(dir)) });
    absolute.map(|dir| dir.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, folder: Option<&str>) -> Vec<String> {
        let found = files("claude".as_ref(), Some(path.as_ref()), folder.map(Path::new));
        found.into_iter().map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn each_entry_of_the_path_leads_to_an_absolute_file_in_its_order() {
        assert_eq!(of("/usr/bin:/bin/", Some("/srv")), ["/usr/bin/claude", "/bin/claude"]);
        assert_eq!(
            of("node_modules/.bin:/bin", Some("/srv")),
            ["/srv/node_modules/.bin/claude", "/bin/claude"]
        );
        assert_eq!(of("./bin", Some("/srv")), ["/srv/./bin/claude"]);
    }

    #[test]
    fn an_empty_entry_is_the_folder_of_this_process() {
        for path in [":/bin", "/bin:", "/bin::/usr"] {
            assert!(of(path, Some("/srv")).contains(&"/srv/claude".to_owned()), "{path}");
        }
    }

    #[test]
    fn without_a_folder_or_a_path_nothing_relative_is_looked_for() {
        assert_eq!(of("bin::/bin", None), ["/bin/claude"]);
        assert_eq!(of("", Some("/srv")), Vec::<String>::new());
        assert_eq!(files("claude".as_ref(), None, Some("/srv".as_ref())), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_has_a_slash_is_a_place() {
        assert!(is_place("./claude".as_ref()) && is_place("/bin/claude".as_ref()));
        assert!(!is_place("claude".as_ref()));
    }
}
