#!/usr/bin/env bash
# Proves the container files without a Docker engine: their schema and style, a real build of the
# image, and a real start of docker-compose.yml with it. Called by `make containers-check`.
#
# Building and starting need root on Debian or Ubuntu; the distribution's container tools are
# installed where they are missing. Images of Docker Hub are used where it can be reached; otherwise
# a stand-in of the same name takes the place of each, and the output says so. Containers run in
# namespaces of their own: no port, firewall rule or container of this machine is touched, and none
# is left behind.
set -euo pipefail

cd "$(dirname "$0")/.."
parts=deploy/containers-check
BIN=${BIN:-$PWD/.venv/bin}
packages=(buildah podman runc conmon netavark aardvark-dns catatonit iptables iproute2 mmdebstrap curl)
commands=(buildah podman runc conmon catatonit iptables ip mmdebstrap curl)

# shellcheck source=deploy/containers-check/say.sh
. "$parts/say.sh"

say "Files"
"$BIN/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose.yml
proved "docker-compose.yml is valid by the Compose specification"
"$BIN/hadolint" Dockerfile Dockerfile.gpu
proved "hadolint has nothing against Dockerfile and Dockerfile.gpu"

say "Tools"
missing=()
for command in "${commands[@]}"; do
  PATH=$PATH:/usr/sbin command -v "$command" >/dev/null || missing+=("$command")
done
((EUID == 0)) || fail "the rest needs root${missing[*]:+, and: ${missing[*]}}. Run:
      sudo apt-get install --no-install-recommends ${packages[*]}
      sudo make containers-check"

work=$(mktemp -d /var/tmp/lrgd-containers.XXXXXX)
started=
clean_up() {
  [[ -z $started ]] || { kill -KILL "$started" && wait "$started"; } 2>/dev/null || true
  # The last processes take a moment to go. Empty control groups are what podman itself leaves; one
  # that is in use stays.
  local seconds
  for seconds in 0.2 0.5 1 2 5 5; do
    sleep "$seconds"
    find /sys/fs/cgroup -depth -type d -path '*/libpod_parent*' -exec rmdir {} + 2>/dev/null || true
    rm -rf "$work" 2>/dev/null || true
    [[ -e $work || -n $(find /sys/fs/cgroup -name libpod_parent) ]] || break
  done
}
trap clean_up EXIT
trap 'exit 130' INT TERM

if ((${#missing[@]})); then
  command -v apt-get >/dev/null || fail "missing: ${missing[*]}, and no apt-get to install them"
  echo "  installing: ${packages[*]}"
  if ! {
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
  } >"$work/apt.log" 2>&1; then
    tail -n 20 "$work/apt.log" >&2
    fail "apt-get could not install: ${missing[*]}"
  fi
fi
"$BIN/python" -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet --disable-pip-version-check podman-compose==1.6.0 \
  2>"$work/log" || {
  cat "$work/log" >&2
  fail "podman-compose could not be installed"
}
echo "  $(buildah --version), $(podman --version), $(runc --version | head -n 1)"

mkdir "$work/tmp"
export BIN work TMPDIR=$work/tmp
# Processes and mounts of its own: what a part leaves running or mounted ends with it. In the
# background, so that a signal to the script is not kept waiting.
apart() {
  unshare --pid --mount --fork --kill-child --mount-proc "$@" &
  started=$!
  wait "$started"
  started=
}
apart bash "$parts/build.sh"
apart unshare --net bash "$parts/start.sh"

say "All of it holds"
