//! What is done after a run: whether at all, with which message, and how a push goes on that the
//! remote rejects.

use alloc::{
    format,
    string::{String, ToString as _},
};

use crate::{
    id::{Attempt, TaskId},
    record::Status,
    request::{ConflictStrategy, PostExecutionActions, When},
};

/// How often a rejected push is rebased and tried again, at most.
pub const MAX_REBASES: u32 = 5;

/// Who commits where the repository names nobody.
pub const DEFAULT_NAME: &str = "Claude Code";
/// Where a reply to that one goes.
pub const DEFAULT_EMAIL: &str = "noreply@anthropic.com";

/// Tells whether the actions are to be taken after a run that ended like this.
///
/// # Examples
/// ```
/// use legwork_core::{actions::are_due, record::Status, request::{PostExecutionActions, UploadAction, When}};
/// let upload = Some(UploadAction { glob_patterns: vec!["*.log".into()], prefix: None });
/// let actions = PostExecutionActions { git: None, upload, when: When::Success };
/// assert!(are_due(&actions, Status::Completed));
/// assert!(!are_due(&actions, Status::Failed));
/// ```
pub fn are_due(actions: &PostExecutionActions, status: Status) -> bool {
    let configured =
        actions.upload.is_some() || actions.git.as_ref().is_some_and(|git| git.commit || git.push);
    let wanted = match actions.when {
        When::Success => status == Status::Completed,
        When::Always => status.is_terminal(),
    };
    configured && wanted
}

/// Returns the message of a commit for which the request has none.
pub fn default_message(id: &TaskId) -> String {
    format!("Changes by Claude Code (task {id})")
}

/// Returns the branch for work that could not be brought together with what the remote has.
/// A later attempt has one of its own, because a push never overwrites the first one's.
///
/// # Examples
/// ```
/// use legwork_core::{actions::own_branch, id::Attempt};
/// let id = "nightly-42".parse().unwrap();
/// assert_eq!(own_branch(&id, Attempt::FIRST), "legwork/nightly-42");
/// assert_eq!(own_branch(&id, Attempt::FIRST.next()), "legwork/nightly-42-2");
/// ```
pub fn own_branch(id: &TaskId, attempt: Attempt) -> String {
    let mut branch = format!("legwork/{id}");
    if attempt != Attempt::FIRST {
        branch.push('-');
        branch.push_str(&attempt.to_string());
    }
    branch
}

/// What to do next for a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushStep {
    /// Push to the branch that was asked for.
    Push,
    /// Fetch what the remote has, and put the work on top of it.
    Rebase,
    /// Push the work as it was to a branch of its own.
    OwnBranch,
    /// Leave it: the remote has moved on, and nothing may be done about it.
    GiveUp,
    /// It is done.
    Done,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushEvent {
    /// The remote has it, or the rebase is done.
    Succeeded,
    /// The remote has what the work does not know, or the rebase could not be done.
    InTheWay,
}

/// Leads a push to its end. A push never forces: it ends on the branch, on one of its own, or not.
///
/// # Examples
/// ```
/// use legwork_core::{actions::{PushEvent, PushPlan, PushStep}, request::ConflictStrategy};
/// let mut plan = PushPlan::new(ConflictStrategy::Auto);
/// assert_eq!(plan.step(), PushStep::Push);
/// plan.note(PushEvent::InTheWay);
/// assert_eq!(plan.step(), PushStep::Rebase);
///
/// let mut plan = PushPlan::new(ConflictStrategy::Fail);
/// plan.note(PushEvent::InTheWay);
/// assert_eq!(plan.step(), PushStep::GiveUp);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushPlan {
    strategy: ConflictStrategy,
    rebases: u32,
    step: PushStep,
}

impl PushPlan {
    /// Begins with a push.
    pub fn new(strategy: ConflictStrategy) -> Self {
        Self { strategy, rebases: 0, step: PushStep::Push }
    }

    /// Returns what to do now.
    pub fn step(&self) -> PushStep {
        self.step
    }

    /// Notes what came of the step.
    pub fn note(&mut self, event: PushEvent) {
        self.step = match (self.step, event) {
            (PushStep::Push | PushStep::OwnBranch, PushEvent::Succeeded) => PushStep::Done,
            (PushStep::Push, PushEvent::InTheWay) if self.strategy == ConflictStrategy::Fail => {
                PushStep::GiveUp
            }
            (PushStep::Push, PushEvent::InTheWay) if self.rebases >= MAX_REBASES => PushStep::OwnBranch,
            (PushStep::Push, PushEvent::InTheWay) => {
                self.rebases = self.rebases.saturating_add(1);
                PushStep::Rebase
            }
            (PushStep::Rebase, PushEvent::Succeeded) => PushStep::Push,
            (PushStep::Rebase, PushEvent::InTheWay) => PushStep::OwnBranch,
            (PushStep::OwnBranch, PushEvent::InTheWay) => PushStep::GiveUp,
            (ended @ (PushStep::Done | PushStep::GiveUp), PushEvent::Succeeded | PushEvent::InTheWay) => {
                ended
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::request::{GitAction, UploadAction};

    fn actions(when: When) -> PostExecutionActions {
        let upload = Some(UploadAction { glob_patterns: Vec::new(), prefix: None });
        PostExecutionActions { git: None, upload, when }
    }

    #[test]
    fn always_means_after_every_end() {
        for status in [Status::Completed, Status::Failed, Status::Cancelled] {
            assert!(are_due(&actions(When::Always), status));
        }
        assert!(!are_due(&actions(When::Always), Status::Running));
    }

    #[test]
    fn a_git_action_without_commit_and_push_is_none() {
        let git = GitAction {
            commit: false,
            commit_message: None,
            push: false,
            branch: None,
            files: Vec::new(),
            conflict_strategy: ConflictStrategy::Auto,
        };
        let actions = PostExecutionActions { git: Some(git), upload: None, when: When::Always };

        assert!(!are_due(&actions, Status::Completed));
    }

    proptest! {
        #[test]
        fn every_push_comes_to_an_end(events in proptest::collection::vec(any::<bool>(), 40)) {
            let mut plan = PushPlan::new(ConflictStrategy::Auto);
            let mut rebases = 0;

            for succeeded in events {
                rebases += u32::from(plan.step() == PushStep::Rebase);
                plan.note(if succeeded { PushEvent::Succeeded } else { PushEvent::InTheWay });
            }

            prop_assert!(matches!(plan.step(), PushStep::Done | PushStep::GiveUp));
            prop_assert!(rebases <= MAX_REBASES);
        }

        #[test]
        fn who_wants_a_rejection_to_fail_gets_no_rebase(events in proptest::collection::vec(any::<bool>(), 5)) {
            let mut plan = PushPlan::new(ConflictStrategy::Fail);

            for succeeded in events {
                plan.note(if succeeded { PushEvent::Succeeded } else { PushEvent::InTheWay });
                prop_assert!(!matches!(plan.step(), PushStep::Rebase | PushStep::OwnBranch));
            }
        }

        #[test]
        fn only_a_push_that_succeeded_is_done(events in proptest::collection::vec(any::<bool>(), 40)) {
            let mut plan = PushPlan::new(ConflictStrategy::Auto);

            for succeeded in events {
                let before = plan.step();
                plan.note(if succeeded { PushEvent::Succeeded } else { PushEvent::InTheWay });
                if plan.step() == PushStep::Done && before != PushStep::Done {
                    prop_assert!(succeeded && matches!(before, PushStep::Push | PushStep::OwnBranch));
                }
            }
        }
    }
}
