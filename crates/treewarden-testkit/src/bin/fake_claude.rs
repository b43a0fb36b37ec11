//! The fake CLI as a program of its own; see [`treewarden_testkit::fake_cli`].
//!
//! It takes the arguments of the real command and the script of the variable `TREEWARDEN_FAKE`; its exit codes are those of
//! `treewarden_testkit::fake_cli::main`. Tests find it by `fake_cli_path`, which builds it if need be.
//!
//! It must do nothing besides: whatever it did before or after would be what a test of the fake CLI in another host does not see.

use std::process::ExitCode;

fn main() -> ExitCode {
    treewarden_testkit::fake_cli::main(std::env::args().skip(1))
}
