#!/usr/bin/env bash
# Puts together what the runtime stages of the Dockerfile hold, without a container engine, and runs it: a Debian of
# the same release with the same packages, the program, the agent. By hand, as root; it downloads some 150 MB.
#
#   ./tests/scripts/runtime-image.sh PROGRAM CLAUDE
#
# PROGRAM is target/release/legwork, CLAUDE the agent's program as npm installs it.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=${1:?the program: target/release/legwork}
claude=${2:?the agent: …/@anthropic-ai/claude-code-linux-x64/claude}
release=$(sed -n 's/^ARG DEBIAN=//p' Dockerfile)
# The packages of all stages that begin from Debian, as the Dockerfile has them.
packages=$(tr -d '\\\n' <Dockerfile | grep -o 'no-install-recommends [^&]*' | sed 's/no-install-recommends//' | tr -s ' ' '\n' |
  grep . | sort -u | paste -sd,)

root=$(mktemp -d)
chmod 755 "$root"
cleanup() {
  for place in dev/null proc; do umount "$root/$place" 2>/dev/null || true; done
  rm -rf --one-file-system "$root"
}
trap cleanup EXIT

echo "== Debian $release with $packages"
debootstrap --variant=minbase --include="$packages" "$release" "$root" >"$root.log" 2>&1 || { tail "$root.log" >&2; exit 1; }
rm -f "$root.log"
install -m 755 "$program" "$root/usr/local/bin/legwork"
install -m 755 "$claude" "$root/usr/local/bin/claude"
chroot "$root" groupadd --gid 10001 legwork
chroot "$root" useradd --uid 10001 --gid legwork --create-home --home-dir /home/legwork --shell /usr/sbin/nologin legwork
mount -t proc proc "$root/proc"
test -e "$root/dev/null" || touch "$root/dev/null"
mount --bind /dev/null "$root/dev/null"

# in_service COMMAND...: as the service's stage runs it.
in_service() {
  chroot --userspec=10001:10001 "$root" /usr/bin/env -i HOME=/home/legwork PATH=/usr/local/bin:/usr/bin:/bin "$@"
}
in_worker() { chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

echo "== the service's stage, as user 10001"
in_service legwork --version
in_service LEGWORK_DATA_DIR=/home/legwork/data PORT=18080 legwork serve &
service=$!
for _ in $(seq 50); do
  curl --fail --silent http://127.0.0.1:18080/health && break
  sleep 0.2
done
curl --fail --silent --show-error http://127.0.0.1:18080/ready
echo
kill "$service"
wait "$service" || true

echo "== the worker's stage, as root"
in_worker claude --version
for tool in git ssh rg jq ip ps; do in_worker sh -c "command -v $tool" >/dev/null || { echo "no $tool" >&2; exit 1; }; done
in_worker LEGWORK_DATA_DIR=/root/data legwork doctor
if in_worker LEGWORK_DATA_DIR=/root/data legwork worker 2>"$root/tmp/said"; then
  echo "a worker without a task ended well" >&2
  exit 1
fi
grep TASK_ID "$root/tmp/said"
# What the program links to is in the image.
if in_worker ldd /usr/local/bin/legwork | grep "not found"; then exit 1; fi
du -sh --apparent-size "$root/usr/local/bin/legwork" "$root/usr/local/bin/claude"
echo "== both stages run"
