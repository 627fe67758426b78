#!/usr/bin/env bash
# Makes the service accounts and gives them their roles, each on one resource; mends "permission denied".
#
#   ./scripts/setup-service-account.sh [--dry-run] [--env-file=FILE]
#
# API: encrypt with the key, use objects of the bucket, run the job with overrides, read and cancel its
# executions, read the callback secret, sign for itself. Worker: decrypt, use objects, read the secret.
# CLIENT_MEMBERS may call the service and read the bucket.
# Needs PROJECT_ID, REGION and GCS_LOGS_BUCKET from .env or the environment. May be run again at any time.
# Roles on secret, job and service are given here where those exist, else by the script that makes them.

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/common.sh
. scripts/lib/settings.sh
. scripts/lib/grants.sh

begin "" "PROJECT_ID REGION GCS_LOGS_BUCKET" "$@"
if ! exists storage buckets describe "gs://$GCS_LOGS_BUCKET" --raw && [[ $DRY_RUN == false ]]; then
  die "$EXIT_FAILURE" "there is no bucket gs://$GCS_LOGS_BUCKET; run scripts/setup-project.sh first"
fi
grant_on_storage_and_keys
grant_clients_reading
if exists secrets describe "$SECRET_NAME"; then
  grant_on_secret
else
  say "  later     roles on the secret: ./scripts/create-secrets.sh"
fi
if exists run jobs describe "$CLOUDRUN_JOB_NAME" --region="$REGION"; then
  grant_on_job
else
  say "  later     roles on the job: ./scripts/deploy-job.sh"
fi
if exists run services describe "$SERVICE_NAME" --region="$REGION"; then
  mapfile -t clients < <(client_members)
  [[ $ALWAYS_ON == true ]] || clients+=("serviceAccount:$SCHEDULER_SERVICE_ACCOUNT")
  grant_on_service "${clients[@]}"
else
  say "  later     roles on the service: ./scripts/deploy-service.sh"
fi
tell_end
