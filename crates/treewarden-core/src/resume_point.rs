//! Where a conversation is resumed: the true leaf of its transcript.
