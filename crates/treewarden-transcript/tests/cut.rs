//! A file that ends in the middle of a line is known, with the line.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use support::Disk;
use treewarden_proto::SessionId;
use treewarden_transcript::cut_line;

#[test]
fn the_line_in_the_middle_of_which_a_transcript_ends_is_named() {
    let whole = r#"{"type":"user","uuid":"11111111-2222-4333-8444-555555555555","parentUuid":null}"#;
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(100_000));
    let cases = [
        (format!("{whole}\n"), None),
        (whole.to_owned(), None),
        (format!("{whole}\n\n  \n"), None),
        (String::new(), None),
        (format!("{long}\n{whole}"), None),
        (format!("{whole}\n{}", &whole[..40]), Some(2)),
        (format!("{whole}\n{}\n", &whole[..40]), Some(2)),
        (format!("{long}\n\n{long}\n{}", &long[..90_000]), Some(4)),
        (whole[..40].to_owned(), Some(1)),
        (format!("{whole}\n{}", "\0".repeat(4096)), Some(2)),
        // What is amid the file is no end.
        (format!("{}\n{whole}\n", &whole[..40]), None),
    ];
    for (text, expected) in cases {
        let disk = Disk::of(&text);
        let found = cut_line(disk.config_dir(), disk.id).unwrap();
        let start = &text[..text.len().min(60)];
        assert_eq!(found.as_ref().map(|cut| cut.line), expected, "{start}");
        assert!(found.is_none_or(|cut| cut.path == disk.path()), "{start}");
        assert_eq!(disk.text(), text, "nothing is written");
    }
    assert_eq!(cut_line(Disk::empty().config_dir(), SessionId::random()).unwrap(), None);
}
