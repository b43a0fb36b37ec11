//! What a stranger says: no prompt on which a CLI was seen to act is called inert, and none is changed on its way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use treewarden_core::session::Prompt;
use treewarden_proto::TurnId;
use treewarden_proto::input::UserFrame;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let prompt = Prompt::from(text);
    // As 2.1.197 and 2.1.332 do: a command at the start, a mention at the start or behind a blank of JavaScript.
    let mut before = None;
    let mentions = text.chars().zip(text.chars().skip(1)).any(|(char, next)| {
        let is = char == '@' && before.is_none_or(is_blank) && !is_blank(next);
        before = Some(char);
        is
    });
    assert!(!(prompt.is_inert() && (text.starts_with('/') || mentions)), "{text:?}");
    for prompt in [prompt, Prompt::command(text)] {
        let stored = serde_json::to_string(&prompt).expect("it can be written");
        assert_eq!(serde_json::from_str::<Prompt>(&stored).expect("it can be read"), prompt);
        let sent = UserFrame::new(TurnId::new(), prompt.content().clone()).client_composed(!prompt.is_command());
        let line = sent.encode();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        let json: Value = serde_json::from_slice(&line).expect("a frame is JSON");
        assert_eq!(json["message"]["content"], text);
        assert_eq!(json["client_composed"] == true, !prompt.is_command());
    }
});

/// What `\s` is in JavaScript.
fn is_blank(char: char) -> bool {
    (char.is_whitespace() && char != '\u{85}') || char == '\u{feff}'
}
