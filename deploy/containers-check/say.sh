# How the parts of the check speak. Sourced.
# shellcheck shell=bash

say() { printf '\n%s\n' "$*"; }
proved() { printf '  proved: %s\n' "$*"; }
fail() {
  printf '  FAILED: %s\n' "$*" >&2
  exit 1
}

# The image that docker-compose.yml names, by its repository.
composed() { sed -nE "s|^ +image: (&[a-z-]+ )?($1:[^ ]+)\$|\2|p" docker-compose.yml | head -n 1; }

# Storage, networks and limits of our own, beside whatever containers this machine has. Only in a
# mount namespace of our own: some of the state has a fixed place, which is covered there.
use_own_state() {
  local folder
  for folder in /run/containers /run/libpod /run/netns; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
  done
  export CONTAINERS_STORAGE_CONF=${work:?}/storage.conf
  export CONTAINERS_CONF=$work/containers.conf
  export CONTAINERS_REGISTRIES_CONF=$work/registries.conf
}
