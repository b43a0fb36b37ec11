//! A transcript of 100 MB is resumed in little memory.

mod support;

use std::fs;
use std::io::Write;

use serde_json::json;
use support::{Disk, answered, call, prompt, result, text};
use treewarden_proto::TurnId;

const MIB: usize = 1 << 20;

/// The most memory that this process had at once, in bytes; it is counted anew.
fn most_since_the_last_look() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is readable");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is told");
    let most: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    fs::write("/proc/self/clear_refs", "5").expect("it can be reset");
    most * 1024
}

/// Each turn calls a tool whose result is long.
fn write(disk: &Disk, turns: &[TurnId], bytes: usize) {
    fs::create_dir_all(disk.path().parent().expect("a folder")).expect("made");
    let mut file = std::io::BufWriter::new(fs::File::create(disk.path()).expect("made"));
    let long = "all of a file that was read ".repeat(bytes / turns.len() / 28);
    let mut leaf: Option<String> = None;
    for (at, turn) in turns.iter().enumerate() {
        let [asks, says, ends] = ["c", "r", "a"].map(|kind| format!("{kind}{at}"));
        let mut read = result(&says, &asks);
        read["message"]["content"][0]["content"] = json!(long);
        for line in
            [prompt(*turn, leaf.as_deref()), call(&asks, &turn.to_string()), read, text(&ends, &says, &ends)]
        {
            writeln!(file, "{line}").expect("written");
        }
        leaf = Some(ends);
    }
}

#[test]
fn a_transcript_of_100_mb_is_resumed_in_little_memory() {
    let turns: Vec<TurnId> = (0..2_000).map(|_| TurnId::new()).collect();
    let disk = Disk::empty();
    write(&disk, &turns, 100 * MIB);
    assert!(disk.path().metadata().expect("there").len() > 100 * 1_000_000);
    let last = turns.last().copied().expect("some");
    let lost = TurnId::new();
    most_since_the_last_look();
    let before = most_since_the_last_look();
    // The end decides; the whole must be read; an answer is looked for.
    assert_eq!(disk.leaf(&[answered(last)], None), "a1999");
    assert!(disk.lost(&[answered(lost)]).contains(&lost.to_string()));
    assert_eq!(disk.answer(turns[0]).expect("on disk").text, "a0");
    let more = most_since_the_last_look().saturating_sub(before);
    assert!(more < 32 * MIB, "{} MiB more", more / MIB);
}
