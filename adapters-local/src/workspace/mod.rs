//! The folders in which tasks work, the users they work as, and taking both away again.
//!
//! Everything of one attempt is below one folder, named after it, in a base folder that only this
//! service's user can write to. The agent owns some folders below and never the one above them, so
//! no path that this service follows can be bent by the agent.
//!
//! What must not be here: git, the request's files, and what settings an agent gets.

mod descent;
mod local;
mod removal;
mod users;

pub use local::LocalWorkspace;
pub use users::{UID_COUNT, UID_FIRST, UidPolicy, end_leftovers};
