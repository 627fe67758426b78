# shellcheck shell=bash disable=SC2154 # run.sh sets where everything is
# How a test of a script is written: a function whose name begins with `it_` and whose body fails where its claim
# does not hold.

# Runs every `it_…` in a process of its own, as many at once as there are processors, and counts.
run_all() {
  local name passed=0 failed=0
  local -a names
  mapfile -t names < <(declare -F | sed -n 's/^declare -f \(it_\)/\1/p' | grep -F -- "$1")
  ((${#names[@]})) || fail "no test's name contains $1" "0 passed, 1 failed"
  make_deployed
  for name in "${names[@]}"; do
    while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n || true; done
    run_one "$name" &
  done
  wait
  for name in "${names[@]}"; do
    if [[ -e $work/$name.passed ]]; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
      printf 'FAILED %s\n' "$name"
      sed 's/^/    /' "$work/$name.log"
    fi
  done
  printf '%s passed, %s failed\n' "$passed" "$failed"
  ((failed == 0))
}

run_one() {
  # In a condition, a failing command would not end the test.
  set +e
  (
    set -euo pipefail
    "$1"
  ) >"$work/$1.log" 2>&1
  local code=$?
  ((code != 0)) || : >"$work/$1.passed"
}

fail() {
  printf '%s\n' "$@"
  exit 1
}

# A repository with the scripts, and a project in which nothing is.
fresh() {
  local name
  GCLOUD_HOME=$(mktemp -d "$work/gcloud.XXXX")
  repository=$(mktemp -d "$work/repository.XXXX")
  cp -r "$root/scripts" "$root/deploy" "$root/Dockerfile" "$root/.gitignore" "$repository"
  git -C "$repository" init --quiet
  git -C "$repository" add .
  git -C "$repository" -c user.name=t -c user.email=t@example.com commit --quiet --message=scripts
  printf '%s\n' PROJECT_ID=demo REGION=europe-west1 GCS_LOGS_BUCKET=demo-logs \
    CLOUDRUN_CALLBACK_SECRET=0123456789abcdef0123456789abcdef IMAGE_TAG=v1 >"$repository/.env"
  # Nothing of the caller's is to be seen by the scripts.
  environment=("PATH=$here:$PATH" "HOME=$work" "GCLOUD_HOME=$GCLOUD_HOME" LEGWORK_PAUSE_SECONDS=0)
  output=$GCLOUD_HOME/output
}

# run CODE SCRIPT ARGUMENTS...: the script has to end with this code.
run() {
  local wanted=$1 code=0
  shift
  : >"$GCLOUD_HOME/calls.jsonl"
  env -i "${environment[@]}" "$repository/scripts/$1.sh" "${@:2}" >"$output" 2>&1 </dev/null || code=$?
  ((code == wanted)) || fail "$* ended with $code, not $wanted" "$(cat "$output")"
}

# Deploys everything with the settings of this test.
deploy_everything() {
  local name
  for name in setup-project create-secrets build-and-push deploy-job deploy-service; do run 0 "$name"; done
}

# Made once, for all tests that begin with it.
make_deployed() {
  fresh
  deploy_everything
  cp "$GCLOUD_HOME/state.json" "$work/deployed.json"
}

# A project in which everything is deployed with the settings that `fresh` writes.
deployed() {
  fresh
  cp "$work/deployed.json" "$GCLOUD_HOME/state.json"
}

changes() { jq -r 'select(.changes) | .command' "$GCLOUD_HOME/calls.jsonl"; }

# Each call with its flags on lines of their own, so that a difference can be read.
folded() { sed 's/ --/\n    --/g'; }

expect_no_changes() {
  [[ -z $(changes) ]] || fail "changes were made:" "$(changes)"
}

expect_changes() {
  local count
  count=$(changes | wc -l)
  ((count == $1)) || fail "$count changes, not $1:" "$(changes)"
}

expect_said() { grep -qF -- "$1" "$output" || fail "not said: $1" "$(cat "$output")"; }

expect_unsaid() { ! grep -qF -- "$1" "$output" || fail "said: $1" "$(cat "$output")"; }

# Not through a pipe: grep leaves early, and the writer's complaint would count as a failure.
expect_call() { grep -qF -- "$1" <<<"$(changes)" || fail "no call with: $1" "$(changes | folded)"; }

expect_no_call() { ! grep -qF -- "$1" <<<"$(changes)" || fail "a call with: $1" "$(changes | folded)"; }

state() { jq -r "$1" "$GCLOUD_HOME/state.json"; }

# set_state FILTER: what somebody else has done to the project.
set_state() {
  jq "$1" "$GCLOUD_HOME/state.json" >"$GCLOUD_HOME/new"
  mv "$GCLOUD_HOME/new" "$GCLOUD_HOME/state.json"
}

# The changes are those written down in expected/NAME.
expect_exactly() {
  changes | folded | sed 's/\(legwork-config=\)[0-9a-f]*/\1CONFIG/; s/\("legwork-config": "\)[0-9a-f]*/\1CONFIG/' >"$GCLOUD_HOME/made"
  if [[ -n ${UPDATE-} ]]; then cp "$GCLOUD_HOME/made" "$here/expected/$1"; fi
  diff -u "$here/expected/$1" "$GCLOUD_HOME/made" || fail "other calls than in expected/$1"
}
