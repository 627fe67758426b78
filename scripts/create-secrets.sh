#!/usr/bin/env bash
# Puts CLOUDRUN_CALLBACK_SECRET into Secret Manager, where service and worker read it.
#
#   ./scripts/create-secrets.sh [--dry-run] [--env-file=FILE]
#
# A changed value becomes a new version. To rotate, set "NEW,OLD": both sign until you remove the old one.
# Needs PROJECT_ID, REGION, GCS_LOGS_BUCKET and CLOUDRUN_CALLBACK_SECRET from .env or the environment. The value is
# neither printed nor given to a program as an argument. May be run again at any time.

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/common.sh
. scripts/lib/settings.sh
. scripts/lib/grants.sh

ensure_api() {
  local enabled
  look enabled services list --enabled || enabled='[]'
  if jq -e 'any(.[]; .config.name == "secretmanager.googleapis.com")' <<<"$enabled" >/dev/null; then
    keep "API secretmanager.googleapis.com"
  else
    change "API secretmanager.googleapis.com" services enable secretmanager.googleapis.com
  fi
}

ensure_secret() {
  if exists secrets describe "$SECRET_NAME"; then
    keep "secret $SECRET_NAME"
  else
    change "secret $SECRET_NAME" secrets create "$SECRET_NAME" --replication-policy=automatic
  fi
}

ensure_version() {
  local version
  # It comes as URL-safe base64, and is compared so: a newline at its end is a difference.
  if look version secrets versions access latest --secret="$SECRET_NAME" &&
    [[ $(jq -r '.payload.data' <<<"$version" | tr -- '-_' '+/') == "$(printf '%s' "$CLOUDRUN_CALLBACK_SECRET" | base64 -w 0)" ]]; then
    keep "value of $SECRET_NAME"
  else
    CHANGE_INPUT=$CLOUDRUN_CALLBACK_SECRET change "new version of $SECRET_NAME" \
      secrets versions add "$SECRET_NAME" --data-file=-
    say "            deployed programs take it when they start anew: ./scripts/deploy-service.sh --force"
  fi
}

begin "" "PROJECT_ID REGION GCS_LOGS_BUCKET CLOUDRUN_CALLBACK_SECRET" "$@"
[[ $CLOUDRUN_CALLBACK_SECRET != your-generated-secret-here ]] ||
  die "$EXIT_USAGE" "CLOUDRUN_CALLBACK_SECRET is still the example: $(how_to_set CLOUDRUN_CALLBACK_SECRET)"
((${#CLOUDRUN_CALLBACK_SECRET} >= 32)) ||
  warn "CLOUDRUN_CALLBACK_SECRET is short; $(how_to_set CLOUDRUN_CALLBACK_SECRET)"
ensure_api
ensure_secret
ensure_version
grant_on_secret
tell_end
say "next: ./scripts/build-and-push.sh"
