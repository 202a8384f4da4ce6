#!/usr/bin/env bash
# docker-compose.yml as it is, started with the images that were built. In namespaces of its own.
set -euo pipefail

# shellcheck source=deploy/containers-check/say.sh
. deploy/containers-check/say.sh
use_own_state

compose() { "$work/tools/bin/podman-compose" --project-name lrgd "$@"; }
container() { podman ps --all --quiet --filter "label=com.docker.compose.service=$1"; }
inside() { podman exec "$(container "$1")" "${@:2}"; }
status() { curl --silent --max-time 5 --output /dev/null --write-out '%{http_code}' "$@" || true; }
gateway=http://127.0.0.1:8000

stop() {
  compose --profile gpu down --volumes >"$work/log" 2>&1 || true
  podman rm --all --force --time 5 >/dev/null 2>&1 || true
}
trap stop EXIT
trap 'exit 130' INT TERM

show_logs() {
  for service in "$@"; do
    printf -- '--- %s\n' "$service" >&2
    podman logs --tail 15 "$(container "$service")" 2>&1 | cut -c -300 >&2 || true
  done
}

within() { # seconds, what is waited for, command
  local deadline=$((SECONDS + $1))
  until "${@:3}"; do
    if ((SECONDS >= deadline)); then
      show_logs postgres migrate gateway worker beat
      podman ps --all >&2
      fail "not within $1 s: $2"
    fi
    sleep 1
  done
}
answers() { [[ $(status "${@:2}") == "$1" ]]; }

ip link set lo up

say "The GPU image's command"
vllm=localhost/$(composed lrgd-vllm)
called() { podman run --rm --network none "$@" 2>>"$work/log"; }
[[ $(called "$vllm" --max-model-len 8192) == \
  "vllm serve Qwen/Qwen2.5-7B-Instruct --config /etc/lrgd/vllm.yaml --max-model-len 8192" ]] ||
  fail "the entry point of Dockerfile.gpu does not pass its arguments on"
[[ $(called --env MODEL=some/model "$vllm") == \
  "vllm serve some/model --config /etc/lrgd/vllm.yaml" ]] ||
  fail "the entry point of Dockerfile.gpu does not take MODEL"
proved "its entry point takes the model from MODEL and adds the arguments of docker run"

say "Our image"
# The build context is named file by file: a module that needs a file left out fails here.
podman run --rm --network none --entrypoint python "localhost/$(composed lrgd)" -c '
import importlib, pkgutil
for name in ("api", "cli", "services", "worker"):
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
' 2>"$work/log" || {
  grep -v systemd "$work/log" | tail -n 5 >&2
  fail "a module cannot be imported in the image"
}
proved "every module of api, cli, services and worker can be imported in it"
refusal=$(podman run --rm --network none "localhost/$(composed lrgd)" 2>&1 || true)
[[ $refusal == *"production needs LRGD_DATABASE_URL"* ]] || fail "it starts without settings: $refusal"
proved "on its own it refuses to start: production needs LRGD_DATABASE_URL"

say "Secrets"
if POSTGRES_PASSWORD='' compose config >"$work/log" 2>&1; then
  fail "compose starts without passwords"
fi
proved "without passwords compose refuses: $(grep -m 1 -o 'set it in .*' "$work/log" || tail -n 1 "$work/log")"
secret() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
POSTGRES_PASSWORD=$(secret)
REDIS_PASSWORD=$(secret)
GRAFANA_ADMIN_PASSWORD=$(secret)
export POSTGRES_PASSWORD REDIS_PASSWORD GRAFANA_ADMIN_PASSWORD

say "Start"
read -ra services <"$work/services"
export LRGD_GATEWAY_PROCESSES=2
# All at once (podman 4 cannot wait for health): harder than the order that Docker keeps, because
# every process finds nothing to connect to at first.
compose up --detach --no-build --no-deps "${services[@]}" >"$work/log" 2>&1 || {
  grep -v systemd "$work/log" | tail -n 40 >&2
  fail "podman-compose up"
}
within 120 "$gateway/readyz answers 200" answers 200 "$gateway/readyz"
proved "GET /readyz: $(curl --silent "$gateway/readyz")"

[[ $(inside gateway lrgd settings --json) == *'"gateway_processes": "2"'* ]] ||
  fail "LRGD_GATEWAY_PROCESSES is not taken over from the environment"
