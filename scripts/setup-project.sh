#!/usr/bin/env bash
# Prepares a Google Cloud project: APIs, bucket, key, image repository, service accounts and their roles.
#
#   ./scripts/setup-project.sh [--dry-run] [--env-file=FILE]
#
# The bucket has uniform access, no public access, no versions, no soft delete (deleted payloads are gone at
# once), and removes objects after RETENTION_DAYS (30). The key rotates every 90 days.
# Needs PROJECT_ID, REGION and GCS_LOGS_BUCKET from .env or the environment. May be run again at any time:
# what is as it should be is left alone. --dry-run tells what would be changed, and changes nothing.

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/common.sh
. scripts/lib/settings.sh
. scripts/lib/grants.sh

readonly APIS=(
  artifactregistry cloudbuild cloudkms cloudscheduler iam iamcredentials logging monitoring run secretmanager storage
)
readonly ROTATION_DAYS=90

enable_apis() {
  local enabled api
  local -a missing=()
  look enabled services list --enabled || enabled='[]'
  for api in "${APIS[@]}"; do
    jq -e --arg name "$api.googleapis.com" 'any(.[]; .config.name == $name)' <<<"$enabled" >/dev/null ||
      missing+=("$api.googleapis.com")
  done
  if ((${#missing[@]})); then
    change "APIs ${missing[*]}" services enable "${missing[@]}"
  else
    keep "${#APIS[@]} APIs"
  fi
}

# What the lifecycle is to be: parts of uploads that were never completed go after a day.
lifecycle() {
  jq -n --argjson days "$RETENTION_DAYS" '{rule: [
    {action: {type: "Delete"}, condition: {age: $days}},
    {action: {type: "AbortIncompleteMultipartUpload"}, condition: {age: 1}}]}'
}

ensure_bucket() {
  local bucket name="gs://$GCS_LOGS_BUCKET" location
  local -a flags=()
  if ! look bucket storage buckets describe "$name" --raw; then
    change "bucket $name" storage buckets create "$name" --location="$REGION" \
      --uniform-bucket-level-access --public-access-prevention --soft-delete-duration=0
    bucket='{"iamConfiguration":{"uniformBucketLevelAccess":{"enabled":true},"publicAccessPrevention":"enforced"}}'
  fi
  location=$(jq -r '.location // "" | ascii_downcase' <<<"$bucket")
  [[ -z $location || $location == "$REGION" ]] ||
    warn "$name is in $location, not in $REGION; a bucket cannot be moved"
  jq -e '.iamConfiguration.uniformBucketLevelAccess.enabled == true' <<<"$bucket" >/dev/null ||
    flags+=(--uniform-bucket-level-access)
  jq -e '.iamConfiguration.publicAccessPrevention == "enforced"' <<<"$bucket" >/dev/null ||
    flags+=(--public-access-prevention)
  jq -e '(.softDeletePolicy.retentionDurationSeconds // "0" | tonumber) == 0' <<<"$bucket" >/dev/null ||
    flags+=(--clear-soft-delete)
  jq -e '.versioning.enabled != true' <<<"$bucket" >/dev/null || flags+=(--no-versioning)
  lifecycle >"$scratch/lifecycle.json"
  jq -e --slurpfile wanted "$scratch/lifecycle.json" \
    '([.lifecycle.rule[]?] | sort_by(.action.type)) == ($wanted[0].rule | sort_by(.action.type))' \
    <<<"$bucket" >/dev/null || flags+=(--lifecycle-file="$scratch/lifecycle.json")
  if ((${#flags[@]})); then
    change "settings of $name, deletion after $RETENTION_DAYS days among them" \
      storage buckets update "$name" "${flags[@]}"
  else
    keep "bucket $name, deletion after $RETENTION_DAYS days"
  fi
}

# GNU and BSD spell it differently.
next_rotation() {
  date -u -d "+$ROTATION_DAYS days" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -v "+${ROTATION_DAYS}d" +%Y-%m-%dT%H:%M:%SZ
}

ensure_key() {
  local key
  local -a place=(--location="$KMS_LOCATION") rotation
  rotation=(--rotation-period="${ROTATION_DAYS}d" --next-rotation-time="$(next_rotation)")
  if exists kms keyrings describe "$KMS_KEY_RING" "${place[@]}"; then
    keep "key ring $KMS_KEY_RING"
  else
    change "key ring $KMS_KEY_RING" kms keyrings create "$KMS_KEY_RING" "${place[@]}"
  fi
  place+=(--keyring="$KMS_KEY_RING")
  if ! look key kms keys describe "$KMS_KEY_NAME" "${place[@]}"; then
    change "key $KMS_KEY_NAME" kms keys create "$KMS_KEY_NAME" "${place[@]}" --purpose=encryption "${rotation[@]}"
    return
  fi
  jq -e '.purpose == "ENCRYPT_DECRYPT"' <<<"$key" >/dev/null ||
    die "$EXIT_USAGE" "the key $KMS_KEY_NAME is not for symmetric encryption; set KMS_KEY_NAME to another name"
  if [[ $(jq -r '.rotationPeriod // ""' <<<"$key") == "$((ROTATION_DAYS * 86400))s" ]]; then
    keep "key $KMS_KEY_NAME"
  else
    change "rotation of the key $KMS_KEY_NAME" kms keys update "$KMS_KEY_NAME" "${place[@]}" "${rotation[@]}"
  fi
}

ensure_repository() {
  if exists artifacts repositories describe "$ARTIFACT_REPOSITORY" --location="$REGION"; then
    keep "image repository $ARTIFACT_REPOSITORY"
  else
    change "image repository $ARTIFACT_REPOSITORY" artifacts repositories create "$ARTIFACT_REPOSITORY" \
      --location="$REGION" --repository-format=docker --description="Images of Legwork"
  fi
}

begin "" "PROJECT_ID REGION GCS_LOGS_BUCKET" "$@"
say "project $PROJECT_ID, region $REGION"
enable_apis
ensure_bucket
ensure_key
ensure_repository
grant_on_storage_and_keys
grant_clients_reading
tell_end
say "next: ./scripts/create-secrets.sh"
