//! Makes functions of the code in `docs/sessions.md` and `docs/events.md`, so that `tests/guide.rs` compiles it.

use std::fmt::Write;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    for page in ["sessions", "events"] {
        let guide = format!("{}/../docs/{page}.md", env!("CARGO_MANIFEST_DIR"));
        println!("cargo::rerun-if-changed={guide}");
        text.push_str(&std::fs::read_to_string(guide)?);
    }
    let blocks = text.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut code = String::new();
    for (n, block) in blocks.enumerate() {
        // Items stand by themselves; statements stand in a function that is given a session.
        if block.contains("\nimpl ") {
            writeln!(code, "mod block_{n} {{\n{block}}}")?;
        } else {
            writeln!(code, "async fn block_{n}(session: Session) -> Done {{\n{block}\nOk(()) }}")?;
        }
    }
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("guide.rs"), code)?;
    Ok(())
}
