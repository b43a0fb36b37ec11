//! treewarden-testkit.
