//! The lease lies where the conversation lies: whoever comes by the config directory comes by it.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::fs::{self, File, Permissions};
use std::io::BufRead;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use support::{Role, my_role, name, say, wait_for_the_end};
use treewarden_proto::SessionId;
use treewarden_store::{Held, Holder, Lease, LeaseError, StateDir, lease_files};

const ID: &str = "11111111-2222-4333-8444-555555555555";

fn id() -> SessionId {
    ID.parse().unwrap()
}

/// Takes the lease in `dir/config` for the state directory `dir/<state>`.
fn take(dir: &Path, state: &str) -> Result<Lease, LeaseError> {
    let holder = Holder::this_process(&name(state));
    Lease::acquire(&dir.join("config"), &dir.join(state), id(), &holder)
}

fn held(refused: Result<Lease, LeaseError>) -> Held {
    match refused {
        Err(LeaseError::Held(held)) => held,
        other => panic!("{other:?}"),
    }
}

fn impossible(refused: Result<Lease, LeaseError>) -> String {
    match refused {
        Err(LeaseError::Impossible { message }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "a role of other tests"]
fn role_racer() {
    let Some((dir, state)) = my_role() else { return };
    say("ready");
    let mut lease = None;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if line == "race" {
            lease = take(&dir, &state).ok();
            say(if lease.is_some() { "won" } else { "lost" });
        } else {
            drop(lease.take());
            say("free");
        }
    }
}

#[test]
#[ignore = "a role of other tests"]
fn role_taker() {
    let Some((dir, state)) = my_role() else { return };
    match take(&dir, &state) {
        Ok(_lease) => {
            say("held");
            wait_for_the_end();
        }
        Err(error) => say(&format!("refused: {error}")),
    }
}

#[test]
fn of_three_processes_with_a_state_directory_each_one_gets_the_lease() {
    let dir = tempfile::tempdir().unwrap();
    let mut racers = ["one", "two", "three"].map(|state| Role::start("role_racer", dir.path(), state));
    racers.iter().for_each(|racer| assert_eq!(racer.said(), "ready"));
    for race in 0..100 {
        racers.iter_mut().for_each(|racer| racer.tell("race"));
        let winners = racers.iter().filter(|racer| racer.said() == "won").count();
        assert_eq!(winners, 1, "race {race}");
        racers.iter_mut().for_each(|racer| racer.tell("free"));
        racers.iter().for_each(|racer| assert_eq!(racer.said(), "free"));
    }
}

#[test]
fn a_second_state_directory_is_refused_with_the_holder_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = StateDir::prepare(&dir.path().join("one")).unwrap();
    state.identify();
    let holder = state.holder(&name("assistant"));
    let _first = Lease::acquire(&dir.path().join("config"), state.path(), id(), &holder).unwrap();
    let refused = held(take(dir.path(), "two"));
    let said = refused.to_string();
    assert!(said.contains("assistant") && said.contains(&std::process::id().to_string()), "{said}");
    assert!(said.contains(&state.path().display().to_string()), "{said}");
    let by = refused.by.unwrap();
    assert_eq!(by.host_id.as_deref(), state.id());
    assert!(by.host_id.is_some() && by.uid.is_some());
    if cfg!(target_os = "linux") {
        assert!(by.boot_id.is_some() && by.pid_namespace.is_some());
    }
}

#[test]
fn a_holder_that_released_or_died_can_still_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let read = || {
        let text = fs::read(dir.path().join(format!("config/treewarden/leases/{ID}.lock"))).unwrap();
        serde_json::from_slice::<Holder>(&text).unwrap()
    };
    drop(take(dir.path(), "one").unwrap());
    assert!(read().released && read().pid == std::process::id());
    let other = Role::start("role_taker", dir.path(), "two");
    assert_eq!(other.said(), "held");
    other.kill();
    assert!(!read().released && read().name == name("two"));
    drop(take(dir.path(), "three").unwrap());
}

