//! Where the CLI keeps a conversation: names as CLI 2.1.330 and 2.1.197 made them.

use std::path::Path;

use treewarden_proto::transcript::{project_key, transcript_path};

#[test]
fn the_key_of_a_directory_is_the_one_that_the_cli_makes() {
    let made = [
        ("/home/user/my project", "-home-user-my-project"),
        ("/home/user/caf\u{e9}_x.y", "-home-user-caf--x-y"),
        ("/home/user/nfd-e\u{301}", "-home-user-nfd-e-"),
        ("/home/user/\u{1f600}emoji", "-home-user---emoji"),
    ];
    for (path, key) in made {
        assert_eq!(project_key(Path::new(path)), key);
    }
}

#[test]
fn a_long_key_is_cut_and_told_apart_by_the_hash_that_the_cli_makes() {
    let path = format!("/home/user/{}/{}", "A".repeat(100), "b-._~".repeat(25));
    let key = project_key(Path::new(&path));
    assert_eq!(key.len(), 207);
    assert!(key.ends_with("-b---7p49rq"), "{key}");

    let (x, y, z, w) = ("x".repeat(60), "y".repeat(60), "z".repeat(60), "w".repeat(60));
    let key = project_key(Path::new(&format!("/home/user/{x}/{y}/{z}/\u{fc}{w}")));
    assert!(key.ends_with("ww-yk80sw"), "{key}");
}

#[test]
fn a_transcript_is_found_by_configuration_directory_and_working_directory_and_id() {
    let id = "00000001-0000-4000-8000-000000000001".parse().expect("a UUID");
    assert_eq!(
        transcript_path(Path::new("/home/user/.claude"), Path::new("/home/user/project"), id),
        Path::new(
            "/home/user/.claude/projects/-home-user-project/00000001-0000-4000-8000-000000000001.jsonl"
        ),
    );
}