proved "settings without a value in docker-compose.yml are taken over: two gateway processes"

say "Health checks"
for service in "${services[@]}"; do
  [[ $service == migrate ]] && continue
  within 60 "the health check of $service" podman healthcheck run "$(container "$service")" >/dev/null
done
proved "the health check of every service passes in its container"
[[ $(podman wait "$(container migrate)") == 0 ]] || fail "migrate did not end with 0"
proved "migrate ended with 0"

say "Hardening"
for service in gateway worker beat; do
  [[ $(inside "$service" id -u) == 10001 ]] || fail "$service runs as root"
  if inside "$service" touch /app/written 2>/dev/null; then fail "$service can write to /app"; fi
  inside "$service" grep -q '^NoNewPrivs:.1$' /proc/1/status || fail "$service may gain privileges"
  inside "$service" grep -q '^CapBnd:.0*$' /proc/1/status || fail "$service has capabilities"
done
proved "gateway, worker and beat: uid 10001, read-only, no capabilities, no new privileges"
published=$(podman ps --format '{{.Ports}}' | tr ',' '\n' | grep -- '->' | sed -E 's/^ *//;s/->.*//' |
  sort | tr '\n' ' ')
[[ $published != *0.0.0.0* ]] || fail "a port is open to everyone: $published"
proved "published: ${published% }"

say "Behavior"
answers 401 "$gateway/items?limit=3" || fail "GET /items without a key: $(status "$gateway/items")"
key=$(inside gateway lrgd keys create --name check --scope admin | grep -oE 'lrgd_[A-Za-z0-9_-]+' |
  tail -n 1)
answers 200 --header "authorization: Bearer $key" "$gateway/items?limit=3" ||
  fail "GET /items with the first key"
proved "GET /items is 401 without a key and 200 with the one of lrgd keys create"

redis_says() { inside "$1" valkey-cli config get "$2" | tail -n 1; }
[[ $(redis_says redis-broker maxmemory-policy) == noeviction ]] || fail "the broker evicts"
[[ $(redis_says redis-broker appendonly) == yes ]] || fail "the broker does not persist"
[[ $(redis_says redis-cache maxmemory-policy) == allkeys-lru ]] || fail "the cache does not evict"
[[ -z $(redis_says redis-cache save) ]] || fail "the cache persists"
proved "redis-broker: noeviction, appendonly; redis-cache: allkeys-lru, not persistent"

scraped() {
  local up
  up=$(curl --silent "http://127.0.0.1:9090/api/v1/query?query=up" |
    "$BIN/python" -c 'import json, sys
for series in json.load(sys.stdin)["data"]["result"]:
    print(series["metric"]["job"], series["value"][1])')
  [[ $up == *"gateway 1"* && $up == *"worker 1"* ]]
}
within 60 "Prometheus scrapes gateway and worker" scraped
proved "Prometheus scrapes the gateway and the worker"

say "Recovery"
for service in redis-cache redis-broker postgres worker; do
  podman kill --signal KILL "$(container "$service")" >/dev/null
  within 20 "/readyz says that $service is down" answers 503 "$gateway/readyz"
  if podman healthcheck run "$(container gateway)" >/dev/null; then
    fail "the gateway's health check passes without $service"
  fi
  answers 200 "$gateway/healthz" || fail "the gateway is not alive without $service"
  podman start "$(container "$service")" >/dev/null 2>>"$work/log"
  within 60 "/readyz is 200 after $service came back" answers 200 "$gateway/readyz"
  proved "after SIGKILL of $service /readyz is 503, and 200 again when it is back"
done
answers 200 --header "authorization: Bearer $key" "$gateway/items?limit=3" || fail "the key is gone"

say "Stop"
for service in gateway worker beat; do
  podman stop --time 30 "$(container "$service")" >/dev/null 2>>"$work/log"
  code=$(podman inspect --format '{{.State.ExitCode}}' "$(container "$service")")
  # 143: it was told to stop and has stopped (128 + SIGTERM). 137 would be: it had to be killed.
  [[ $code == 0 || $code == 143 ]] || fail "$service ends with $code on SIGTERM"
done
proved "gateway, worker and beat end by themselves on SIGTERM"
