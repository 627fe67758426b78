# shellcheck shell=bash disable=SC2154 # run.sh and lib.sh set what tests work with
# `test.sh remote-async`.

# Starts the service with this behaviour; `url` is where it listens. It ends with the test.
serve() {
  fresh
  printf 'ANTHROPIC_API_KEY=sk-ant-canary\n' >>"$repository/.env"
  python3 "$here/service.py" "$GCLOUD_HOME" "$1" &
  # shellcheck disable=SC2064 # this process, not one of the same name later
  trap "kill $!" EXIT
  local tries
  for ((tries = 0; tries < 500; tries++)); do
    [[ -e $GCLOUD_HOME/port ]] && break
    sleep 0.02
  done
  url=http://127.0.0.1:$(cat "$GCLOUD_HOME/port")
}

sent() { jq -rs "$1" "$GCLOUD_HOME/requests.jsonl"; }

it_sends_a_task_and_waits_for_its_end() {
  serve completed
  run 0 test remote-async "$url"
  expect_said "  running"
  expect_said "  completed"
  expect_said "exit code 0, result: ready"
  expect_unsaid sk-ant-canary
  [[ $(sent '.[0].path') == /run-async ]]
  [[ $(sent '.[0].body.anthropicApiKey') == sk-ant-canary ]]
  [[ $(sent '.[0].body | has("callbackUrl") and .callbackUrl == null') == true ]]
  [[ $(sent '.[0].headers | has("Authorization")') == false ]]
}

it_fails_where_the_task_fails() {
  serve failed
  run 1 test remote-async "$url"
  expect_said "exit code 1, Claude process exited with code 1"
}

it_sends_the_same_request_again_to_a_busy_service() {
  serve busy
  run 0 test remote-async "$url"
  [[ $(sent 'length') == 2 && $(sent 'map(.body.taskId) | unique | length') == 1 ]]
}

it_says_who_may_call_the_service() {
  serve refuse
  run 1 test remote-async "$url"
  expect_said "CLIENT_MEMBERS"
}

it_sends_a_token_of_the_services_own() {
  serve completed
  environment+=(LEGWORK_API_TOKEN=own-token CALLBACK_URL=https://example.com/hook)
  run 0 test remote-async "$url/"
  [[ $(sent '.[0].headers["X-Legwork-Token"]') == own-token ]]
  [[ $(sent '.[0].body.callbackUrl') == https://example.com/hook ]]
}

it_sends_no_credential_over_plain_http() {
  fresh
  environment+=(ANTHROPIC_API_KEY=sk-ant-canary)
  run 2 test remote-async http://example.com
  expect_said "a credential only goes to https"
  run 2 test remote-async http://127.0.0.1.example.com:80
}

it_asks_for_a_credential_by_name() {
  fresh
  run 2 test remote-async http://127.0.0.1:1
  expect_said "neither ANTHROPIC_API_KEY nor CLAUDE_CODE_OAUTH_TOKEN is set"
}

it_finds_the_deployed_service_by_itself() {
  deployed
  environment+=(ANTHROPIC_API_KEY=sk-ant-canary)
  # Its address is nobody's; that it was asked for is what can be seen here.
  mkdir "$GCLOUD_HOME/bin"
  # shellcheck disable=SC2016 # for the program that is written here
  printf '#!/bin/sh\nprintf "%%s\\n" "$*" >>"%s/curl"\nprintf 401\n' "$GCLOUD_HOME" >"$GCLOUD_HOME/bin/curl"
  chmod +x "$GCLOUD_HOME/bin/curl"
  environment[0]="PATH=$GCLOUD_HOME/bin:$here:$PATH"
  run 1 test remote-async
  grep -q "https://legwork-abc-ew.a.run.app/run-async" "$GCLOUD_HOME/curl"
  ! grep -q 'identity-token\|canary' "$GCLOUD_HOME/curl" || fail "a credential was an argument of curl"
}
