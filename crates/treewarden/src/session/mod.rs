//! Named sessions: the handle, the actor, and the engine that owns one CLI.
