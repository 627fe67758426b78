#!/usr/bin/env bash
# Deploys the API as a Cloud Run service, closed to the public, and what makes it look after its tasks.
#
#   ./scripts/deploy-service.sh [--dry-run] [--force] [--env-file=FILE]
#
# A Cloud Scheduler job calls POST /reconcile every minute. With ALWAYS_ON=true there is none: one instance keeps
# its CPU and looks after the tasks in a loop, which finds lost workers sooner and costs more (docs/costs.md).
# CLIENT_MEMBERS, e.g. "serviceAccount:ci@my-project.iam.gserviceaccount.com,user:me@example.com", may call it.
# Needs PROJECT_ID, REGION and GCS_LOGS_BUCKET from .env or the environment, the image, the secret and the job.
# What is deployed already is left alone. What was changed by hand since is not seen: --force deploys anyway.

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/common.sh
. scripts/lib/settings.sh
. scripts/lib/grants.sh
. scripts/lib/deploy.sh

readonly SCHEDULE='* * * * *'

# Requests of up to an hour: followed logs and POST /run.
service_arguments() {
  arguments=(
    --image="$image" --service-account="$API_SERVICE_ACCOUNT" --no-allow-unauthenticated --ingress=all
    --timeout=3600 --concurrency=250 --cpu="$SERVICE_CPU" --memory="$SERVICE_MEMORY"
    --max-instances="$MAX_INSTANCES" --set-secrets="$SECRET_NAME=$SECRET_NAME:latest"
  )
  if [[ $ALWAYS_ON == true ]]; then
    arguments+=(--no-cpu-throttling --min-instances=1)
  else
    arguments+=(--cpu-throttling --min-instances=0)
  fi
}

deploy() {
  local service config
  find_image image service
  write_environment "$scratch/environment.json" service
  service_arguments
  config=$(fingerprint "$scratch/environment.json" "${arguments[@]}")
  if look service run services describe "$SERVICE_NAME" --region="$REGION" && is_deployed "$service" "$config"; then
    keep "service $SERVICE_NAME"
  else
    change "service $SERVICE_NAME" run deploy "$SERVICE_NAME" --region="$REGION" "${arguments[@]}" \
      --env-vars-file="$scratch/environment.json" --labels="app=legwork,legwork-config=$config"
  fi
}

find_url() {
  local service
  if look service run services describe "$SERVICE_NAME" --region="$REGION"; then
    url=$(jq -er '.status.url' <<<"$service") || die "$EXIT_FAILURE" "the service $SERVICE_NAME has no URL yet; run this again"
  else
    url=https://URL-OF-THE-SERVICE
  fi
}

ensure_schedule() {
  local job verb name=$SERVICE_NAME-reconcile
  local -a place=(--location="$SCHEDULER_LOCATION")
  if ! look job scheduler jobs describe "$name" "${place[@]}"; then
    verb=create
  elif jq -e --arg url "$url" --arg account "$SCHEDULER_SERVICE_ACCOUNT" --arg schedule "$SCHEDULE" '
      .schedule == $schedule and .httpTarget.uri == $url + "/reconcile" and .httpTarget.httpMethod == "POST"
      and .httpTarget.oidcToken.serviceAccountEmail == $account and .httpTarget.oidcToken.audience == $url
      and .attemptDeadline == "60s" and (.state // "ENABLED") == "ENABLED"' <<<"$job" >/dev/null; then
    keep "schedule $name"
    return
  else
    verb=update
    if [[ $(jq -r '.state // "ENABLED"' <<<"$job") == PAUSED ]]; then
      change "schedule $name goes on" scheduler jobs resume "$name" "${place[@]}"
    fi
  fi
  # A pass takes at most 50 s. One that fails is not repeated: the next is a minute away.
  change "schedule $name: POST $url/reconcile every minute" scheduler jobs "$verb" http "$name" "${place[@]}" \
    --schedule="$SCHEDULE" --time-zone=Etc/UTC --uri="$url/reconcile" --http-method=POST \
    --oidc-service-account-email="$SCHEDULER_SERVICE_ACCOUNT" --oidc-token-audience="$url" \
    --attempt-deadline=60s --max-retry-attempts=0
}

remove_schedule() {
  local job name=$SERVICE_NAME-reconcile
  if look job scheduler jobs describe "$name" --location="$SCHEDULER_LOCATION"; then
    change "removes the schedule $name: the service looks by itself" \
      scheduler jobs delete "$name" --location="$SCHEDULER_LOCATION"
  else
    keep "no schedule $name"
  fi
}

begin "--force" "PROJECT_ID REGION GCS_LOGS_BUCKET" "$@"
image_tag
image='' url=''
deploy
find_url
mapfile -t clients < <(client_members)
if [[ $ALWAYS_ON == true ]]; then
  grant_on_service "${clients[@]}"
  remove_schedule
else
  grant_on_service "${clients[@]}" "serviceAccount:$SCHEDULER_SERVICE_ACCOUNT"
  ensure_schedule
fi
tell_end
say "the service: $url"
say "next: ./scripts/test.sh remote-async $url"
