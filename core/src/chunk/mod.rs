//! From bytes to lines and from lines to log chunks.
//!
//! A child process writes blocks of bytes that end anywhere; the store holds objects of whole
//! lines. [`LineSplitter`] makes lines of the one, [`Chunker`] makes objects of the other. What
//! a line means, and where a chunk is put, is not decided here.

mod cutter;
mod splitter;

pub use cutter::{Chunk, ChunkLimits, Chunker};
pub use splitter::{CUT_LINE_BYTES, LineSplitter, SplitLine};
