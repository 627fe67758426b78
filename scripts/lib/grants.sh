# shellcheck shell=bash
# Who may do what: the service accounts of the programs, and their roles, each on one resource.
#
# API service: encrypts with the one key, reads and writes objects of the one bucket, runs the one job with
# overrides and reads and cancels its executions, reads the callback secret, signs URLs as itself.
# Worker: decrypts with that key, reads and writes objects of that bucket, reads the callback secret.
# Scheduler: calls the service. Nobody has a role on the project.

readonly SECRET_NAME=CLOUDRUN_CALLBACK_SECRET
readonly JOB_RUNNER_ROLE=legworkJobRunner
# run.jobs.run alone does not let the task's name be handed over; executions are read to tell lost workers.
readonly JOB_RUNNER_PERMISSIONS=run.executions.cancel,run.executions.get,run.jobs.run,run.jobs.runWithOverrides

# ensure_account EMAIL TITLE
ensure_account() {
  if exists iam service-accounts describe "$1"; then
    keep "service account $1"
  elif [[ $1 == *"@$PROJECT_ID.iam.gserviceaccount.com" ]]; then
    change "service account $1" iam service-accounts create "${1%%@*}" --display-name="$2"
  else
    die "$EXIT_USAGE" "the service account $1 does not exist, and is not of the project $PROJECT_ID"
  fi
}

ensure_job_runner_role() {
  local role
  local -a contents=(
    --title="Legwork job runner"
    --description="Runs a Cloud Run job with overrides; reads and cancels its executions"
    --permissions="$JOB_RUNNER_PERMISSIONS" --stage=GA
  )
  if ! look role iam roles describe "$JOB_RUNNER_ROLE"; then
    change "custom role $JOB_RUNNER_ROLE" iam roles create "$JOB_RUNNER_ROLE" "${contents[@]}"
    return
  fi
  # A deleted role keeps its name for weeks.
  if [[ $(jq -r '.deleted // false' <<<"$role") == true ]]; then
    change "custom role $JOB_RUNNER_ROLE, back from deletion" iam roles undelete "$JOB_RUNNER_ROLE"
  fi
  if [[ $(jq -r '[.includedPermissions[]?] | sort | join(",")' <<<"$role") == "$JOB_RUNNER_PERMISSIONS" ]]; then
    keep "custom role $JOB_RUNNER_ROLE"
  else
    change "permissions of the custom role $JOB_RUNNER_ROLE" iam roles update "$JOB_RUNNER_ROLE" "${contents[@]}"
  fi
}

# Accounts and the roles on bucket and key, which setup-project.sh makes.
grant_on_storage_and_keys() {
  local account
  local -a key=(--keyring="$KMS_KEY_RING" --location="$KMS_LOCATION")
  ensure_account "$API_SERVICE_ACCOUNT" "Legwork API service"
  ensure_account "$WORKER_SERVICE_ACCOUNT" "Legwork worker"
  ensure_account "$SCHEDULER_SERVICE_ACCOUNT" "Legwork scheduler"
  ensure_job_runner_role
  for account in "$API_SERVICE_ACCOUNT" "$WORKER_SERVICE_ACCOUNT"; do
    grant "serviceAccount:$account" roles/storage.objectUser "storage buckets" "gs://$GCS_LOGS_BUCKET"
  done
  grant "serviceAccount:$API_SERVICE_ACCOUNT" roles/cloudkms.cryptoKeyEncrypter "kms keys" "$KMS_KEY_NAME" "${key[@]}"
  grant "serviceAccount:$WORKER_SERVICE_ACCOUNT" roles/cloudkms.cryptoKeyDecrypter "kms keys" "$KMS_KEY_NAME" "${key[@]}"
  # Signed URLs of uploaded files are signed by the account itself, without a key file.
  grant "serviceAccount:$API_SERVICE_ACCOUNT" roles/iam.serviceAccountTokenCreator \
    "iam service-accounts" "$API_SERVICE_ACCOUNT"
}

# Those who call the service from outside may read what it stores, and no more.
grant_clients_reading() {
  local member
  local -a members
  mapfile -t members < <(client_members)
  for member in "${members[@]}"; do
    grant "$member" roles/storage.objectViewer "storage buckets" "gs://$GCS_LOGS_BUCKET"
  done
}

client_members() { tr ',' '\n' <<<"${CLIENT_MEMBERS-}" | sed 's/^[[:space:]]*//; s/[[:space:]]*$//; /^$/d'; }

grant_on_secret() {
  local account
  for account in "$API_SERVICE_ACCOUNT" "$WORKER_SERVICE_ACCOUNT"; do
    grant "serviceAccount:$account" roles/secretmanager.secretAccessor secrets "$SECRET_NAME"
  done
}

grant_on_job() {
  grant "serviceAccount:$API_SERVICE_ACCOUNT" "projects/$PROJECT_ID/roles/$JOB_RUNNER_ROLE" \
    "run jobs" "$CLOUDRUN_JOB_NAME" --region="$REGION"
}

# The service is for those who are named, whatever was allowed on it before.
grant_on_service() {
  local member policy
  local -a members=("${@}")
  if look policy run services get-iam-policy "$SERVICE_NAME" --region="$REGION"; then
    for member in allUsers allAuthenticatedUsers; do
      if has_binding "$policy" "$member" roles/run.invoker; then
        change "takes the service $SERVICE_NAME away from $member" \
          run services remove-iam-policy-binding "$SERVICE_NAME" --region="$REGION" \
          --member="$member" --role=roles/run.invoker
      fi
    done
  fi
  for member in "${members[@]}"; do
    grant "$member" roles/run.invoker "run services" "$SERVICE_NAME" --region="$REGION"
  done
}
