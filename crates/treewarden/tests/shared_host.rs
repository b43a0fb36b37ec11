//! What a handle by name may do to the state directory that all programs of the user share: nothing.

use std::process::Command;

use treewarden::Session;
use treewarden::session::QueryErrorKind;

/// Set in the program that looks: its environment decides where the shared state would be.
const LOOKS: &str = "TREEWARDEN_TEST_LOOKS";

#[tokio::test]
async fn a_look_at_a_name_makes_no_state_directory() {
    if std::env::var_os(LOOKS).is_some() {
        let session = Session::named("nobody");
        assert!(!session.is_alive().await);
        let error = session.status().await.expect_err("nobody holds the name");
        assert_eq!(error.kind(), QueryErrorKind::NoSuchSession);
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let looked = Command::new(std::env::current_exe().expect("this program"))
        .args(["a_look_at_a_name_makes_no_state_directory", "--exact"])
        .env(LOOKS, "1")
        .env("HOME", home.path())
        .env("XDG_STATE_HOME", home.path().join("state"))
        .output()
        .expect("it runs");
    assert!(looked.status.success(), "{}", String::from_utf8_lossy(&looked.stdout));
    let made: Vec<_> = home.path().read_dir().expect("it is there").collect();
    assert!(made.is_empty(), "{made:?}");
}
