#!/usr/bin/env bash
# Deploys the Cloud Run job whose executions are the workers.
#
#   ./scripts/deploy-job.sh [--dry-run] [--force] [--env-file=FILE]
#
# An execution may take MAX_TIMEOUT_MINUTES (60) and 35 minutes more, for lines, actions and callbacks; it is
# never repeated by Cloud Run. JOB_MEMORY (4Gi) also holds the task's files: its disk is memory. JOB_CPU: 2.
# Needs PROJECT_ID, REGION and GCS_LOGS_BUCKET from .env or the environment, the image and the secret.
# What is deployed already is left alone. What was changed by hand since is not seen: --force deploys anyway.

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/common.sh
. scripts/lib/settings.sh
. scripts/lib/grants.sh
. scripts/lib/deploy.sh

begin "--force" "PROJECT_ID REGION GCS_LOGS_BUCKET" "$@"
image_tag
image='' job=''
find_image image worker
write_environment "$scratch/environment.json" worker
arguments=(
  --image="$image" --service-account="$WORKER_SERVICE_ACCOUNT"
  --tasks=1 --parallelism=1 --max-retries=0 --task-timeout="$(((MAX_TIMEOUT_MINUTES + 35) * 60))s"
  --cpu="$JOB_CPU" --memory="$JOB_MEMORY" --set-secrets="$SECRET_NAME=$SECRET_NAME:latest"
)
config=$(fingerprint "$scratch/environment.json" "${arguments[@]}")
if look job run jobs describe "$CLOUDRUN_JOB_NAME" --region="$REGION" && is_deployed "$job" "$config"; then
  keep "job $CLOUDRUN_JOB_NAME"
else
  change "job $CLOUDRUN_JOB_NAME" run jobs deploy "$CLOUDRUN_JOB_NAME" --region="$REGION" "${arguments[@]}" \
    --env-vars-file="$scratch/environment.json" --labels="app=legwork,legwork-config=$config"
fi
grant_on_job
tell_end
say "next: ./scripts/deploy-service.sh"
