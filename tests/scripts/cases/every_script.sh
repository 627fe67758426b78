# shellcheck shell=bash disable=SC2154 # run.sh and lib.sh set what tests work with
# What holds for each script.

it_makes_exactly_the_expected_calls_and_none_again() {
  local name
  fresh
  for name in setup-project create-secrets build-and-push deploy-job deploy-service setup-monitoring; do
    run 0 "$name"
    expect_exactly "$name"
    run 0 "$name"
    expect_no_changes
    expect_said "done: 0 changes made"
  done
  run 0 setup-service-account
  expect_no_changes
}

it_changes_nothing_in_a_dry_run_of_an_empty_project() {
  local name
  fresh
  for name in "${SCRIPTS[@]}"; do
    run 0 "$name" --dry-run
    expect_no_changes
    expect_said "dry run: "
    expect_unsaid "dry run: 0 changes"
  done
  [[ ! -e $GCLOUD_HOME/state.json ]]
}

it_tells_in_a_dry_run_what_it_then_does() {
  fresh
  run 0 setup-project --dry-run
  local told
  told=$(grep -c '^  would' "$output")
  run 0 setup-project
  # Whether a key or a role can be bound is known once it exists: the count is the same all the same.
  expect_changes "$told"
}

it_dry_runs_where_apis_are_off() {
  local name
  fresh
  environment+=("GCLOUD_FAIL==999=API [x.googleapis.com] not enabled on project [demo]. SERVICE_DISABLED")
  for name in "${SCRIPTS[@]}"; do
    run 0 "$name" --dry-run
    expect_no_changes
  done
}

it_explains_itself() {
  local name
  fresh
  for name in "${SCRIPTS[@]}"; do
    run 0 "$name" --help
    expect_said "./scripts/$name.sh"
    expect_no_changes
  done
}

it_names_every_missing_variable_and_how_to_set_it() {
  local name
  fresh
  : >"$repository/.env"
  for name in "${SCRIPTS[@]}"; do
    run 2 "$name"
    expect_said "PROJECT_ID is not set: the Google Cloud project, e.g. PROJECT_ID="
    expect_said "REGION is not set: "
    expect_said "GCS_LOGS_BUCKET is not set: "
    expect_no_changes
  done
}

it_asks_for_the_callback_secret_by_name() {
  fresh
  sed -i '/CALLBACK_SECRET/d' "$repository/.env"
  run 2 create-secrets
  expect_said "CLOUDRUN_CALLBACK_SECRET is not set: signs callbacks: CLOUDRUN_CALLBACK_SECRET=\$(openssl rand -hex 32)"
}

it_refuses_the_guides_example_of_a_secret() {
  fresh
  sed -i 's/^CLOUDRUN_CALLBACK_SECRET=.*/CLOUDRUN_CALLBACK_SECRET=your-generated-secret-here/' "$repository/.env"
  run 2 create-secrets
  expect_no_changes
}

it_refuses_unknown_options() {
  local name
  fresh
  for name in "${SCRIPTS[@]}"; do
    run 2 "$name" --dryrun
    expect_said "--dryrun is no option"
  done
  run 2 setup-project --force
}

it_takes_no_failure_for_a_missing_thing() {
  fresh
  environment+=("GCLOUD_FAIL=storage buckets describe=1=PERMISSION_DENIED: storage.buckets.get denied")
  run 1 setup-project
  expect_said "PERMISSION_DENIED"
  expect_no_call "storage buckets create"
}

it_stops_at_a_change_that_is_refused() {
  fresh
  environment+=("GCLOUD_FAIL=kms keyrings create=1=PERMISSION_DENIED: cloudkms.keyRings.create denied")
  run 1 setup-project
  expect_said "gcloud kms keyrings create"
  expect_no_call "kms keys create"
}

it_waits_until_a_new_account_is_known() {
  fresh
  environment+=("GCLOUD_FAIL=storage buckets add-iam-policy-binding=3=Service account legwork-api does not exist.")
  run 0 setup-project
  [[ $(state '.policies["buckets gs://demo-logs"].bindings[0].members | length') == 2 ]]
}
