//! treewarden-store.
