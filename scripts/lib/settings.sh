# shellcheck shell=bash disable=SC2034 # what is set here is used by the scripts that read this file
# Every variable of the deployment scripts: its default, what it is for, and how it is set.

# Handed on to the program where they are set, besides those that the scripts themselves work out.
readonly PROGRAM_VARIABLES=(
  ALLOWED_TOOLS PERMISSION_MODE DANGEROUSLY_SKIP_PERMISSIONS MAX_OPEN_TASKS CALLBACK_ALLOW_PRIVATE
  CALLBACK_ALLOWED_HOSTS LOG_LEVEL LOG_FLUSH_MS LOG_CHUNK_LINES MAX_LOG_BYTES MAX_LINE_BYTES
  PAYLOAD_RETENTION_HOURS IDLE_TIMEOUT_MINUTES RESULT_GRACE_SECONDS ANTHROPIC_UPSTREAM_URL
)
# These concern the service alone.
readonly SERVICE_VARIABLES=(MAX_WATCHERS MAX_BODY_BYTES)
# What the scripts read from .env. No other name is taken from there: a file cannot set PATH.
readonly SCRIPT_VARIABLES=(
  PROJECT_ID GCS_PROJECT_ID REGION GCS_LOGS_BUCKET KMS_LOCATION KMS_KEY_RING KMS_KEY_NAME CLOUDRUN_JOB_NAME
  CLOUDRUN_CALLBACK_SECRET SERVICE_NAME SERVICE_URL API_SERVICE_ACCOUNT WORKER_SERVICE_ACCOUNT
  SCHEDULER_SERVICE_ACCOUNT SCHEDULER_LOCATION CLIENT_MEMBERS ARTIFACT_REPOSITORY IMAGE_TAG BUILD_WITH
  MAX_TIMEOUT_MINUTES RETENTION_DAYS ALWAYS_ON MAX_INSTANCES SERVICE_CPU SERVICE_MEMORY JOB_CPU JOB_MEMORY
  NOTIFICATION_CHANNELS LEGWORK_API_TOKEN ANTHROPIC_API_KEY CLAUDE_CODE_OAUTH_TOKEN CALLBACK_URL
)