#[test]
fn the_lease_of_an_older_version_is_respected_and_taken() {
    let dir = tempfile::tempdir().unwrap();
    let leases = dir.path().join("state/leases");
    fs::create_dir_all(&leases).unwrap();
    let path = leases.join(format!("{ID}.lock"));
    // As an older version left it there, which holds it.
    fs::write(&path, "{\"pid\":7,\"started\":12,\"host\":\"vm\",\"name\":\"assistant\"}\n").unwrap();
    let older = File::open(&path).unwrap();
    older.try_lock().unwrap();
    let refused = held(take(dir.path(), "state"));
    assert_eq!(refused.to_string(), "assistant of process 7 on vm");
    // Unlocked and not only closed: a role that another test starts just now has a copy of it until it is executed.
    older.unlock().unwrap();
    drop(older);
    let lease = take(dir.path(), "state").unwrap();
    assert!(File::open(&path).unwrap().try_lock().is_err(), "an older version is kept away");
    drop(lease);
    File::open(&path).unwrap().try_lock().unwrap();
}

#[test]
fn folders_and_files_are_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("config/treewarden");
    fs::create_dir_all(&ours).unwrap();
    fs::set_permissions(&ours, Permissions::from_mode(0o777)).unwrap();
    let _lease = take(dir.path(), "state").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&ours), 0o711);
    assert_eq!(mode(&ours.join("leases")), 0o711);
    assert_eq!(mode(&ours.join(format!("leases/{ID}.lock"))), 0o600);
}

#[test]
fn a_link_in_place_of_a_folder_or_the_file_is_refused_and_not_followed() {
    let (dir, trap) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ours = dir.path().join("config/treewarden");
    fs::create_dir_all(ours.parent().unwrap()).unwrap();
    symlink(trap.path(), &ours).unwrap();
    assert!(impossible(take(dir.path(), "state")).contains("symbolic link"));
    fs::remove_file(&ours).unwrap();
    fs::create_dir(&ours).unwrap();
    symlink(trap.path(), ours.join("leases")).unwrap();
    assert!(impossible(take(dir.path(), "state")).contains("symbolic link"));
    fs::remove_file(ours.join("leases")).unwrap();
    fs::create_dir(ours.join("leases")).unwrap();
    let target = trap.path().join("precious");
    fs::write(&target, "precious").unwrap();
    symlink(&target, ours.join(format!("leases/{ID}.lock"))).unwrap();
    assert!(impossible(take(dir.path(), "state")).contains("symbolic link"));
    assert_eq!(fs::read_to_string(target).unwrap(), "precious");
}

#[test]
fn a_config_directory_that_is_none_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config"), "").unwrap();
    let said = impossible(take(dir.path(), "state"));
    assert!(said.contains("config") && said.contains("CLAUDE_CONFIG_DIR"), "{said}");
}

#[test]
fn two_config_directories_that_share_their_projects_by_a_link_share_the_lease() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let take = |config: &Path| {
        Lease::acquire(config, &config.join("state"), id(), &Holder::this_process(&name("x")))
    };
    fs::create_dir_all(one.join("projects")).unwrap();
    fs::create_dir_all(&two).unwrap();
    symlink(one.join("projects"), two.join("projects")).unwrap();
    for (first, second) in [(&one, &two), (&two, &one)] {
        let lease = take(first).unwrap();
        held(take(second));
        assert_eq!(lease.look_again().unwrap(), None);
        drop(lease);
    }
    drop(take(&two).unwrap());
    assert!(!two.join("treewarden").exists(), "the lease lies where the conversation lies");
}

#[test]
fn a_lease_follows_projects_that_becomes_a_link_under_it() {
    let dir = tempfile::tempdir().unwrap();
    let (config, shared) = (dir.path().join("config"), dir.path().join("shared"));
    fs::create_dir_all(&shared).unwrap();
    let lease = take(dir.path(), "state").unwrap();
    let at = |folder: &Path| folder.join(format!("treewarden/leases/{ID}.lock"));
    symlink(&shared, config.join("projects")).unwrap();
    let made = lease.look_again().unwrap().expect("it is elsewhere now");
    assert_eq!(fs::canonicalize(made).unwrap(), fs::canonicalize(at(dir.path())).unwrap());
    assert_eq!(lease.look_again().unwrap(), None);
    assert!(File::open(at(dir.path())).unwrap().try_lock().is_err());
}

