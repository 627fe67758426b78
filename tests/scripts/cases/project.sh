# shellcheck shell=bash disable=SC2154 # run.sh and lib.sh set what tests work with
# Bucket, key, secret, accounts.

it_mends_a_bucket_that_was_made_by_hand() {
  fresh
  printf '{"buckets":{"gs://demo-logs":{"location":"EU","versioning":{"enabled":true},"softDeletePolicy":{"retentionDurationSeconds":"604800"}}}}' \
    >"$GCLOUD_HOME/state.json"
  run 0 setup-project
  expect_said "gs://demo-logs is in eu, not in europe-west1"
  expect_call "storage buckets update gs://demo-logs --uniform-bucket-level-access --public-access-prevention --clear-soft-delete --no-versioning --lifecycle-file="
  expect_no_call "storage buckets create"
  run 0 setup-project
  expect_no_changes
}

it_mends_a_key_without_rotation_and_refuses_one_of_another_kind() {
  fresh
  run 0 setup-project
  set_state '.keys[] |= del(.rotationPeriod)'
  run 0 setup-project
  expect_changes 1
  expect_call "kms keys update payloads"
  set_state '.keys[].purpose = "ASYMMETRIC_SIGN"'
  run 2 setup-project
  expect_no_changes
}

it_gives_each_account_its_roles_and_nothing_else() {
  fresh
  printf 'CLIENT_MEMBERS=user:me@example.com, group:us@example.com\n' >>"$repository/.env"
  deploy_everything
  # shellcheck disable=SC2016 # the variables are jq's
  state '.policies | to_entries | map(.key as $on | .value.bindings[] | .role as $role | .members[] | "\(.) \($role) \($on)") | sort[]' >"$GCLOUD_HOME/made"
  if [[ -n ${UPDATE-} ]]; then cp "$GCLOUD_HOME/made" "$here/expected/roles"; fi
  diff -u "$here/expected/roles" "$GCLOUD_HOME/made"
}

it_gives_the_permissions_of_the_job_role_back() {
  fresh
  run 0 setup-project
  [[ $(state '.roles.legworkJobRunner.includedPermissions | sort | join(" ")') == \
    "run.executions.cancel run.executions.get run.jobs.run run.jobs.runWithOverrides" ]]
  set_state '.roles.legworkJobRunner.includedPermissions += ["run.jobs.delete"]'
  run 0 setup-service-account
  expect_changes 1
  set_state '.roles.legworkJobRunner.deleted = true'
  run 0 setup-service-account
  expect_call "iam roles undelete legworkJobRunner"
}

it_mends_a_role_that_was_taken_away() {
  deployed
  set_state '.policies[] |= (.bindings = [])'
  run 0 setup-service-account
  expect_changes 9
  run 0 setup-service-account
  expect_no_changes
}

it_is_not_content_with_a_conditional_role() {
  fresh
  run 0 setup-project
  set_state '.policies["buckets gs://demo-logs"].bindings |= map(. + {condition: {title: "until tomorrow"}})'
  run 0 setup-project
  expect_changes 2
}

it_says_who_gives_the_roles_that_have_to_wait() {
  fresh
  run 1 setup-service-account
  expect_said "run scripts/setup-project.sh first"
  run 0 setup-project
  run 0 setup-service-account
  expect_said "roles on the secret: ./scripts/create-secrets.sh"
  expect_said "roles on the job: ./scripts/deploy-job.sh"
  expect_said "roles on the service: ./scripts/deploy-service.sh"
}

it_shows_the_secret_to_nobody() {
  fresh
  run 0 setup-project
  run 0 create-secrets
  expect_unsaid 0123456789abcdef
  ! grep -rq 0123456789abcdef "$GCLOUD_HOME/calls.jsonl" || fail "the secret was an argument"
  [[ $(state '.versions.CLOUDRUN_CALLBACK_SECRET' | base64 -d) == 0123456789abcdef0123456789abcdef ]]
}

it_adds_a_version_where_the_secret_differs() {
  fresh
  run 0 setup-project
  run 0 create-secrets
  # A newline at the end, as `echo` leaves it, makes every signature wrong.
  set_state '.versions.CLOUDRUN_CALLBACK_SECRET = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYK"'
  run 0 create-secrets
  expect_changes 1
  expect_call "secrets versions add"
  run 0 create-secrets
  expect_no_changes
}
