//! The treewarden command.

fn main() {}
