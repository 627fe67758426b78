# shellcheck shell=bash disable=SC2034 # what is set here is used by the scripts that read this file
# What every deployment script shares: its words, its options, and how it looks at Google Cloud and changes it.
#
# A script looks before it changes: whatever is as it should be is left alone, so that a script may be run
# again at any time. With --dry-run it looks and tells, and changes nothing.

# Exit codes, as those of the program itself.
readonly EXIT_FAILURE=1 EXIT_USAGE=2

DRY_RUN=false
FORCE=false
ENV_FILE=.env
scratch=''
changes=0
kept=0

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# die CODE WORDS...
die() {
  local code=$1
  shift
  printf 'error: %s\n' "$*" >&2
  exit "$code"
}

# Prints the comment at the head of the script that runs: it is the manual.
usage() { sed -n '2,/^$/ { s/^# \{0,1\}//; /^$/d; p; }' "$0"; }

# Reads the options that all scripts have. Those that only some have are named by the caller.
# read_options "--force" "$@"
read_options() {
  local own=" $1 "
  shift
  while (($#)); do
    case $1 in
      --help | -h)
        usage
        exit 0
        ;;
      --dry-run) DRY_RUN=true ;;
      --env-file=*) ENV_FILE=${1#*=} ;;
      --force)
        [[ $own == *" --force "* ]] || die "$EXIT_USAGE" "--force is no option of $(basename "$0"); see --help"
        FORCE=true
        ;;
      *) die "$EXIT_USAGE" "$1 is no option of $(basename "$0"); see --help" ;;
    esac
    shift
  done
}

# need_programs NAME...
need_programs() {
  local name missing=()
  for name in "$@"; do command -v "$name" >/dev/null 2>&1 || missing+=("$name"); done
  ((${#missing[@]} == 0)) || die "$EXIT_USAGE" "not installed: ${missing[*]}"
}

# A folder for this run, removed with everything in it when the script ends.
make_scratch() {
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
}

pause() { sleep "${LEGWORK_PAUSE_SECONDS:-10}"; }

# Whether these words of gcloud say that a thing is not there.
says_missing() { grep -Eqi 'not[ _]?found|cannot find|does not exist|unknown service account' "$1"; }

# Whether they say that an API is off, or not yet on everywhere.
says_disabled() { grep -Eqi 'SERVICE_DISABLED|not enabled on project|has not been used in project' "$1"; }

# look VARIABLE GCLOUD-ARGUMENTS...
# Puts gcloud's JSON into VARIABLE. Returns 1, with `null` in it, where the thing does not exist. Any other
# failure ends the script: what could not be looked at must not be taken for missing. Always quiet: gcloud
# would otherwise ask whether it may enable an API.
look() {
  local -n look_answer=$1
  shift
  local tries=0
  while ! look_answer=$(gcloud "$@" --project="$PROJECT_ID" --format=json --quiet \
    2>"$scratch/errors" </dev/null); do
    look_answer=null
    # In a project where nothing is set up yet, --dry-run meets APIs that are off.
    if says_disabled "$scratch/errors"; then
      [[ $DRY_RUN == false ]] || return 1
      tries=$((tries + 1))
      if ((tries < 6)); then
        pause
        continue
      fi
    elif says_missing "$scratch/errors"; then
      return 1
    fi
    die "$EXIT_FAILURE" "gcloud $*: $(cat "$scratch/errors")"
  done
}

# Whether a thing is there.
exists() {
  local ignored
  look ignored "$@"
}

# Counts a thing that is as it should be.
keep() {
  kept=$((kept + 1))
  say "  in place  $*"
}

# change WHAT GCLOUD-ARGUMENTS...
# Makes one change, or tells with --dry-run what it would be. CHANGE_INPUT, where set, goes to gcloud's
# standard input and is never shown. A new service account or API is not known everywhere at once, so a
# change that is refused for that is tried again for a minute.
change() {
  local what=$1 tries=0
  shift
  changes=$((changes + 1))
  if [[ $DRY_RUN == true ]]; then
    say "  would     $what"
    printf '            gcloud'
    printf ' %q' "$@" --project="$PROJECT_ID" --quiet
    printf '\n'
    return 0
  fi
  say "  change    $what"
  while ! printf '%s' "${CHANGE_INPUT-}" |
    gcloud "$@" --project="$PROJECT_ID" --quiet >"$scratch/output" 2>"$scratch/errors"; do
    tries=$((tries + 1))
    if ((tries >= 6)) || ! { says_missing "$scratch/errors" || says_disabled "$scratch/errors"; }; then
      die "$EXIT_FAILURE" "gcloud $*: $(cat "$scratch/errors")"
    fi
    pause
  done
}

# Tells at the end what was done.
tell_end() {
  if [[ $DRY_RUN == true ]]; then
    say "dry run: $changes changes would be made, $kept things are in place"
  else
    say "done: $changes changes made, $kept things were in place"
  fi
}

# grant MEMBER ROLE "GCLOUD GROUP" NAME FLAGS...
# Binds a role on one resource, without a condition. The resource exists, or would by now.
grant() {
  local member=$1 role=$2 name=$4 policy
  local -a group flags=("${@:5}") conditions=()
  read -ra group <<<"$3"
  # Without this, gcloud asks where the policy has conditions already. Cloud Run's commands do not take it.
  [[ ${group[0]} == run ]] || conditions=(--condition=None)
  if look policy "${group[@]}" get-iam-policy "$name" "${flags[@]}" &&
    has_binding "$policy" "$member" "$role"; then
    keep "$role on ${group[*]} $name for $member"
    return
  fi
  change "$role on ${group[*]} $name for $member" \
    "${group[@]}" add-iam-policy-binding "$name" --member="$member" --role="$role" \
    "${conditions[@]}" "${flags[@]}"
}

# has_binding POLICY MEMBER ROLE
has_binding() {
  jq -e --arg member "$2" --arg role "$3" \
    'any(.bindings[]?; .role == $role and (has("condition") | not) and any(.members[]; . == $member))' \
    <<<"$1" >/dev/null
}
