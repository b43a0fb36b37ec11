//! The mock API as a program of its own: `treewarden-mock-api [--port N] [--log FILE]`.
//!
//! It prints its URL, and runs until it is killed. The log gets a line of JSON for each request.

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

fn usage(bad: &str) -> Error {
    Error::other(format!("failed at `{bad}`: usage: treewarden-mock-api [--port N] [--log FILE]"))
}
