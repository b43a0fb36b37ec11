//! A transcript has a second name, and comes back by it.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use support::{Disk, answered, known, prompt, text};
use treewarden_proto::TurnId;
use treewarden_transcript::{Kept, Resumable, Saved, find, keep, kept, release, restore};

fn turn_and_disk() -> (TurnId, Disk) {
    let turn = TurnId::new();
    (turn, Disk::new(&[prompt(turn, None), text("a1", &turn.to_string(), "hi")]))
}

#[test]
fn the_second_name_is_the_same_file_in_folders_of_our_own() {
    let (_, disk) = turn_and_disk();
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::Linked);
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::Already);
    assert_eq!(kept(disk.config_dir(), disk.id).expect("looked for"), Some(disk.second_name()));
    let inode = |path| fs::metadata(path).expect("there").ino();
    assert_eq!(inode(disk.second_name()), inode(disk.path()));
    for folder in disk.second_name().ancestors().skip(1).take(3) {
        assert_eq!(fs::metadata(folder).expect("there").permissions().mode() & 0o777, 0o700, "{folder:?}");
    }
    let names = fs::read_dir(disk.second_name().parent().expect("a folder")).expect("readable").count();
    assert_eq!(names, 1, "the name for the moment is gone");
}

#[test]
fn a_transcript_that_was_cleaned_up_comes_back_as_it_was() {
    let (turn, disk) = turn_and_disk();
    disk.leaf(&[answered(turn)], None);
    let before = disk.bytes();
    fs::remove_dir_all(disk.config_dir().join("projects")).expect("removed");
    assert_eq!(disk.holds(&known(&[answered(turn)])), Saved::Yes);
    assert_eq!(
        find(disk.config_dir(), disk.id).expect("looked for"),
        None,
        "whoever only asks puts nothing back"
    );
    assert_eq!(disk.leaf(&[answered(turn)], None), "a1");
    assert_eq!(disk.bytes(), before);
    assert_eq!(restore(disk.config_dir(), disk.id).expect("there"), Some(disk.path()));
}

#[test]
fn without_a_second_name_the_loss_is_said_with_all_that_is_known() {
    let (turn, disk) = turn_and_disk();
    fs::remove_file(disk.path()).expect("removed");
    let reason = disk.lost(&[answered(turn)]);
    for word in
        [&turn.to_string(), "cleanupPeriodDays", &disk.config_dir().display().to_string(), "second name"]
    {
        assert!(reason.contains(word), "{word}: {reason}");
    }
}

#[test]
fn a_wrong_file_in_its_place_never_takes_the_second_name() {
    let (_, disk) = turn_and_disk();
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::Linked);
    let whole = disk.bytes();
    fs::remove_file(disk.path()).expect("removed");
    let stray = TurnId::new();
    disk.write(format!("{}\n", prompt(stray, None)));
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::Another);
    let reason = disk.lost(&[answered(TurnId::new())]);
    assert!(reason.contains(&disk.second_name().display().to_string()), "{reason}");
    assert_eq!(fs::read(disk.second_name()).expect("there"), whole);
    // One that holds what it must takes it.
    let found = disk.prepare(&[], Some(stray));
    assert!(matches!(found, Resumable::At { kept: Kept::Linked, .. }), "{found:?}");
    assert_eq!(fs::read(disk.second_name()).expect("there"), disk.bytes());
}

#[test]
fn what_the_second_name_has_is_put_back_before_what_is_in_its_place() {
    let (turn, disk) = turn_and_disk();
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::Linked);
    let whole = disk.text();
    fs::remove_file(disk.path()).expect("removed");
    let stray = format!("{}\n", prompt(TurnId::new(), None));
    disk.write(&stray);
    assert_eq!(disk.leaf(&[answered(turn)], None), "a1");
    let text = disk.text();
    assert!(text.starts_with(&whole) && text.contains(&stray), "{text}");
}

#[test]
fn what_is_left_behind_is_the_clis_alone_but_never_lost() {
    let (turn, disk) = turn_and_disk();
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::Linked);
    release(disk.config_dir(), disk.id).expect("released");
    assert!(disk.path().exists() && !disk.second_name().exists());
    release(disk.config_dir(), disk.id).expect("nothing to do");
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::Linked);
    fs::remove_file(disk.path()).expect("removed");
    release(disk.config_dir(), disk.id).expect("nothing to do");
    assert_eq!(disk.leaf(&[answered(turn)], None), "a1");
}

#[test]
fn a_symbolic_link_is_refused_and_said() {
    let (turn, disk) = turn_and_disk();
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    symlink(elsewhere.path(), disk.config_dir().join("treewarden")).expect("made");
    let found = disk.prepare(&[answered(turn)], None);
    assert!(
        matches!(&found, Resumable::At { kept: Kept::Impossible { reason }, .. } if reason.contains("treewarden")),
        "{found:?}"
    );
    assert_eq!(fs::read_dir(elsewhere.path()).expect("readable").count(), 0);
}

#[test]
fn without_a_transcript_nothing_is_kept() {
    let disk = Disk::empty();
    assert_eq!(keep(disk.config_dir(), disk.id), Kept::NoTranscript);
    assert_eq!(restore(disk.config_dir(), disk.id).expect("nothing to do"), None);
    release(disk.config_dir(), disk.id).expect("nothing to do");
    assert_eq!(fs::read_dir(disk.config_dir()).expect("readable").count(), 0);
}
