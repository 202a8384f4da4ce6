"""What the container files promise, read from the files themselves."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from services.settings import PREFIX, Settings

ROOT = Path(__file__).parents[3]
REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")
OURS = {"migrate", "gateway", "worker", "beat"}


def read_yaml(path: str) -> Any:
    return YAML(typ="safe").load(ROOT / path)


COMPOSE = read_yaml("docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
every_service = pytest.mark.parametrize("name", SERVICES)
every_service_of_ours = pytest.mark.parametrize("name", sorted(OURS))


def options_of(service: str) -> dict[str, str]:
    words = [str(word) for word in SERVICES[service]["command"][1:]]
    return dict(zip(words[::2], words[1::2], strict=True))


def instructions_of(dockerfile: str) -> list[str]:
    text = (ROOT / dockerfile).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


# ---- secrets


def test_no_password_is_written_down() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|AUTH$|_URL$|TOKEN|KEY$", variable) and value is not None:
                secrets = re.sub(REQUIRED, "", str(value))
                assert secrets in (
                    "",
                    "required",
                    "postgresql://lrgd:@postgres:5432/lrgd",
                    "redis://:@redis-broker:6379/0",
                    "redis://:@redis-cache:6379/0",
                    "${LRGD_LLM_API_KEY:-}",
                ), f"{name}: {variable}"


def test_no_password_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for variable in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_ADMIN_PASSWORD"):
        uses = re.findall(rf"\$\{{?{variable}([^}}]*)", text)
        assert uses
        assert all(use.startswith(":?") for use in uses), variable


def test_the_example_names_every_variable_and_gives_no_secret() -> None:
    example = (ROOT / ".env.example").read_text()
    text = (ROOT / "docker-compose.yml").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text))
    passed_on = {
        variable
        for service in SERVICES.values()
        for variable, value in service.get("environment", {}).items()
        if value is None
    }
    assert named == used | passed_on | {"COMPOSE_PROFILES"}
    assert re.findall(r"^[A-Z_]+=(.*)$", example, re.MULTILINE) == ["", "", ""]


def test_a_redis_asks_for_the_password() -> None:
    for service in ("redis-broker", "redis-cache"):
        assert REQUIRED.fullmatch(options_of(service)["--requirepass"])


# ---- settings


@every_service_of_ours
def test_every_setting_is_one_that_exists(name: str) -> None:
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    given = {key for key in SERVICES[name]["environment"] if key.startswith(PREFIX)}
    assert given <= known


def test_the_image_sets_only_settings_that_exist() -> None:
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    text = " ".join(instructions_of("Dockerfile"))
    assert set(re.findall(rf"\b({PREFIX}[A-Z_]+)=", text)) <= known


@every_service_of_ours
def test_settings_are_accepted_in_production(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        if value is not None:
            monkeypatch.setenv(variable, re.sub(REQUIRED, "s3cret", str(value)))
    settings = Settings()
    assert settings.deployment == "production"
    assert settings.auth == "required"
    assert settings.llm_url is None


def test_models_are_kept_in_a_volume_that_is_nobodys_home() -> None:
    assert SERVICES["vllm"]["volumes"] == ["model-cache:/models"]
    told = " ".join(instructions_of("Dockerfile.gpu"))
    assert "HF_HOME=/models/" in told
    assert "VLLM_CACHE_ROOT=/models/" in told


def test_without_the_gpu_profile_there_is_no_model_server() -> None:
    assert SERVICES["vllm"]["profiles"] == ["gpu"]
    for name in OURS:
        for variable in ("LRGD_LLM_URL", "LRGD_LLM_MODEL", "LRGD_LLM_API_KEY"):
            assert SERVICES[name]["environment"][variable] is None
        assert "vllm" not in SERVICES[name].get("depends_on", {})


# ---- staying up


@every_service
def test_a_service_has_a_health_check_unless_it_is_a_single_shot(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    if name == "migrate":
        assert check == {"disable": True}
        return
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()


@every_service
def test_a_service_has_a_restart_policy(name: str) -> None:
    expected = "on-failure" if name == "migrate" else "unless-stopped"
    assert SERVICES[name]["restart"] == expected


@every_service
def test_a_service_waits_for_conditions_not_for_starts(name: str) -> None:
    for awaited, dependency in SERVICES[name].get("depends_on", {}).items():
        single_shot = awaited == "migrate"
        expected = "service_completed_successfully" if single_shot else "service_healthy"
        assert dependency["condition"] == expected


def test_what_uses_the_schema_waits_for_the_migration() -> None:
    for name in ("gateway", "worker", "beat"):
        assert "migrate" in SERVICES[name]["depends_on"]


def test_beat_runs_once_and_apart_from_the_workers() -> None:
    assert SERVICES["beat"]["command"] == ["beat"]
    assert SERVICES["worker"]["command"] == ["worker"]


def test_the_queue_is_never_evicted_and_is_written_down() -> None:
    options = options_of("redis-broker")
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"
    assert any(volume.endswith(":/data") for volume in SERVICES["redis-broker"]["volumes"])


def test_the_cache_is_bounded_evicts_and_is_not_written_down() -> None:
    options = options_of("redis-cache")
    assert options["--maxmemory-policy"] == "allkeys-lru"
    assert options["--maxmemory"]
    assert (options["--save"], options["--appendonly"]) == ("", "no")
    assert "volumes" not in SERVICES["redis-cache"]


# ---- hardening


@every_service
def test_only_the_gateway_grafana_and_prometheus_are_reachable_and_from_this_machine(
    name: str,
) -> None:
    ports = SERVICES[name].get("ports", [])
    assert bool(ports) == (name in {"gateway", "grafana", "prometheus"})
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "network_mode" not in SERVICES[name]


def test_databases_are_reached_by_our_processes_alone() -> None:
    assert COMPOSE["networks"]["data"] == {"internal": True}
    in_data = {name for name, service in SERVICES.items() if "data" in service.get("networks", [])}
    assert in_data == OURS | {"postgres", "redis-broker", "redis-cache"}


@every_service
def test_a_service_gains_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    if name != "vllm":
        assert service["cap_drop"] == ["ALL"]
    if name not in {"vllm", "postgres"}:
        assert service["read_only"] is True


@every_service
def test_an_image_is_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", SERVICES[name]["image"])


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "Dockerfile.gpu"])
def test_a_base_image_is_pinned(dockerfile: str) -> None:
    bases = [line.split()[1] for line in instructions_of(dockerfile) if line.startswith("FROM ")]
    assert bases
    assert len(set(bases)) == 1
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+(-[a-z-]+)?", bases[0])


def test_the_image_runs_as_a_user_with_a_number_and_not_as_root() -> None:
    users = [line.split()[1] for line in instructions_of("Dockerfile") if line.startswith("USER ")]
    assert users == ["10001:10001"]


def test_the_image_installs_only_what_is_locked_with_hashes() -> None:
    text = " ".join(instructions_of("Dockerfile"))
    assert len(re.findall(r"\bpip (?:--python \S+ )?install\b", text)) == 3
    assert text.count("--require-hashes --only-binary :all:") == 2
    assert text.count("uv pip install --offline") == 1


# ---- what belongs together


def test_the_build_context_holds_every_package_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["uv"]["build-backend"]["module-name"])
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert packages - allowed == {"lab"}
    assert "lab/__init__.py" in allowed
    assert "migrations" in allowed
    assert "*" in lines


def test_the_image_has_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"lrgd:{project['version']}"}


def test_the_gpu_image_has_the_version_of_its_base() -> None:
    base = next(line for line in instructions_of("Dockerfile.gpu") if line.startswith("FROM "))
    assert SERVICES["vllm"]["image"].rpartition(":")[2] == base.rpartition(":v")[2]


def test_prometheus_scrapes_the_ports_that_are_served() -> None:
    jobs = {
        job["job_name"]: job
        for job in read_yaml("deploy/prometheus/prometheus.yml")["scrape_configs"]
    }
    assert jobs["gateway"]["static_configs"][0]["targets"] == ["gateway:8000"]
    worker = jobs["worker"]["dns_sd_configs"][0]
    assert worker["names"] == ["worker"]
    assert worker["port"] == SERVICES["worker"]["environment"]["LRGD_WORKER_METRICS_PORT"]
    served = read_yaml("deploy/vllm/serve.yaml")["port"]
    assert jobs["vllm"]["dns_sd_configs"][0]["port"] == served


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    provisioning = "deploy/grafana/provisioning"
    source = read_yaml(f"{provisioning}/datasources/prometheus.yml")["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    provider = read_yaml(f"{provisioning}/dashboards/lrgd.yml")["providers"][0]
    assert (ROOT / "deploy/grafana/dashboards").is_dir()
    mounts = SERVICES["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounts


def test_every_mounted_file_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), source
            assert source.startswith("./") or source in COMPOSE["volumes"], source


def test_vllm_is_told_what_scoring_needs() -> None:
    flags = read_yaml("deploy/vllm/serve.yaml")
    assert flags["max-logprobs"] == 128
    assert flags["logprobs-mode"] == "processed_logprobs"
    assert flags["enable-prefix-caching"] is True
    assert flags["enable-prompt-tokens-details"] is True
    assert flags["scheduling-policy"] == "priority"
    assert flags["structured-outputs-config"]["backend"] == "xgrammar"
