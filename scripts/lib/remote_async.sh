# shellcheck shell=bash disable=SC2154 # common.sh sets `scratch`
# Sends a small task to a running service and waits for its end: what scripts/test.sh remote-async does.

# The task is asked for nothing but a few words, on few turns.
readonly TASK_MINUTES=5

remote_async_usage() {
  cat <<'TEXT'
Sends a task to a deployed service and waits for its record.

  ./scripts/test.sh remote-async [URL]

URL: the service; else SERVICE_URL, else gcloud is asked for SERVICE_NAME in REGION. For a service that is not on
this machine, an identity token comes from gcloud. The task uses ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN and
calls CALLBACK_URL back where that is set. LEGWORK_API_TOKEN is sent where the service has one of its own.
All of these come from .env or the environment. Exit codes: 0 completed, 1 not, 2 usage.
TEXT
}

find_service_url() {
  [[ -n $url ]] || url=${SERVICE_URL-}
  if [[ -z $url ]]; then
    need_variables PROJECT_ID REGION
    need_programs gcloud
    local service
    look service run services describe "${SERVICE_NAME:-legwork}" --region="$REGION" ||
      die "$EXIT_FAILURE" "there is no service ${SERVICE_NAME:-legwork} in $REGION; run scripts/deploy-service.sh"
    url=$(jq -er .status.url <<<"$service")
  fi
  url=${url%/}
  case $url in
    https://?*) local_service=false ;;
    http://127.0.0.1:* | http://localhost:* | http://\[::1\]:*) local_service=true ;;
    *) die "$EXIT_USAGE" "$url: a credential only goes to https, or to this machine" ;;
  esac
}

# Headers go to curl in a file: its arguments can be seen by everybody on this machine.
write_headers() {
  local token
  (
    umask 077
    : >"$scratch/headers"
    if [[ $local_service == false ]]; then
      need_programs gcloud
      token=$(gcloud auth print-identity-token) ||
        die "$EXIT_FAILURE" "gcloud gives no identity token: gcloud auth login"
      printf 'header = "Authorization: Bearer %s"\n' "$token" >>"$scratch/headers"
    fi
    [[ -z ${LEGWORK_API_TOKEN-} || $LEGWORK_API_TOKEN == off ]] ||
      printf 'header = "X-Legwork-Token: %s"\n' "$LEGWORK_API_TOKEN" >>"$scratch/headers"
  )
}

# ask METHOD PATH CURL-ARGUMENTS...: the answer's body in $scratch/answer, its status in `status`.
ask() {
  local method=$1 path=$2
  shift 2
  status=$(curl --silent --show-error --max-time 60 --config "$scratch/headers" --request "$method" \
    --output "$scratch/answer" --write-out '%{http_code}' "$@" "$url$path" 2>"$scratch/errors") || status=000
}

answer_says() { jq -r "$1" "$scratch/answer" 2>/dev/null || true; }

submit() {
  # The credential comes from the environment of jq, not from its arguments.
  (
    umask 077
    KEY=${ANTHROPIC_API_KEY-} OAUTH=${CLAUDE_CODE_OAUTH_TOKEN-} jq -n --arg task "$task" \
      --arg callback "${CALLBACK_URL-}" --argjson minutes "$TASK_MINUTES" '{
        prompt: "Answer with the single word: ready", taskId: $task, maxTurns: 1, timeoutMinutes: $minutes,
        callbackUrl: (if $callback == "" then null else $callback end), metadata: {source: "test.sh remote-async"}
      } + (if env.KEY != "" then {anthropicApiKey: env.KEY} else {anthropicOAuthToken: env.OAUTH} end)' \
      >"$scratch/request.json"
  )
  # The same request again never starts a second worker.
  local tries
  for tries in 1 2 3; do
    ask POST /run-async --header 'Content-Type: application/json' --data "@$scratch/request.json"
    [[ $status != 202 ]] || return 0
    [[ $status == 000 || $status == 503 ]] || break
    ((tries == 3)) || LEGWORK_PAUSE_SECONDS=${LEGWORK_PAUSE_SECONDS:-5} pause
  done
  [[ $status != 401 && $status != 403 ]] ||
    warn "are you among CLIENT_MEMBERS of the service? (scripts/deploy-service.sh)"
  die "$EXIT_FAILURE" "POST $url/run-async: $status $(answer_says '.error // ""') $(cat "$scratch/errors")"
}

wait_for_end() {
  local state='' seen='' until=$((SECONDS + TASK_MINUTES * 60 + 600))
  while ((SECONDS < until)); do
    ask GET "/tasks/$task"
    if [[ $status == 200 ]]; then
      state=$(answer_says .status)
      [[ $state == "$seen" ]] || say "  $state"
      seen=$state
      case $state in completed | failed | cancelled) return 0 ;; esac
    elif [[ $status == 4?? && $status != 429 ]]; then
      die "$EXIT_FAILURE" "GET $url/tasks/$task: $status $(answer_says '.error // ""')"
    fi
    LEGWORK_PAUSE_SECONDS=${LEGWORK_PAUSE_SECONDS:-3} pause
  done
  die "$EXIT_FAILURE" "the task $task has not ended in time; it is ${state:-unknown} (last answer: $status)"
}

remote_async() {
  local url='' task status local_service
  case ${1-} in
    --help | -h)
      remote_async_usage
      return 0
      ;;
    -*) die "$EXIT_USAGE" "$1 is no option of test.sh remote-async; see --help" ;;
  esac
  (($# <= 1)) || die "$EXIT_USAGE" "test.sh remote-async takes one URL; see --help"
  url=${1-}
  read_env_file
  [[ -n ${ANTHROPIC_API_KEY-}${CLAUDE_CODE_OAUTH_TOKEN-} ]] ||
    die "$EXIT_USAGE" "neither ANTHROPIC_API_KEY nor CLAUDE_CODE_OAUTH_TOKEN is set: the task needs a credential"
  need_programs curl jq
  make_scratch
  find_service_url
  write_headers
  task=remote-async-$(date -u +%Y%m%d-%H%M%S)-$$
  say "task $task at $url"
  submit
  say "  accepted, logs in $(answer_says .logsPath)"
  wait_for_end
  answer_says '"exit code \(.exitCode), " + (if .error then .error else "result: \(.result // "none")" end)'
  answer_says 'if .callbackUrl then "callback: \(.callback.state)" else "no callback was asked for" end'
  [[ $(answer_says .status) == completed ]]
}
