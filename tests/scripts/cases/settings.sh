# shellcheck shell=bash disable=SC2154 # run.sh and lib.sh set what tests work with
# What is read, and what is refused.

it_lets_the_environment_win_over_the_file() {
  fresh
  environment+=(GCS_LOGS_BUCKET=other-logs)
  run 0 setup-project
  expect_call "storage buckets create gs://other-logs"
}

it_runs_nothing_that_stands_in_the_file() {
  fresh
  # shellcheck disable=SC2016 # to be taken as it stands
  printf '%s\n' 'KMS_KEY_RING="$(touch ran)"' 'PATH=/nowhere' 'export KMS_KEY_NAME = quoted # a comment' >>"$repository/.env"
  run 0 setup-project --dry-run
  [[ ! -e $repository/ran ]]
  # shellcheck disable=SC2016
  expect_said 'key ring $(touch ran)'
  expect_said "key quoted"
}

it_names_the_line_that_it_cannot_read() {
  fresh
  printf 'KMS_KEY_NAME="open\n' >>"$repository/.env"
  run 2 setup-project
  expect_said ".env, line 6: the quote of KMS_KEY_NAME is not closed"
  printf 'nonsense\n' >"$repository/.env"
  run 2 setup-project
  expect_said ".env, line 1: not NAME=value"
}

it_reads_another_file_where_told() {
  fresh
  mv "$repository/.env" "$repository/production.env"
  run 0 setup-project --env-file=production.env
  expect_call "storage buckets create gs://demo-logs"
}

it_keeps_objects_as_long_as_told() {
  fresh
  printf 'RETENTION_DAYS=90\n' >>"$repository/.env"
  run 0 setup-project
  [[ $(state '.buckets["gs://demo-logs"].lifecycle.rule[] | select(.action.type == "Delete").condition.age') == 90 ]]
}

# refused SETTING...: none of these is accepted, and each is named.
refused() {
  local setting
  for setting in "$@"; do
    fresh
    printf '%s\n' "$setting" >>"$repository/.env"
    run 2 deploy-job
    expect_said "${setting%%=*} must be"
    expect_no_changes
  done
}

it_refuses_what_cannot_be_meant() {
  refused MAX_TIMEOUT_MINUTES=1406 MAX_TIMEOUT_MINUTES=0 MAX_TIMEOUT_MINUTES=1h MAX_TIMEOUT_MINUTES=060 \
    RETENTION_DAYS=5 MAX_INSTANCES=0 ALWAYS_ON=yes BUILD_WITH=podman
}
