#!/usr/bin/env bash
# Tests the deployment scripts against a stand-in for gcloud (beside this file), which keeps a project's state and
# records every call.
#
#   ./tests/scripts/run.sh           all tests; the last line is `N passed, N failed`
#   ./tests/scripts/run.sh NAME      those whose names contain NAME
#   UPDATE=1 ./tests/scripts/run.sh  writes the calls that were made into expected/, to be read before they are committed
#
# Each test has a project of its own, and a copy of the scripts in a repository of its own.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=tests/scripts/lib.sh
. "$here/lib.sh"

# shellcheck disable=SC2034 # the cases use it
readonly SCRIPTS=(
  setup-project create-secrets setup-service-account build-and-push deploy-job deploy-service setup-monitoring
)

for program in jq shellcheck hadolint git python3 curl; do
  command -v "$program" >/dev/null || {
    echo "error: $program is needed; ./scripts/test.sh installs it"
    exit 1
  }
done

for file in "$here"/cases/*.sh; do
  # shellcheck disable=SC1090 # each is checked by itself
  . "$file"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run_all "${1-}"
