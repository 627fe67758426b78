//! What every `Workspace` has to keep.
//!
//! What an agent would do is done by lines of POSIX shell, which run as the agent does. What happens
//! meanwhile to the repository elsewhere is done by the [`Upstream`].

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise is a panic"
)]

mod bench;
mod clones;
mod commits;
mod failures;
mod finding;
mod folders;
mod leaks;
mod placing;
mod pushes;
mod rebases;
mod signing;
mod upstream;

pub use self::{
    bench::WorkspaceBench,
    clones::*,
    commits::*,
    failures::*,
    finding::*,
    folders::*,
    leaks::*,
    placing::*,
    pushes::*,
    rebases::*,
    signing::*,
    upstream::{Upstream, Way},
};

/// Makes one `#[tokio::test]` of each function of [`workspace`](crate::workspace).
///
/// The argument is an asynchronous function that returns a
/// [`WorkspaceBench`](crate::workspace::WorkspaceBench) without any attempts, over an upstream without
/// commits, and a value that keeps it alive.
#[macro_export]
macro_rules! workspace_suite {
    ($make:path) => {
        $crate::workspace_suite!($make:
            folders_are_made_empty,
            what_an_earlier_process_left_is_gone,
            the_agent_changes_its_own_folders_alone,
            no_attempt_reaches_into_another_one,
            config_files_are_the_agents_to_read_and_not_to_change,
            a_config_file_stays_in_its_folder,
            the_agent_starts_at_the_top_or_below,
            links_that_leave_the_workspace_lead_nowhere,
            nothing_is_left_of_what_was_removed,
            removing_what_is_not_there_succeeds,
            what_another_process_made_is_removed,
            removing_touches_nothing_outside,
            isolation_is_told_in_short_words,
            what_lay_under_placed_files_is_put_back,
            nothing_is_written_through_a_link,
            what_was_written_over_placed_files_is_told_and_gone,
            placed_files_that_the_agent_removed_are_no_news,
            links_in_the_way_are_not_followed_when_things_are_put_back,
            paths_in_each_others_way_are_not_placed,
            what_took_the_place_of_placed_files_is_covered_again,
            nothing_is_covered_again_through_a_link,
            files_that_are_covered_again_are_kept_out_of_commits,
            placed_files_are_kept_out_of_commits,
            a_git_that_was_ended_halfway_stands_in_nobodys_way,
            files_are_found_by_stars_that_stay_in_folders_and_stars_that_do_not,
            names_with_dots_are_found_and_some_folders_never_entered,
            links_are_not_followed_to_find_files,
            a_file_is_found_once_with_its_size,
            what_cannot_be_found_is_told,
            a_regular_file_is_opened,
            what_is_no_regular_file_is_not_opened,
            the_agent_signs_with_a_key_that_it_cannot_read,
            nothing_is_left_of_a_closed_signing_agent,
            dropping_a_signing_agent_ends_it,
            a_key_that_cannot_sign_is_refused,
            a_clone_is_the_agents_own_with_its_branch_checked_out,
            a_clone_leaves_no_credentials,
            a_clone_has_as_many_commits_as_were_ordered,
            what_the_remote_has_is_told,
            an_agent_that_names_nobody_commits_all_the_same,
            a_clone_is_tried_again_where_the_network_failed,
            what_stands_against_a_clone_is_named,
            a_key_with_a_passphrase_is_refused_without_a_question,
            a_host_that_cannot_be_reached_is_told_in_time,
            a_clone_that_takes_too_long_is_ended,
            a_clone_is_ended_early_where_that_is_wished,
            a_clone_that_waits_for_its_next_try_is_ended_early,
            nothing_changed_is_no_commit,
            what_the_task_has_changed_is_committed,
            a_commit_of_the_agents_own_is_found,
            an_older_commit_is_not_the_tasks,
            globs_choose_what_is_committed,
            globs_of_a_commit_are_those_of_files,
            what_is_excepted_is_not_committed,
            what_is_merged_onto_placed_files_is_not_removed,
            repositories_in_the_workspace_are_left_out_and_told,
            whatever_takes_anothers_place_is_committed,
            who_commits_is_whom_the_repository_names,
            a_repository_that_the_agent_made_is_committed_to,
            what_the_agent_configured_runs_as_the_agent_and_sees_no_credentials,
            a_workspace_that_is_no_repository_is_broken,
            a_commit_that_is_not_whole_is_not_taken_out,
            what_holds_no_secret_has_no_leak,
            a_secret_in_a_file_is_found_where_it_is,
            a_secret_that_was_removed_again_is_found,
            secrets_in_messages_and_names_are_found,
            a_secret_that_the_remote_has_is_no_leak,
            a_secret_of_another_branch_is_no_leak,
            a_copy_of_a_private_file_is_found,
            a_private_file_with_next_to_nothing_in_it_is_found_at_its_path_alone,
            a_file_that_is_not_private_is_found_at_its_path_alone,
            a_push_adds_the_commit_to_the_branch,
            a_push_may_begin_a_branch,
            a_branch_that_has_moved_on_is_left_alone,
            history_that_was_rewritten_is_not_forced,
            a_refusal_is_told_in_the_remotes_words,
            a_name_that_another_branch_is_in_the_way_of_is_refused,
            whoever_is_named_logs_in_with_the_token,
            what_stands_against_a_push_is_named,
            a_host_with_another_key_is_not_spoken_to,
            what_the_agent_configured_changes_no_push,
            both_sides_are_kept_and_the_tasks_lines_stand,
            sides_that_do_not_meet_have_no_conflicts,
            removals_stand_as_lines_do,
            files_that_became_folders_are_told_by_their_names,
            of_work_that_the_branch_has_nothing_is_left,
            work_that_a_rebase_would_lose_is_none,
            the_newest_commit_that_is_left_is_told,
            what_the_task_points_to_stands,
            a_message_is_kept_by_a_rebase_whatever_it_holds,
            work_that_cannot_be_put_on_top_is_none,
            a_branch_that_is_missing_is_named_by_a_rebase,
        );
    };
    ($make:path: $($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            let (bench, _alive) = $make().await;
            $crate::workspace::$name(&bench).await;
        })*
    };
}
