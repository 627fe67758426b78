//! What every `Callbacks` has to keep.
