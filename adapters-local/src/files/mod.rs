//! Objects as plain files below a data folder.
//!
//! An object is a file with exactly its bytes, so other programs can read it. A put writes a temporary
//! file, syncs it, renames it into place under the advisory lock of its key and syncs the folder. The
//! lock is shared by all processes and freed by their death, so a swap never overwrites a put that it
//! has not seen. What objects mean, and which of them belong together, is not known here.
//!
//! For local disks: advisory locks and file events on network file systems vary.

mod error;
mod kernel;
mod listing;
mod news;
mod objects;
mod place;
mod storage;

pub use storage::FileStorage;
