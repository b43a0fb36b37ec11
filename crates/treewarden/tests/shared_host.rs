//! What a handle by name may do to the state directory that all programs of the user share: nothing. And what it says where
//! that cannot be used.

use std::path::Path;
use std::process::Command;

use treewarden::session::{QueryErrorKind, StartErrorKind};
use treewarden::{Session, SessionSpec};

/// Set in the program that looks: its environment decides where the shared state would be.
const LOOKS: &str = "TREEWARDEN_TEST_LOOKS";

/// Runs one test of this file again, in a program of its own with this environment.
fn run_again(test: &str, home: &Path, state: &Path) {
    let ran = Command::new(std::env::current_exe().expect("this program"))
        .args([test, "--exact"])
        .env(LOOKS, "1")
        .env("HOME", home)
        .env("XDG_STATE_HOME", state)
        .output()
        .expect("it runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}

fn looks() -> bool {
    std::env::var_os(LOOKS).is_some()
}

/// What a session that nobody has says, whatever is asked of it.
async fn refusal(session: &Session) -> String {
    assert!(!session.is_alive().await);
    let error = session.status().await.expect_err("nobody holds the name");
    assert_eq!(error.kind(), QueryErrorKind::NoSuchSession);
    let asked = session.query("Hello!").await.expect_err("nobody holds the name");
    assert_eq!((asked.kind(), asked.to_string()), (error.kind(), error.to_string()));
    error.to_string()
}

#[tokio::test]
async fn a_look_at_a_name_makes_no_state_directory() {
    if looks() {
        let said = refusal(&Session::named("nobody")).await;
        assert!(
            said.starts_with(
                "no session is named \"nobody\" in the shared host, as this program has not opened it"
            ),
            "{said}"
        );
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    run_again("a_look_at_a_name_makes_no_state_directory", home.path(), &home.path().join("state"));
    let made: Vec<_> = home.path().read_dir().expect("it is there").collect();
    assert!(made.is_empty(), "{made:?}");
}

#[tokio::test]
async fn a_name_in_a_host_that_cannot_be_opened_says_why_in_full() {
    if looks() {
        let spec = SessionSpec::new().name("assistant".parse().expect("a name"));
        let unstarted = Session::start(spec).await.expect_err("there is no state directory");
        assert_eq!(unstarted.kind(), StartErrorKind::State);
        let said = refusal(&Session::named("assistant")).await;
        let (_, why) = said.split_once("as it could not be opened: ").expect("it says why");
        assert_eq!(unstarted.to_string(), format!("failed to start a session: {why}"));
        let cause = match std::env::var_os("XDG_STATE_HOME").filter(|home| !home.is_empty()) {
            // The folder, what was to be done, and what the system says.
            Some(home) => format!("failed to open the state directory {}/treewarden: ", home.display()),
            None => "failed to find a state directory: neither XDG_STATE_HOME nor HOME is an absolute path"
                .to_owned(),
        };
        assert!(why.starts_with(&cause), "{why}");
        assert!(
            std::env::var_os("HOME").is_none_or(|home| home.is_empty()) || why.contains("os error"),
            "{why}"
        );
        return;
    }
    const TEST: &str = "a_name_in_a_host_that_cannot_be_opened_says_why_in_full";
    run_again(TEST, Path::new(""), Path::new(""));
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("file");
    std::fs::write(&file, "in the way").expect("written");
    run_again(TEST, home.path(), &file);
}
