# shellcheck shell=bash disable=SC2154 # run.sh and lib.sh set what tests work with
# What can be judged without running anything.

it_has_scripts_that_shellcheck_accepts() {
  cd "$root" || exit
  shellcheck -x scripts/*.sh scripts/lib/*.sh tests/scripts/*.sh tests/scripts/cases/*.sh .ci/run
}

it_has_a_dockerfile_that_hadolint_accepts() { hadolint "$root/Dockerfile"; }

it_pins_the_same_agent_in_image_and_tests() {
  local version
  version=$(sed -n 's/^CLAUDE_VERSION=//p' "$root/scripts/test.sh")
  [[ -n $version ]]
  grep -qx "ARG CLAUDE_VERSION=$version" "$root/Dockerfile"
}

it_runs_the_service_without_privileges() {
  local user
  user=$(sed -n '/ AS service$/,/ AS worker$/s/^USER //p' "$root/Dockerfile")
  [[ $user == 10001:10001 ]] || fail "the service runs as '$user'"
}

it_sends_no_env_file_to_the_build() {
  [[ $(sed -n '/^[^#]/{p;q}' "$root/.dockerignore") == '*' ]] || fail "not everything is left out first"
  ! grep -q '^!.*env' "$root/.dockerignore" || fail "an env file is sent"
}

it_documents_every_variable_in_the_example() {
  local name missing=()
  # shellcheck source=scripts/lib/common.sh
  . "$root/scripts/lib/common.sh"
  # shellcheck source=scripts/lib/settings.sh
  . "$root/scripts/lib/settings.sh"
  for name in "${SCRIPT_VARIABLES[@]}" "${PROGRAM_VARIABLES[@]}" "${SERVICE_VARIABLES[@]}"; do
    grep -Eq "^#?$name=" "$root/.env.example" || missing+=("$name")
  done
  ((${#missing[@]} == 0)) || fail "not in .env.example: ${missing[*]}"
}

it_counts_lines_that_the_program_writes() {
  local line lines
  lines=$(jq -r '.filter | scan("jsonPayload.message=\"([^\"]+)\"")[]' "$root"/deploy/monitoring/metrics/*.json | sort -u)
  (($(wc -l <<<"$lines") >= 6))
  while IFS= read -r line; do
    grep -rqF "\"$line\"" "$root/apps/engine/src" || fail "no line of the engine says: $line"
  done <<<"$lines"
}

it_alerts_on_metrics_that_it_makes() {
  local name folder=$root/deploy/monitoring
  while IFS= read -r name; do
    [[ -e $folder/metrics/${name#user/}.json ]] || fail "there is no metric $name"
  done < <(grep -rhoE 'user/legwork_[a-z_]+' "$folder/alerts" "$folder/dashboard.json" | sort -u)
}

it_hands_on_only_names_that_the_program_knows() {
  local name
  # shellcheck source=scripts/lib/settings.sh
  . "$root/scripts/lib/settings.sh"
  for name in "${PROGRAM_VARIABLES[@]}" "${SERVICE_VARIABLES[@]}"; do
    grep -q "\"$name\"" "$root/apps/wiring/src/names.rs" || fail "the program has no $name"
  done
}
