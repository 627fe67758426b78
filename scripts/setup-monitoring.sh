#!/usr/bin/env bash
# Applies deploy/monitoring: log-based metrics, a dashboard and alert policies.
#
#   ./scripts/setup-monitoring.sh [--dry-run] [--force] [--env-file=FILE]
#
# NOTIFICATION_CHANNELS, comma-separated, are told of alerts; without them incidents show in the console alone.
# Needs PROJECT_ID, REGION and GCS_LOGS_BUCKET from .env or the environment. What is applied already is left alone,
# and updated where its file has changed. Nothing is removed.

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/common.sh
. scripts/lib/settings.sh

# fill FILE: its JSON with our names in the place of their variables, on standard output.
fill() {
  jq -S --arg bucket "$GCS_LOGS_BUCKET" --arg job "$CLOUDRUN_JOB_NAME" --arg service "$SERVICE_NAME" '
    walk(if type == "string" then
      gsub("\\$\\{GCS_LOGS_BUCKET\\}"; $bucket) | gsub("\\$\\{CLOUDRUN_JOB_NAME\\}"; $job)
      | gsub("\\$\\{SERVICE_NAME\\}"; $service) else . end)' "$1"
}

ensure_metric() {
  local metric name filled=$scratch/metric.json
  fill "$1" >"$filled"
  name=$(jq -r .name "$filled")
  if ! look metric logging metrics describe "$name"; then
    change "metric $name" logging metrics create "$name" --config-from-file="$filled"
  elif [[ $FORCE == false ]] && jq -e --slurpfile wanted "$filled" 'contains($wanted[0])' <<<"$metric" >/dev/null; then
    keep "metric $name"
  else
    change "metric $name" logging metrics update "$name" --config-from-file="$filled"
  fi
}

# ensure_titled KIND LABELS-MEMBER FILE-FLAG FILLED: dashboards and policies get their names from Google, so they are
# known by their title, and their state by a label.
ensure_titled() {
  local kind=$1 labels=$2 flag=$3 filled=$4 all title found config
  title=$(jq -r .displayName "$filled")
  config=$(sha256sum "$filled" | cut -c 1-40)
  look all monitoring "$kind" list || all='[]'
  found=$(jq -c --arg title "$title" '[.[] | select(.displayName == $title)] | first // empty' <<<"$all")
  jq --arg config "$config" --arg labels "$labels" --argjson found "${found:-null}" \
    '.[$labels] = {"legwork-config": $config} | if $found.etag then .etag = $found.etag else . end' \
    "$filled" >"$scratch/labelled.json"
  if [[ -z $found ]]; then
    change "$kind: $title" monitoring "$kind" create "$flag=$scratch/labelled.json"
  elif [[ $FORCE == false && $(jq -r --arg labels "$labels" '.[$labels]["legwork-config"] // ""' <<<"$found") == "$config" ]]; then
    keep "$kind: $title"
  else
    change "$kind: $title" monitoring "$kind" update "$(jq -r .name <<<"$found")" "$flag=$scratch/labelled.json"
  fi
}

ensure_alert() {
  fill "$1" | jq -S --arg channels "${NOTIFICATION_CHANNELS-}" \
    '.notificationChannels = [$channels | split(",")[] | gsub("^\\s+|\\s+$"; "") | select(. != "")]' \
    >"$scratch/alert.json"
  ensure_titled policies userLabels --policy-from-file "$scratch/alert.json"
}

begin "--force" "PROJECT_ID REGION GCS_LOGS_BUCKET" "$@"
for file in deploy/monitoring/metrics/*.json; do ensure_metric "$file"; done
fill deploy/monitoring/dashboard.json >"$scratch/dashboard.json"
ensure_titled dashboards labels --config-from-file "$scratch/dashboard.json"
for file in deploy/monitoring/alerts/*.json; do
  # Without the scheduler there is nothing to watch.
  [[ $ALWAYS_ON == true && $file == */reconcile.json ]] || ensure_alert "$file"
done
tell_end
