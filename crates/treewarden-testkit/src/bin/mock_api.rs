//! The mock API as a program of its own: `treewarden-mock-api [--port N] [--log FILE]`.
//!
//! It prints its URL, and runs until it is killed. The log gets a line of JSON for each request.
//!
//! | argument | meaning | default |
//! |---|---|---|
//! | `--port N` | the port on 127.0.0.1 | a free one |
//! | `--log FILE` | where the lines go; appended | no log |
//!
//! It is for a person who looks at what the real command asks, or for a test that is not written in Rust. The words of the prompts steer
//! its answers; a handler is to be had in Rust alone, by `MockApi::builder`.
//!
//! ```text
//! $ treewarden-mock-api --log asked.jsonl
//! http://127.0.0.1:40123
//! $ ANTHROPIC_BASE_URL=http://127.0.0.1:40123 ANTHROPIC_API_KEY=dummy claude -p 'PROMPT-a STREAM=5:100'
//! word0 word1 word2 word3 word4 answer to PROMPT-a
//! ```
//!
//! It ends with 1, and says why on stderr, if an argument is wrong, the port is taken, or the log cannot be opened.

use std::io::{Error, Result, Write};

use treewarden_testkit::mock_api::MockApi;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut builder = MockApi::builder();
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        builder = match (flag.as_str(), args.next()) {
            ("--port", Some(port)) => builder.port(port.parse().map_err(|_| usage(&port))?),
            ("--log", Some(file)) => builder.log(file),
            _ => return Err(usage(&flag)),
        };
    }
    let api = builder.start().await?;
    writeln!(std::io::stdout(), "{}", api.base_url())?;
    std::future::pending().await
}

/// The error of an argument that is not known, has no value, or has one that is no port; it names that argument.
fn usage(bad: &str) -> Error {
    Error::other(format!("failed at `{bad}`: usage: treewarden-mock-api [--port N] [--log FILE]"))
}