# Reads NAME=value lines. The environment wins over the file. Quotes around a value are removed, and nothing in it
# is expanded or run.
read_env_file() {
  local line name value number=0
  [[ -e $ENV_FILE ]] || return 0
  [[ -O $ENV_FILE ]] || die "$EXIT_USAGE" "$ENV_FILE belongs to another user"
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    [[ $line =~ ^[[:space:]]*(#|$) ]] && continue
    if ! [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=[[:space:]]*(.*)$ ]]; then
      die "$EXIT_USAGE" "$ENV_FILE, line $number: not NAME=value"
    fi
    name=${BASH_REMATCH[2]}
    value=${BASH_REMATCH[3]}
    if [[ $value =~ ^\"([^\"]*)\"[[:space:]]*(#.*)?$ || $value =~ ^\'([^\']*)\'[[:space:]]*(#.*)?$ ]]; then
      value=${BASH_REMATCH[1]}
    elif [[ $value == [\"\']* ]]; then
      die "$EXIT_USAGE" "$ENV_FILE, line $number: the quote of $name is not closed on its line"
    else
      value=${value%%[[:space:]]#*}
      [[ $value == '#'* ]] && value=
      value=${value%"${value##*[![:space:]]}"}
    fi
    is_known "$name" || continue
    [[ -n ${!name+set} ]] || printf -v "$name" '%s' "$value"
  done <"$ENV_FILE"
}

is_known() {
  local known
  for known in "${SCRIPT_VARIABLES[@]}" "${PROGRAM_VARIABLES[@]}" "${SERVICE_VARIABLES[@]}"; do
    [[ $known == "$1" ]] && return 0
  done
  return 1
}

how_to_set() {
  case $1 in
    PROJECT_ID) say "the Google Cloud project, e.g. PROJECT_ID=my-project (gcloud projects list)" ;;
    REGION) say "where everything runs and is kept, e.g. REGION=europe-west1 (gcloud run regions list)" ;;
    GCS_LOGS_BUCKET) say "a bucket name no one else has, e.g. GCS_LOGS_BUCKET=${PROJECT_ID:-my-project}-claude-logs" ;;
    CLOUDRUN_CALLBACK_SECRET) say "signs callbacks: CLOUDRUN_CALLBACK_SECRET=\$(openssl rand -hex 32)" ;;
    *) say "see .env.example" ;;
  esac
}

# need_variables NAME...: all that are missing are told together.
need_variables() {
  local name missing=0
  for name in "$@"; do
    [[ -z ${!name-} ]] || continue
    missing=1
    printf 'error: %s is not set: %s\n' "$name" "$(how_to_set "$name")" >&2
  done
  ((missing == 0)) || die "$EXIT_USAGE" "set them in $ENV_FILE (.env.example documents all) or in the environment"
}

# need_number NAME LEAST MOST
need_number() {
  local value=${!1}
  if ! [[ $value =~ ^(0|[1-9][0-9]{0,5})$ ]] || ((value < $2 || value > $3)); then
    die "$EXIT_USAGE" "$1 must be a whole number from $2 to $3, not '$value'"
  fi
}

# need_choice NAME CHOICE...
need_choice() {
  local name=$1 choice
  for choice in "${@:2}"; do [[ ${!name} == "$choice" ]] && return; done
  die "$EXIT_USAGE" "$name must be one of: ${*:2}; not '${!name}'"
}

# Sets what has a default, and refuses what cannot be meant.
settle_settings() {
  GCS_PROJECT_ID=${GCS_PROJECT_ID:-$PROJECT_ID}
  KMS_LOCATION=${KMS_LOCATION:-$REGION}
  KMS_KEY_RING=${KMS_KEY_RING:-legwork}
  KMS_KEY_NAME=${KMS_KEY_NAME:-payloads}
  CLOUDRUN_JOB_NAME=${CLOUDRUN_JOB_NAME:-legwork-worker}
  SERVICE_NAME=${SERVICE_NAME:-legwork}
  API_SERVICE_ACCOUNT=$(account_email "${API_SERVICE_ACCOUNT:-legwork-api}")
  WORKER_SERVICE_ACCOUNT=$(account_email "${WORKER_SERVICE_ACCOUNT:-legwork-worker}")
  SCHEDULER_SERVICE_ACCOUNT=$(account_email "${SCHEDULER_SERVICE_ACCOUNT:-legwork-scheduler}")
  SCHEDULER_LOCATION=${SCHEDULER_LOCATION:-$REGION}
  ARTIFACT_REPOSITORY=${ARTIFACT_REPOSITORY:-legwork}
  BUILD_WITH=${BUILD_WITH:-cloud-build}
  MAX_TIMEOUT_MINUTES=${MAX_TIMEOUT_MINUTES:-60}
  RETENTION_DAYS=${RETENTION_DAYS:-30}
  ALWAYS_ON=${ALWAYS_ON:-false}
  SERVICE_CPU=${SERVICE_CPU:-1}
  SERVICE_MEMORY=${SERVICE_MEMORY:-512Mi}
  JOB_CPU=${JOB_CPU:-2}
  JOB_MEMORY=${JOB_MEMORY:-4Gi}
  need_choice ALWAYS_ON true false
  need_choice BUILD_WITH cloud-build docker
  # The always-on service is one instance; the other grows with what is asked of it.
  if [[ $ALWAYS_ON == true ]]; then MAX_INSTANCES=${MAX_INSTANCES:-1}; else MAX_INSTANCES=${MAX_INSTANCES:-10}; fi
  need_number MAX_INSTANCES 1 1000
  # A Cloud Run job lives for 24 hours at most, and 35 minutes of them are for what follows the agent.
  need_number MAX_TIMEOUT_MINUTES 1 1405
  # Callbacks are tried for up to 75 hours, and a retry of a task needs its record.
  need_number RETENTION_DAYS 6 3650
}

# The whole address of a service account that is given by its name or in full.
account_email() {
  case $1 in
    *@*) printf '%s' "$1" ;;
    *) printf '%s@%s.iam.gserviceaccount.com' "$1" "$PROJECT_ID" ;;
  esac
}

# begin "OWN OPTIONS" "REQUIRED VARIABLES" "$@": what every script does first.
begin() {
  local -a required
  read -ra required <<<"$2"
  read_options "$1" "${@:3}"
  read_env_file
  need_variables "${required[@]}"
  settle_settings
  need_programs gcloud jq
  make_scratch
}
