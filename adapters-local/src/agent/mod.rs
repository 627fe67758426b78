//! Runs the agent's command so that nothing of it outlives its task.
//!
//! Three processes stand between a task and its command. The worker ([`GuardedAgent`]) starts a
//! *guard* ([`guard`]), the guard starts a *trampoline* ([`mod@exec`]), and the trampoline becomes the
//! command. The guard adopts whatever the command's descendants leave behind and stops the whole
//! tree when the command ends, when the worker asks, or when its pipe to the worker closes: a
//! worker that is killed takes its tree along.
//!
//! The command writes into a file that the worker reads along: over a pipe, the agent's CLI was
//! seen to lose its last lines and to report success all the same.
//!
//! The trampoline closes to the command what it is not to reach of this machine's files. A command with
//! a user of its own gets mounts and shared memory of its own as well.
//!
//! Guard and trampoline are this program again, called by a hidden subcommand. Whoever builds a
//! program on [`GuardedAgent`] has to call [`guard::main`] and [`exec::main`] for them before it
//! does anything else: both want to be alone in their process, with one thread.
//!
//! What must not be here: any knowledge of the agent's own lines or arguments.

pub mod exec;
pub mod guard;
mod hidden_paths;
mod landlock;
mod local;
mod mounts;
mod plan;
mod program;
mod run;
mod spool;
mod supervise;
mod tail;
pub mod tree;
mod wire;

pub use self::landlock::landlock_abi;
pub use self::mounts::may_cover;
pub use local::GuardedAgent;
