//! The session machine: the life of one CLI and of the turns that it answers.
