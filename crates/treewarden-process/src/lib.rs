//! treewarden-process.
