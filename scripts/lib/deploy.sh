# shellcheck shell=bash disable=SC2034 # what is set here is used by the scripts that read this file
# What the deployments of service and job share: images by digest, environments, and telling what is deployed already.

# The commit is the tag, so that an image says what it was built from.
image_tag() {
  [[ -n ${IMAGE_TAG-} ]] || IMAGE_TAG=$(git rev-parse --short=12 HEAD 2>/dev/null) ||
    die "$EXIT_USAGE" "IMAGE_TAG is not set, and this is no git repository that could give one"
}

# image_name service|worker
image_name() { printf '%s-docker.pkg.dev/%s/%s/%s' "$REGION" "$PROJECT_ID" "$ARTIFACT_REPOSITORY" "$1"; }

# find_image VARIABLE service|worker: the image of this tag by its digest, so that what runs cannot change
# under its name.
find_image() {
  local -n image_reference=$1
  local name found
  name=$(image_name "$2")
  if look found artifacts docker images describe "$name:$IMAGE_TAG"; then
    image_reference=$name@$(jq -er '.image_summary.digest' <<<"$found")
  elif [[ $DRY_RUN == true ]]; then
    image_reference=$name:$IMAGE_TAG
  else
    die "$EXIT_FAILURE" "there is no image $name:$IMAGE_TAG; run scripts/build-and-push.sh first"
  fi
}

# write_environment FILE service|worker: JSON, which gcloud reads as YAML. In a file, since values hold commas.
write_environment() {
  local name
  local -A values=(
    [LEGWORK_PLATFORM]=gcp [PROJECT_ID]=$PROJECT_ID [GCS_PROJECT_ID]=$GCS_PROJECT_ID [REGION]=$REGION
    [GCS_LOGS_BUCKET]=$GCS_LOGS_BUCKET [KMS_LOCATION]=$KMS_LOCATION [KMS_KEY_RING]=$KMS_KEY_RING
    [KMS_KEY_NAME]=$KMS_KEY_NAME [CLOUDRUN_JOB_NAME]=$CLOUDRUN_JOB_NAME
    [MAX_TIMEOUT_MINUTES]=$MAX_TIMEOUT_MINUTES
  )
  local -a pairs=() handed_on=("${PROGRAM_VARIABLES[@]}")
  if [[ $2 == service ]]; then
    handed_on+=("${SERVICE_VARIABLES[@]}")
    # Between requests an instance has no CPU, unless it is always on.
    if [[ $ALWAYS_ON == true ]]; then values[RECONCILER]=loop; else values[RECONCILER]=request; fi
  fi
  for name in "${handed_on[@]}"; do
    [[ -z ${!name-} ]] || values[$name]=${!name}
  done
  for name in "${!values[@]}"; do pairs+=("$name" "${values[$name]}"); done
  jq -nS '[$ARGS.positional as $all | range(0; $all | length; 2) | {($all[.]): $all[. + 1]}] | add' \
    --args "${pairs[@]}" >"$1"
}

# fingerprint FILE ARGUMENTS...: names a configuration in a label, by which a later run knows it.
fingerprint() {
  local file=$1
  shift
  { printf '%s\0' "$@"; cat "$file"; } | sha256sum | cut -c 1-40
}

# is_deployed DESCRIPTION FINGERPRINT
is_deployed() {
  [[ $FORCE == false && $(jq -r '.metadata.labels["legwork-config"] // ""' <<<"$1") == "$2" ]]
}
