//! What is removed under a running program: said before the next turn is stored, and made anew where that is right.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::fs;

use support::{Role, my_role, name, say, wait_for_the_end};
use treewarden_proto::SessionId;
use treewarden_store::{Holder, Lease, LeaseError, StateDir, TreeLock};

fn holder(who: &str) -> Holder {
    Holder::this_process(&name(who))
}

#[test]
#[ignore = "a role of other tests"]
fn role_tree() {
    let Some((dir, _)) = my_role() else { return };
    match TreeLock::acquire(&dir, &holder("tree")) {
        Ok(_lock) => {
            say("held");
            wait_for_the_end();
        }
        Err(held) => say(&format!("refused: {held}")),
    }
}

#[test]
fn a_lease_whose_files_were_removed_is_made_anew() {
    let (dir, id) = (tempfile::tempdir().unwrap(), SessionId::random());
    let (config, state) = (dir.path().join("config"), dir.path().join("state"));
    let lease = Lease::acquire(&config, &state, id, &holder("one")).unwrap();
    assert_eq!(lease.look_again().unwrap(), None);
    let file = config.join(format!("treewarden/leases/{id}.lock"));
    for gone in [file.clone(), config.join("treewarden"), state.join("leases")] {
        if gone.is_dir() {
            fs::remove_dir_all(&gone).unwrap()
        } else {
            fs::remove_file(&gone).unwrap()
        }
        assert!(lease.look_again().unwrap().is_some(), "{}", gone.display());
        assert_eq!(lease.look_again().unwrap(), None);
        let refused = Lease::acquire(&config, &state, id, &holder("two")).unwrap_err();
        assert!(matches!(refused, LeaseError::Held(held) if held.by.as_ref().unwrap().name == name("one")));
    }
}

#[test]
fn a_lease_that_another_took_meanwhile_is_said_to_be_theirs() {
    let (dir, id) = (tempfile::tempdir().unwrap(), SessionId::random());
    let (config, state) = (dir.path().join("config"), dir.path().join("state"));
    let lease = Lease::acquire(&config, &state, id, &holder("one")).unwrap();
    fs::remove_dir_all(config.join("treewarden")).unwrap();
    let other = Lease::acquire(&config, &dir.path().join("other"), id, &holder("two")).unwrap();
    let watch = lease.watch();
    let refused = watch.look_again().unwrap_err();
    assert!(matches!(refused, LeaseError::Held(held) if held.by.as_ref().unwrap().name == name("two")));
    drop(other);
    assert!(watch.look_again().unwrap().is_some(), "it is free again, and ours");
    drop(lease);
    assert_eq!(watch.look_again().unwrap(), None, "of a lease that was given up there is nothing to be said");
}

#[test]
fn a_lease_that_is_given_up_is_free_at_once_whoever_looks_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let (config, state) = (dir.path().join("config"), dir.path().join("state"));
    let id = SessionId::random();
    let until = std::time::Instant::now() + std::time::Duration::from_millis(300);
    let (tell, watches) = std::sync::mpsc::channel::<treewarden_store::LeaseWatch>();
    let looking = std::thread::spawn(move || {
        let mut watch = watches.recv().unwrap();
        loop {
            watch.look_again().unwrap();
            match watches.try_recv() {
                Ok(next) => watch = next,
                Err(std::sync::mpsc::TryRecvError::Empty) => {}
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            }
        }
    });
    while std::time::Instant::now() < until {
        let lease = Lease::acquire(&config, &state, id, &holder("one")).expect("it is free");
        tell.send(lease.watch()).unwrap();
    }
    drop(tell);
    looking.join().unwrap();
}

#[test]
fn a_tree_lock_that_was_removed_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let lock = TreeLock::acquire(dir.path(), &holder("tree")).unwrap();
    assert_eq!(lock.look_again().unwrap(), None);
    let file = dir.path().join("tree.lock");
    fs::remove_file(&file).unwrap();
    assert_eq!(lock.look_again().unwrap(), Some(file));
    assert_eq!(lock.look_again().unwrap(), None);
}

#[cfg(target_os = "linux")]
#[test]
fn no_second_tree_starts_beside_a_live_one_whatever_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let lock = TreeLock::acquire(&state, &holder("tree")).unwrap();
    let refused = || {
        let said = Role::start("role_tree", &state, "").said();
        assert_eq!(said, format!("refused: process {}", std::process::id()));
    };
    fs::remove_file(state.join("tree.lock")).unwrap();
    refused();
    fs::remove_dir_all(&state).unwrap();
    refused();
    // Another name of the same folder is the same folder.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&state, &link).unwrap();
    fs::remove_file(state.join("tree.lock")).unwrap();
    assert!(Role::start("role_tree", &link, "").said().starts_with("refused"));
    lock.release();
    assert_eq!(Role::start("role_tree", &state, "").said(), "held");
}

/// Needs the super-user, who can make namespaces; elsewhere it says that it was skipped.
#[cfg(target_os = "linux")]
#[test]
fn two_containers_with_one_path_and_one_network_each_have_their_tree() {
    if !rustix::process::geteuid().is_root() {
        say(
            "skipped: two_containers_with_one_path_and_one_network_each_have_their_tree needs the super-user",
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, path) = (dir.path().join("ours"), dir.path().join("state"));
    [&ours, &path].iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let script = format!("mount --bind {} {} && exec \"$0\" \"$@\"", ours.display(), path.display());
    let unshare =
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script];
    let one = Role::start("role_tree", &path, "");
    assert_eq!(one.said(), "held");
    let two = Role::start_by(&unshare, "role_tree", &path, "");
    assert_eq!(two.said(), "held", "the same path, and another directory");
    // The same directory has one tree, whoever asks: they meet at the file.
    let unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    assert!(Role::start_by(&unshare, "role_tree", &path, "").said().starts_with("refused"));
}

/// Needs the super-user, who can make namespaces; elsewhere it says that it was skipped.
#[cfg(target_os = "linux")]
#[test]
fn a_tree_that_cannot_be_seen_from_a_container_is_not_taken_for_gone() {
    if !rustix::process::geteuid().is_root() {
        say(
            "skipped: a_tree_that_cannot_be_seen_from_a_container_is_not_taken_for_gone needs the super-user",
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lock = TreeLock::acquire(dir.path(), &holder("tree")).unwrap();
    fs::remove_file(dir.path().join("tree.lock")).unwrap();
    let unshare = ["unshare", "--pid", "--fork", "--kill-child"];
    let said = Role::start_by(&unshare, "role_tree", dir.path(), "").said();
    assert_eq!(said, "refused: another process");
    lock.release();
}

#[test]
fn an_id_that_was_removed_is_put_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = StateDir::prepare(dir.path()).unwrap();
    state.identify();
    let file = dir.path().join("host-id");
    let id = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(state.put_id_back(), Some(file.clone()));
    assert_eq!(fs::read_to_string(&file).unwrap(), id);
    assert_eq!(state.put_id_back(), None);
    // Also where the directory went with it, which must not be taken for a new one.
    fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(state.put_id_back(), Some(file.clone()));
    assert_eq!(StateDir::mark_of_use(dir.path()).unwrap(), Some(file));
}
