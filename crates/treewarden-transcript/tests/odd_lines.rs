//! Lines that a strict reader refuses are read: their ids hold the conversation together.

mod support;

use support::{Disk, answered, prompt, text};
use treewarden_proto::TurnId;

#[test]
fn a_line_is_read_whatever_stands_around_its_ids() {
    let turn = TurnId::new();
    let (asked, said) = (prompt(turn, None).to_string(), text("a1", &turn.to_string(), "one").to_string());
    let odd = |line: &str, field: &str| line.replacen('{', &format!("{{{field},"), 1);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a byte order mark", format!("\u{feff}{asked}\n{said}\n").into()),
        ("carriage returns", format!("{asked}\r\n{said}\r\n").into()),
        ("blank lines", format!("\n \n{asked}\n\n\t\n{said}\n\n").into()),
        ("doubled lines", format!("{asked}\n{asked}\n{said}\n{said}\n").into()),
        ("NUL bytes before", format!("\0\0{asked}\n\0{said}\n").into()),
        ("NUL bytes behind", format!("{asked}\0\0\n{said}\0\n").into()),
        ("NUL bytes between", format!("{asked}\n{}\n", said.replacen(":", ":\0\0", 2)).into()),
        ("a block of NUL bytes", format!("{asked}\n{}\n{said}\n", "\0".repeat(5_000)).into()),
        ("no end of the last line", format!("{asked}\n{said}").into()),
        ("a torn line", format!("{asked}\n{said}\n{{\"type\":\"assistant\",\"uuid\":\"a2\",\"par").into()),
        (
            "half a pair in a field",
            format!("{}\n{}\n", odd(&asked, r#""x":"\ud83d""#), odd(&said, r#""x":"\udc00 y""#)).into(),
        ),
        (
            "half a pair in a key",
            format!("{}\n{}\n", odd(&asked, r#""\ud83d":1"#), odd(&said, r#""\ud83d":1"#)).into(),
        ),
        (
            "a number out of range",
            format!("{}\n{}\n", odd(&asked, r#""x":1e999"#), odd(&said, r#""x":-1e999"#)).into(),
        ),
        (
            "thirty digits",
            format!("{asked}\n{}\n", odd(&said, r#""x":123456789012345678901234567890"#)).into(),
        ),
        (
            "a message of numbers",
            format!("{asked}\n{}\n", said.replacen(r#""message":{"#, r#""message":{"usage":[1e999],"#, 1))
                .into(),
        ),
        (
            "fields of another shape",
            format!("{asked}\n{}\n", odd(&said, r#""isMeta":3,"leafUuid":[1],"attachment":"x""#)).into(),
        ),
        (
            "bytes that are no text",
            [
                format!("{asked}\n").as_bytes(),
                b"\xff\xfe\n",
                odd(&said, "\"x\":\"\u{1}\"").replace('\u{1}', "\u{fffd}").as_bytes(),
                b"\n",
            ]
            .concat(),
        ),
    ];
    for (what, bytes) in cases {
        let disk = Disk::of(&bytes);
        assert_eq!(disk.leaf(&[answered(turn)], None), "a1", "{what}");
        let answer = disk.answer(turn).unwrap_or_else(|| panic!("on disk: {what}"));
        assert_eq!((answer.text.as_str(), answer.complete), ("one", true), "{what}");
        assert!(disk.bytes().starts_with(&bytes), "no line is changed: {what}");
    }
}

#[test]
fn half_a_surrogate_pair_costs_one_character_of_the_answer() {
    let turn = TurnId::new();
    let line = text("a1", &turn.to_string(), "cut HERE").to_string().replace("HERE", r"\ud83d");
    let line = line.replacen(r#""message":{"#, r#""message":{"\udc00":"\ud83d","#, 1);
    let disk = Disk::of(format!("{}\n{line}\n", prompt(turn, None)));
    assert_eq!(disk.leaf(&[answered(turn)], None), "a1");
    let answer = disk.answer(turn).expect("on disk");
    assert_eq!((answer.text.as_str(), answer.complete), ("cut \u{fffd}", true));
}

#[test]
fn a_line_that_no_cli_writes_is_passed_over_in_bounded_memory() {
    let turn = TurnId::new();
    let disk = Disk::new(&[prompt(turn, None)]);
    // A sparse hole of NUL bytes, as a power loss leaves it, and an answer behind it.
    let file = std::fs::File::options().append(true).open(disk.path()).expect("it is there");
    let len = disk.bytes().len() as u64;
    file.set_len(len + (200 << 20)).expect("a hole");
    let answer = format!("\n{}\n", text("5b7d3a52-0000-4000-8000-00000000000a", &turn.to_string(), "one"));
    std::io::Write::write_all(&mut &file, answer.as_bytes()).expect("written");
    assert_eq!(disk.answer(turn).expect("it is there").text, "one");
}
