# shellcheck shell=bash disable=SC2154 # run.sh and lib.sh set what tests work with
# Images, job and service.

it_builds_what_is_committed_under_its_commit() {
  local commit
  fresh
  sed -i '/IMAGE_TAG/d' "$repository/.env"
  commit=$(git -C "$repository" rev-parse --short=12 HEAD)
  run 0 build-and-push
  expect_call "_TAG=$commit"
  [[ $(state '.images | length') == 2 ]]
  printf '\n' >>"$repository/Dockerfile"
  run 0 build-and-push
  expect_said "changes that are not committed are not built"
  expect_no_changes
  run 0 build-and-push --force
  expect_changes 1
}

it_builds_with_docker_where_told() {
  fresh
  printf 'BUILD_WITH=docker\n' >>"$repository/.env"
  mkdir "$GCLOUD_HOME/bin"
  # shellcheck disable=SC2016 # for the program that is written here
  printf '#!/bin/sh\nprintf "%%s\\n" "$*" >>"%s"\ncat >/dev/null\n' "$GCLOUD_HOME/docker" >"$GCLOUD_HOME/bin/docker"
  chmod +x "$GCLOUD_HOME/bin/docker"
  environment[0]="PATH=$GCLOUD_HOME/bin:$here:$PATH"
  run 0 build-and-push
  expect_no_changes
  diff - "$GCLOUD_HOME/docker" <<'TEXT'
build --platform=linux/amd64 --target=service --tag=europe-west1-docker.pkg.dev/demo/legwork/service:v1 -
push europe-west1-docker.pkg.dev/demo/legwork/service:v1
build --platform=linux/amd64 --target=worker --tag=europe-west1-docker.pkg.dev/demo/legwork/worker:v1 -
push europe-west1-docker.pkg.dev/demo/legwork/worker:v1
TEXT
}

it_deploys_no_image_that_does_not_exist() {
  local name
  fresh
  for name in deploy-job deploy-service; do
    run 1 "$name"
    expect_said "run scripts/build-and-push.sh first"
    expect_no_changes
  done
}

it_gives_an_execution_35_minutes_more_than_a_task() {
  deployed
  printf 'MAX_TIMEOUT_MINUTES=1405\n' >>"$repository/.env"
  run 0 deploy-job
  expect_changes 1
  expect_call "--max-retries=0 --task-timeout=86400s"
  expect_call '"MAX_TIMEOUT_MINUTES": "1405"'
}

it_hands_on_values_with_commas_whole() {
  deployed
  printf 'ALLOWED_TOOLS="Read,Bash(git log:*)"\nMAX_WATCHERS=7\n' >>"$repository/.env"
  run 0 deploy-service
  [[ $(state '."run services"[].environment.ALLOWED_TOOLS') == "Read,Bash(git log:*)" ]]
  [[ $(state '."run services"[].environment.MAX_WATCHERS') == 7 ]]
  run 0 deploy-job
  [[ $(state '.jobs[].environment.MAX_WATCHERS') == null ]]
}

it_gives_no_credential_to_the_environment() {
  fresh
  printf '%s\n' ANTHROPIC_API_KEY=sk-ant-canary CLAUDE_CODE_OAUTH_TOKEN=canary LEGWORK_API_TOKEN=canary >>"$repository/.env"
  deploy_everything
  ! grep -q canary "$GCLOUD_HOME/state.json" "$GCLOUD_HOME/calls.jsonl" || fail "a credential went to Google"
  [[ $(state '[.jobs[].environment, ."run services"[].environment] | map(has("CLOUDRUN_CALLBACK_SECRET")) | any') == false ]]
}

it_deploys_again_what_has_changed_and_nothing_else() {
  deployed
  set_state '.images |= map_values("sha256:" + ("c" * 64))'
  run 0 deploy-service
  expect_changes 1
  expect_call "service@sha256:cccc"
  run 0 deploy-service --force
  expect_changes 1
  run 0 deploy-job --force
  expect_changes 1
}

it_keeps_one_instance_with_a_loop_where_it_is_always_on() {
  deployed
  printf 'ALWAYS_ON=true\n' >>"$repository/.env"
  run 0 deploy-service
  expect_exactly deploy-service-always-on
  [[ $(state '."run services"[].environment.RECONCILER') == loop ]]
  [[ $(state '.schedules | length') == 0 ]]
  run 0 deploy-service
  expect_no_changes
}

it_schedules_again_where_it_is_no_longer_always_on() {
  deployed
  environment+=(ALWAYS_ON=true)
  run 0 deploy-service
  unset 'environment[-1]'
  run 0 deploy-service
  expect_changes 2
  expect_call "--cpu-throttling --min-instances=0"
  expect_call "scheduler jobs create http legwork-reconcile"
}

it_mends_a_schedule() {
  deployed
  set_state '.schedules[].httpTarget.uri = "https://elsewhere.example/reconcile"'
  run 0 deploy-service
  expect_changes 1
  expect_call "scheduler jobs update http legwork-reconcile"
  set_state '.schedules[].state = "PAUSED"'
  run 0 deploy-service
  expect_call "scheduler jobs resume legwork-reconcile"
  run 0 deploy-service
  expect_no_changes
}

it_closes_a_service_that_was_public() {
  deployed
  set_state '.policies["run services europe-west1/legwork"].bindings += [{role: "roles/run.invoker", members: ["allUsers"]}]'
  run 0 deploy-service
  expect_changes 1
  expect_call "run services remove-iam-policy-binding legwork --region=europe-west1 --member=allUsers"
}

it_updates_what_is_watched() {
  fresh
  run 0 setup-monitoring
  printf 'SERVICE_NAME=other\nNOTIFICATION_CHANNELS=projects/demo/notificationChannels/1\n' >>"$repository/.env"
  run 0 setup-monitoring
  expect_no_call " create "
  expect_call "monitoring policies update projects/demo/alertPolicies/"
  expect_call "projects/demo/notificationChannels/1"
  expect_call "logging metrics update legwork_tasks_ended"
  run 0 setup-monitoring
  expect_no_changes
  ! grep -Eq '[{](GCS_|CLOUDRUN_|SERVICE_)' "$GCLOUD_HOME/state.json" || fail "a variable was not filled in"
}
