//! The fake CLI as a program of its own; see [`treewarden_testkit::fake_cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    treewarden_testkit::fake_cli::main(std::env::args().skip(1))
}
