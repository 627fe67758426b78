//! The folders in which tasks work, the users they work as, and taking both away again.
//!
//! Everything of one attempt is below one folder, named after it, in a base folder that only this
//! service's user can write to. The agent owns some folders below and never the one above them, so
//! no path that this service follows can be bent by the agent.
//!
//! What must not be here: what is put into a workspace and when something leaves it.

mod accounts;
mod descent;
mod find;
mod git;
mod globs;
mod local;
mod metadata;
mod place;
mod removal;
mod users;

pub use find::MAX_FOUND_FILES;
pub use local::{LocalWorkspace, WorkspaceConfig};
pub use metadata::MetadataAccess;
pub use users::{UID_COUNT, UID_FIRST, UidPolicy, end_leftovers};
