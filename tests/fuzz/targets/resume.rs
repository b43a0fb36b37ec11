//! Where a conversation is resumed: trees of few names, so that branches, circles, doubles and gaps are made.

#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use serde_json::json;

mod disk;

fuzz_target!(|data: &[u8]| {
    let name = |byte: u8| match byte % 24 {
        0 => disk::SETTLED.to_owned(),
        1 => disk::OPEN.to_owned(),
        n => format!("44444444-4444-4444-8444-4444444444{n:02}"),
    };
    let mut parents = HashMap::new();
    let mut text = String::new();
    for entry in data.chunks_exact(4) {
        let [what, own, parent, call] = [entry[0], entry[1], entry[2], entry[3]];
        if what >= 240 {
            text += &format!("{}\n", json!({ "type": "last-prompt", "leafUuid": name(own), "sessionId": disk::ID }));
            continue;
        }
        let uuid = name(own);
        let parent = (parent < 250).then(|| name(parent));
        let tool = format!("toolu_{}", call >> 2 & 7);
        let (kind, content) = match (what % 5, call & 3) {
            (0 | 1, 2) => ("user", json!([{ "type": "tool_result", "tool_use_id": tool, "content": "x" }])),
            (0 | 1, _) => ("user", json!("words")),
            (2 | 3, 1) => ("assistant", json!([{ "type": "tool_use", "id": tool, "name": "Bash", "input": {} }])),
            (2 | 3, _) => ("assistant", json!([{ "type": "text", "text": "words" }])),
            _ => ("system", json!(null)),
        };
        let line = json!({ "type": kind, "uuid": uuid, "parentUuid": parent, "sessionId": disk::ID,
            "isSidechain": what & 0x60 == 0x60, "isMeta": what & 0x10 != 0 && kind == "user",
            "message": { "role": kind, "id": format!("msg_{own}"), "content": content, "stop_reason": "end_turn" } });
        text += &format!("{line}\n");
        parents.insert(uuid, parent);
    }
    let Some(leaf) = disk::check(text.as_bytes()) else { return };
    // Where it goes on is a message of the file, and the settled turn is on its branch, or was nowhere to be found.
    assert!(parents.contains_key(&leaf), "{leaf} is no entry");
});
