//! What every `Jobs` has to keep.