/// Needs the super-user; elsewhere it says that it was skipped.
#[cfg(target_os = "linux")]
#[test]
fn a_holder_in_another_pid_and_time_namespace_keeps_us_away() {
    if fs::metadata("/proc/self").map(|meta| meta.uid()).ok() != Some(0) {
        say("skipped: a_holder_in_another_pid_and_time_namespace_keeps_us_away needs the super-user");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unshare =
        ["unshare", "--pid", "--time", "--boottime", "100000", "--fork", "--kill-child", "--mount-proc"];
    let mut other = Role::start_by(&unshare, "role_racer", dir.path(), "theirs");
    assert_eq!(other.said(), "ready");
    other.tell("race");
    assert_eq!(other.said(), "won");
    let refused = held(take(dir.path(), "ours"));
    assert!(refused.to_string().contains("(as another container counts)"), "{refused}");
    other.tell("free");
    assert_eq!(other.said(), "free");
    let lease = take(dir.path(), "ours").unwrap();
    other.tell("race");
    assert_eq!(other.said(), "lost");
    drop(lease);
}

/// Needs the super-user, who can be two users; elsewhere it says that it was skipped.
#[test]
fn two_users_over_one_config_directory_are_kept_apart() {
    if fs::metadata("/proc/self").map(|meta| meta.uid()).ok() != Some(0) {
        say("skipped: two_users_over_one_config_directory_are_kept_apart needs the super-user");
        return;
    }
    const OTHER: u32 = 54_321;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    fs::create_dir(dir.path().join("config")).unwrap();
    fs::set_permissions(dir.path().join("config"), Permissions::from_mode(0o777)).unwrap();
    // Ours first: the other one cannot read who holds it, and the system tells the process.
    let lease = take(dir.path(), "ours").unwrap();
    let refused = || Role::start_as(OTHER, "role_taker", dir.path(), "theirs").said();
    let (said, ours) = (refused(), dir.path().join("config/treewarden"));
    assert!(said.contains(&format!("process {} of user 0", std::process::id())), "{said}");
    drop(lease);
    // Nobody holds it: whose it is, and what to do.
    let said = refused();
    assert!(said.starts_with(&format!("refused: {} belongs to user 0", ours.display())), "{said}");
    assert!(said.contains(&format!("chown -R {OTHER} {}", ours.display())), "{said}");
    // The folders are theirs and the file is ours, as after one run of ours in between.
    for folder in ["", "/leases"] {
        chown(dir.path().join(format!("config/treewarden{folder}")), Some(OTHER), Some(OTHER)).unwrap();
    }
    let (said, file) = (refused(), dir.path().join(format!("config/treewarden/leases/{ID}.lock")));
    assert!(said.starts_with(&format!("refused: {} belongs to user 0", file.display())), "{said}");
    fs::remove_dir_all(dir.path().join("config/treewarden")).unwrap();
    // Theirs first: we may look, and are told the holder.
    let other = Role::start_as(OTHER, "role_taker", dir.path(), "theirs");
    assert_eq!(other.said(), "held");
    let refused = held(take(dir.path(), "ours"));
    assert_eq!(refused.owner, Some(OTHER));
    let by = refused.by.expect("it can be read");
    assert_eq!((by.uid, by.name), (Some(OTHER), name("theirs")));
    other.kill();
    assert!(impossible(take(dir.path(), "ours")).contains(&format!("belongs to user {OTHER}")));
}

#[test]
fn a_lease_that_is_held_between_two_sessions_goes_on_to_name_the_one_that_had_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::prepare(&dir.path().join("state")).unwrap();
    let mut holder = state.holder(&name("one"));
    holder.since = Some(7);
    let acquire = |holder: &Holder| Lease::acquire(&dir.path().join("config"), state.path(), id(), holder);
    let lease = acquire(&holder).unwrap();
    assert!(lease.is_to_be_synced(), "the disk may not have it yet");
    lease.watch().sync().unwrap();
    assert!(!lease.is_to_be_synced());
    drop(lease);
    let lease = acquire(&state.holder_between(id(), &name("sweep"))).unwrap();
    assert!(!lease.is_to_be_synced(), "it names the same session as before");
    let [told] = &*lease_files(state.path()).unwrap() else { panic!("one file") };
    assert_eq!((&told.name, told.since), (&Some(name("one")), 7));
    // Another one has the conversation, as a session has that takes over what was started ahead.
    lease.hand_over(&state.holder(&name("two"))).unwrap();
    assert!(lease.is_to_be_synced());
    assert_eq!(state.holder_between(SessionId::random(), &name("sweep")).name, name("sweep"));
}
