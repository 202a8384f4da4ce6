"""Settings: what stops a start, what is said about it, and what is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import make_url

from services.errors import ConfigurationError
from services.settings import PREFIX, Auth, Settings, load_settings, masked

SECRET = "correct-horse"  # pragma: allowlist secret
SAFE_PRODUCTION = {
    "DEPLOYMENT": "production",
    "DATABASE_URL": f"postgresql://lrgd:{SECRET}@db/lrgd",
    "REDIS_URL": f"redis://:{SECRET}@cache/0",
    "BROKER_URL": f"redis://:{SECRET}@broker/0",
    "AUTH": "required",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    return Environment(monkeypatch)


class Environment:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def load(self, **values: str | None) -> Settings:
        for name, value in values.items():
            if value is not None:
                self._monkeypatch.setenv(f"{PREFIX}{name}", value)
        return load_settings()

    def refusal(self, **values: str | None) -> str:
        with pytest.raises(ConfigurationError) as refused:
            self.load(**values)
        return str(refused.value)


def test_the_defaults_are_a_safe_local_deployment(environment: Environment) -> None:
    settings = environment.load()
    assert settings.host == "127.0.0.1"
    assert settings.cors_origins == ()
    assert settings.database_dsn.startswith("sqlite+aiosqlite:////")


def test_any_folder_can_hold_the_data(environment: Environment) -> None:
    settings = environment.load(DATA_DIR="/data/50%25 off?#")
    assert make_url(settings.database_dsn).database == "/data/50%25 off?#/lrgd.sqlite3"


def test_a_complete_production_is_accepted(environment: Environment) -> None:
    settings = environment.load(**SAFE_PRODUCTION, HOST="0.0.0.0")
    assert settings.auth is Auth.REQUIRED
    assert settings.database_dsn == f"postgresql+asyncpg://lrgd:{SECRET}@db/lrgd"


@pytest.mark.parametrize("name", ["PROT", "DATABASE", "REDIS_URLS"])
def test_an_unknown_setting_is_refused_by_its_name(environment: Environment, name: str) -> None:
    refusal = environment.refusal(**{name: "1"})
    assert f"{PREFIX}{name}" in refusal
    assert "lrgd settings" in refusal


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"REDIS_URL": "redis://cache"}, "BROKER_URL"),
        ({"BROKER_URL": "redis://broker"}, "REDIS_URL"),
        ({"LLM_URL": "http://vllm:8000/v1"}, "LLM_MODEL"),
        ({"LLM_MODEL": "qwen"}, "LLM_URL"),
        ({"LLM_API_KEY": SECRET}, "LLM_URL"),
        ({"EMBEDDINGS_URL": "http://vllm:8000/v1"}, "EMBEDDINGS_MODEL"),
        ({"EMBEDDINGS_API_KEY": SECRET}, "EMBEDDINGS_URL"),
    ],
)
def test_half_a_feature_is_refused_and_the_missing_half_is_named(
    environment: Environment, given: dict[str, str], missing: str
) -> None:
    refusal = environment.refusal(**given)
    assert f"{PREFIX}{missing}" in refusal
    assert SECRET not in refusal


def test_two_models_are_refused(environment: Environment) -> None:
    refusal = environment.refusal(LLM_URL="http://vllm", LLM_MODEL="qwen", LLM_FOLDER="model")
    assert f"{PREFIX}LLM_URL" in refusal
    assert f"{PREFIX}LLM_FOLDER" in refusal


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"DATABASE_URL": None}, "DATABASE_URL"),
        ({"REDIS_URL": None, "BROKER_URL": None}, "REDIS_URL"),
        ({"AUTH": None}, "AUTH"),
        ({"AUTH": "off"}, "AUTH"),
        ({"CORS_ORIGINS": "https://shop.example,*"}, "CORS_ORIGINS"),
        ({"SAMPLE_SHOP": "true"}, "SAMPLE_SHOP"),
    ],
)
def test_production_refuses_an_insecure_default_by_its_name(
    environment: Environment, change: dict[str, str | None], named: str
) -> None:
    refusal = environment.refusal(**{**SAFE_PRODUCTION, **change})
    assert f"{PREFIX}{named}" in refusal
    assert SECRET not in refusal


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "shop.example", ""])
def test_no_gateway_without_keys_listens_beyond_this_machine(
    environment: Environment, host: str
) -> None:
    refusal = environment.refusal(HOST=host)
    assert f"{PREFIX}AUTH=required" in refusal


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_on_this_machine_keys_are_optional(environment: Environment, host: str) -> None:
    assert environment.load(HOST=host).auth is Auth.OFF


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://lrgd:{SECRET}@db/lrgd"),
        ("DATABASE_URL", f"postgres://lrgd:{SECRET}@db/lrgd"),
        ("DATABASE_URL", f"postgresql://lrgd:{SECRET}@db:port/lrgd"),
        ("DATABASE_URL", f"postgresql://lrgd:/{SECRET}@db:5432/lrgd"),
        ("DATABASE_URL", "lrgd.sqlite3"),
        ("DATABASE_URL", "sqlite://lrgd.sqlite3"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("REDIS_URL", f"http://:{SECRET}@cache"),
        ("REDIS_URL", f"redis://:{SECRET}@cache:port/0"),
        ("BROKER_URL", f"amqp://lrgd:{SECRET}@broker"),
    ],
)
def test_a_url_that_cannot_work_is_refused_and_not_repeated(
    environment: Environment, name: str, value: str
) -> None:
    pair = {"REDIS_URL": "redis://cache", "BROKER_URL": "redis://broker"}
    refusal = environment.refusal(**{**(pair if name in pair else {}), name: value})
    assert refusal.startswith(f"{PREFIX}{name}: must ")
    assert SECRET not in refusal


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "http"),
        ("DEPLOYMENT", "staging"),
        ("RATE_LIMIT_PER_MINUTE", "-1"),
        ("LOG_LEVEL", "loud"),
        ("MAX_BODY_BYTES", "12"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    environment: Environment, name: str, value: str
) -> None:
    assert environment.refusal(**{name: value}).startswith(f"{PREFIX}{name}: ")


def test_every_wrong_setting_is_named_at_once(environment: Environment) -> None:
    refusal = environment.refusal(PORT="0", LOG_LEVEL="loud")
    assert f"{PREFIX}PORT" in refusal
    assert f"{PREFIX}LOG_LEVEL" in refusal


def test_a_heartbeat_cannot_be_stale_before_the_next_is_due(environment: Environment) -> None:
    refusal = environment.refusal(HEARTBEAT_SECONDS="5", HEARTBEAT_STALE_SECONDS="5")
    assert f"{PREFIX}HEARTBEAT_STALE_SECONDS" in refusal


def test_lists_are_written_with_commas(environment: Environment) -> None:
    settings = environment.load(
        POSITIVE_EVENTS=" purchase , rating>=4,", CORS_ORIGINS="https://a.example"
    )
    assert settings.positive_events == ("purchase", "rating>=4")
    assert settings.cors_origins == ("https://a.example",)


def test_every_setting_says_what_it_does() -> None:
    without = [name for name, field in Settings.model_fields.items() if not field.description]
    assert without == []


def test_settings_cannot_be_changed_after_the_start(environment: Environment) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        environment.load().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (8000, "8000"),
        (Auth.OFF, "off"),
        (("purchase", "rating>=4"), "purchase,rating>=4"),
        (Path(".lrgd"), ".lrgd"),
        (SecretStr(SECRET), "********"),
        (
            SecretStr(f"postgresql://lrgd:{SECRET}@db:5432/lrgd"),
            "postgresql://lrgd:********@db:5432/lrgd",
        ),
        (SecretStr(f"redis://:{SECRET}@cache/0"), "redis://:********@cache/0"),
        (SecretStr(f"redis://cache/0?password={SECRET}"), "redis://cache/0?password=********"),
        (
            SecretStr(f"postgresql://db/lrgd?user=lrgd&password={SECRET}"),
            "postgresql://db/lrgd?user=********&password=********",
        ),
        (SecretStr("sqlite:///lrgd.sqlite3"), "sqlite:///lrgd.sqlite3"),
        (f"http://user:{SECRET}@vllm/v1", "http://user:********@vllm/v1"),
    ],
)
def test_what_is_shown_of_a_value_holds_no_secret(value: Any, shown: str) -> None:
    assert masked(value) == shown


def test_no_secret_is_in_what_a_program_prints_of_its_settings(environment: Environment) -> None:
    settings = environment.load(
        **SAFE_PRODUCTION, LLM_URL="http://vllm/v1", LLM_MODEL="qwen", LLM_API_KEY=SECRET
    )
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.model_dump())
    assert SECRET not in settings.model_dump_json()
    for name in Settings.model_fields:
        assert SECRET not in masked(getattr(settings, name))
