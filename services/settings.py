"""Every setting of every process, in one frozen object.

A setting is an environment variable with the prefix ``LRGD_``. A name that is not below, a feature
that is configured by half, or a default that would be unsafe in production stops the start with a
message that names the setting.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.errors import ConfigurationError

PREFIX = "LRGD_"
SHIPPED_MODEL = Path(__file__).parent / "llm" / "lrgd_mini"
MASK = "********"


class Deployment(StrEnum):
    LOCAL = "local"
    PRODUCTION = "production"


class Auth(StrEnum):
    OFF = "off"
    REQUIRED = "required"


class UnknownIds(StrEnum):
    CREATE = "create"
    REFUSE = "refuse"


class RankingMode(StrEnum):
    FIRST_TOKEN = "first_token"  # noqa: S105 - a way of scoring, no secret
    LIKELIHOOD = "likelihood"
    GENERATE = "generate"


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    deployment: Deployment = Field(
        Deployment.LOCAL,
        description="local: embedded servers, meant for one machine. "
        "production: refuses insecure defaults.",
    )
    data_dir: Path = Field(
        Path(".lrgd"),
        description="Folder of the local deployment: database, logs, process state.",
    )

    host: str = Field("127.0.0.1", description="Address the gateway listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port the gateway listens on.")
    gateway_processes: int = Field(1, ge=1, le=64, description="Processes of one gateway.")
    shutdown_grace_seconds: float = Field(
        10, ge=0, le=300, description="How long a stopping gateway waits for requests in flight."
    )
    max_body_bytes: int = Field(
        8 * 1024 * 1024, ge=1024, description="Largest request body, streams of JSONL excepted."
    )
    max_batch_rows: int = Field(5000, ge=1, description="Most rows in one batch request.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins a browser may call from, comma-separated. Empty: CORS is off."
    )

    database_url: SecretStr | None = Field(
        None,
        description="postgresql://user:password@host/name or sqlite:///file. "
        "Unset: SQLite in data_dir.",
    )
    database_pool_size: int = Field(10, ge=1, description="Database connections of one process.")
    database_timeout_seconds: float = Field(
        10, gt=0, description="Longest wait for a connection, a lock or a statement."
    )

    redis_url: SecretStr | None = Field(
        None,
        description="Redis for user state and rate limits. Unset: the Valkey of `lrgd up`.",
    )
    broker_url: SecretStr | None = Field(
        None, description="Redis for the queue. Unset: database 1 of the local Valkey."
    )
    redis_timeout_seconds: float = Field(
        0.25,
        gt=0,
        description="Longest wait for one answer of Redis; then it is left alone until it answers.",
    )
    broker_timeout_seconds: float = Field(
        1.0, gt=0, description="Longest wait for one answer of the queue's Redis."
    )

    llm_url: str | None = Field(
        None,
        description="Base URL of an OpenAI-compatible model server, e.g. vLLM. "
        "Unset: the embedded model of llm_folder.",
    )
    llm_model: str | None = Field(None, description="Name of the model that server serves.")
    llm_api_key: SecretStr | None = Field(None, description="Bearer token of that server.")
    llm_weights: str | None = Field(
        None,
        description="Which weights that server has loaded (a revision, a digest), for the "
        "fingerprint: it cannot be asked, and scores of different weights are not compared.",
    )
    llm_dtype: str | None = Field(
        None, description="In which precision that server computes, for the fingerprint."
    )
    llm_in_flight: int = Field(
        64,
        ge=1,
        description="Most calls of one process under way at that server; "
        "learning takes up to three quarters of them.",
    )
    llm_connect_seconds: float = Field(
        2, gt=0, description="Longest wait for a connection to that server."
    )
    llm_probe_seconds: float = Field(
        30, gt=0, description="Longest wait for what a server is asked when it is met first."
    )
    embeddings_url: str | None = Field(
        None,
        description="Base URL of an OpenAI-compatible server of embeddings, for runs that compare "
        "texts by meaning. Unset: they are compared by their n-grams.",
    )
    embeddings_model: str | None = Field(None, description="Name of the model that server serves.")
    embeddings_api_key: SecretStr | None = Field(None, description="Bearer token of that server.")
    embeddings_seconds: float = Field(
        30, gt=0, le=300, description="Longest wait for the embeddings of one round."
    )
    llm_folder: Path = Field(
        SHIPPED_MODEL,
        description="Folder of the embedded model: Hugging Face's files and model.onnx. "
        "Unset: lrgd-mini, for trying out.",
    )
    llm_threads: int = Field(
        1, ge=1, le=256, description="Threads of one process that compute the embedded model."
    )
    llm_cache_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        description="Memory of one process for the beginnings of prompts that the embedded model "
        "has read.",
    )

    auth: Auth = Field(
        Auth.OFF, description="required: every call needs an API key (`lrgd keys create`)."
    )
    api_key_cache_seconds: float = Field(
        5,
        ge=0,
        le=300,
        description="How long a checked key is trusted; a revocation waits so long.",
    )
    rate_limit_per_minute: int = Field(
        6000, ge=0, description="Requests per minute and API key (or client address). 0: no limit."
    )

    positive_events: Annotated[tuple[str, ...], NoDecode] = Field(
        ("purchase", "rating>=4"),
        description="Events that say a user liked or took an item, comma-separated: "
        "`type` or `type>=value` (also >, <=, <, ==).",
    )
    unknown_users: UnknownIds = Field(
        UnknownIds.CREATE, description="An event of a user not in the catalog: create or refuse."
    )
    unknown_items: UnknownIds = Field(
        UnknownIds.CREATE, description="An event of an item not in the catalog: create or refuse."
    )
    sample_shop: bool = Field(
        True, description="Load the sample shop at `lrgd up` when the catalog is empty."
    )

    recommend_deadline_ms: int = Field(
        1000,
        ge=20,
        le=60_000,
        description="Longest wait for a list where the request does not say; then it comes from "
        "what there is without the model.",
    )
    recommend_at_once: int = Field(
        64,
        ge=1,
        description="Lists of one process under way at once; one more is answered 429.",
    )
    ranking_mode: RankingMode | None = Field(
        None, description="first_token, likelihood or generate. Unset: the best the model can do."
    )
    ranking_candidates: int = Field(
        50, ge=2, le=128, description="Candidates that the model is shown."
    )
    ranking_permutations: int = Field(
        1,
        ge=1,
        le=16,
        description="Orders in which candidates are shown; what is said is averaged.",
    )
    ranking_calibrated: bool = Field(
        False, description="Subtract what the model prefers where the prompt has no content."
    )
    ranking_step_size: float = Field(
        1.0,
        gt=0,
        le=1,
        description="How much of a demonstration's way is gone (eta); below 1 the model is asked "
        "without it as well, a prompt more.",
    )
    ranking_prior_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of retrieval's prior beside the model's scores (lambda); 0: the model "
        "alone.",
    )
    ranking_stored_seconds: float = Field(
        300,
        ge=0,
        description="How long a ranking answers the very same question again. 0: never.",
    )
    user_state_seconds: int = Field(
        86_400, ge=1, description="How long what is kept of a user in Redis outlives the last call."
    )
    replies_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Of the lists served, the share kept under their id. Those of an experiment "
        "are all kept.",
    )
    learning_at_once: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Rounds that a worker process drives at the same time. Unset: 8 with a model "
        "server, 1 with the embedded model, which computes one call after the other.",
    )
    learning_lease_seconds: float = Field(
        60, ge=1, description="After so long without a sign of life, another worker takes a round."
    )
    learning_attempts: int = Field(
        3, ge=1, le=100, description="A round that is broken off so often has failed."
    )
    learning_park_seconds: float = Field(
        15, gt=0, description="So long a round waits when the model is down."
    )
    learning_tokens_per_day: int = Field(
        20_000_000,
        ge=0,
        description="What rounds that start by themselves, after events and at night, may cost on "
        "one UTC day: tokens of prompts and completions. 0: none starts.",
    )
    learning_new_positives: int = Field(
        3,
        ge=0,
        description="So many positive events since a user's last round call for another. 0: then "
        "only a fall of online Effect_D, or another model, does.",
    )
    learning_debounce_seconds: float = Field(
        30, ge=0, description="New events are looked at for rounds at most this often."
    )
    learning_nightly_users: int = Field(
        200,
        ge=0,
        description="Most users who get a round at night: those judged by another model first, "
        "then those who never had one. 0: none.",
    )
    learning_nightly_hour: int = Field(3, ge=0, le=23, description="When that is, in UTC.")
    replies_days: int = Field(
        30,
        ge=1,
        description="How long they are kept; those of an experiment so long after its end.",
    )

    worker_processes: int = Field(1, ge=1, le=64, description="Child processes of one worker.")
    worker_metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Port of the worker's /metrics. Unset: not served."
    )
    heartbeat_seconds: float = Field(
        2, gt=0, description="How often beat sends a heartbeat through the broker."
    )
    heartbeat_stale_seconds: float = Field(
        8,
        gt=0,
        description="Age at which a missing heartbeat makes /readyz say the worker is down.",
    )
    popularity_debounce_seconds: float = Field(
        2, ge=0, description="New events refresh popularity and co-visitation at most this often."
    )

    slo_availability: float = Field(
        0.999, gt=0, lt=1, description="Objective: the share of requests not answered by a 5xx."
    )
    slo_latency: float = Field(
        0.99, gt=0, lt=1, description="Objective: the share of lists within slo_latency_ms."
    )
    slo_latency_ms: float = Field(
        1000, gt=0, description="Longest a list may take, as its caller sees it, to be in time."
    )
    slo_by_model: float = Field(
        0.95, gt=0, lt=1, description="Objective: the share of lists that the model has ranked."
    )

    otlp_endpoint: str | None = Field(
        None,
        description="Base URL of a collector of traces (OTLP over HTTP), e.g. http://host:4318. "
        "Unset: no traces.",
    )
    traces_share: float = Field(
        1.0, ge=0, le=1, description="Of the traces that begin here, the share that is sent."
    )
    traces_prompts: bool = Field(
        False, description="Put prompts into spans: what people have taken is then in the traces."
    )

    metrics_dir: Path | None = Field(
        None, description="Folder in which processes share metrics. Unset: below data_dir."
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Log level.")
    log_format: LogFormat = Field(LogFormat.JSON, description="json lines, or console for people.")

    @field_validator("cors_origins", "positive_events", mode="before")
    @classmethod
    def _split_on_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or _is_url(value, "postgresql") or _is_sqlite_file(value):
            return value
        raise ValueError(
            "must be postgresql://user:password@host/name (special characters of the password "
            "percent-encoded) or sqlite:///file"
        )

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _known_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or _is_url(value, "redis", "rediss"):
            return value
        raise ValueError(
            "must be redis://:password@host:port/number or rediss://… (special characters of the "
            "password percent-encoded)"
        )

    @model_validator(mode="after")
    def _whole_features(self) -> Self:
        _both_or_neither(self, "redis_url", "broker_url")
        _both_or_neither(self, "llm_url", "llm_model")
        if self.llm_api_key is not None and self.llm_url is None:
            raise ValueError(f"{PREFIX}LLM_API_KEY is set but {PREFIX}LLM_URL is not")
        _both_or_neither(self, "embeddings_url", "embeddings_model")
        if self.embeddings_api_key is not None and self.embeddings_url is None:
            raise ValueError(f"{PREFIX}EMBEDDINGS_API_KEY is set but {PREFIX}EMBEDDINGS_URL is not")
        if self.llm_url is not None and "llm_folder" in self.model_fields_set:
            raise ValueError(
                f"{PREFIX}LLM_URL and {PREFIX}LLM_FOLDER name two models: set one of them"
            )
        if self.heartbeat_stale_seconds <= self.heartbeat_seconds:
            raise ValueError(
                f"{PREFIX}HEARTBEAT_STALE_SECONDS must be larger than {PREFIX}HEARTBEAT_SECONDS"
            )
        return self

    @model_validator(mode="after")
    def _safe_enough(self) -> Self:
        if self.auth is Auth.OFF and not _is_loopback(self.host):
            raise ValueError(
                f"{PREFIX}AUTH=off would open {self.host}:{self.port} to anyone: "
                f"set {PREFIX}AUTH=required, or {PREFIX}HOST=127.0.0.1"
            )
        if self.deployment is Deployment.LOCAL:
            return self
        for name in ("database_url", "redis_url", "broker_url"):
            if getattr(self, name) is None:
                raise ValueError(f"production needs {PREFIX}{name.upper()}")
        if self.auth is Auth.OFF:
            raise ValueError(f"production needs {PREFIX}AUTH=required")
        if "*" in self.cors_origins:
            raise ValueError(f"production refuses {PREFIX}CORS_ORIGINS=*: name the origins")
        if "sample_shop" in self.model_fields_set and self.sample_shop:
            raise ValueError(f"production refuses {PREFIX}SAMPLE_SHOP=true")
        return self

    @property
    def database_dsn(self) -> str:
        """The database URL with its driver; SQLite in the data folder by default."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{quote(str(self.data_dir.absolute() / 'lrgd.sqlite3'))}"
        url = self.database_url.get_secret_value()
        return url.replace("postgresql://", "postgresql+asyncpg://", 1).replace(
            "sqlite://", "sqlite+aiosqlite://", 1
        )

    @property
    def shares_metrics_in(self) -> Path:
        return self.metrics_dir or self.data_dir / "metrics"


def load_settings(**overrides: Any) -> Settings:
    """Settings of the environment. Raises ConfigurationError in plain words."""
    _refuse_unknown_names(os.environ)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_in_plain_words(error))) from None


def masked(value: Any) -> str:
    """A value fit for a terminal: no password of a URL, no secret."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return _without_password(secret) if "://" in secret else MASK
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return _without_password(str(value))


def _without_password(text: str) -> str:
    """Drivers take a password in the login and in the query of a URL."""
    try:
        parts = urlsplit(text)
        query = parse_qsl(parts.query)
    except ValueError:
        return MASK
    if parts.password is not None:
        address = parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{parts.username or ''}:{MASK}@{address}")
    if query:
        parts = parts._replace(query="&".join(f"{name}={MASK}" for name, _ in query))
    elif parts.password is None:
        return text
    return urlunsplit(parts)


def _is_url(value: SecretStr, *schemes: str) -> bool:
    try:
        parts = urlsplit(value.get_secret_value())
        parts.port  # noqa: B018  # fails for an address that is none
    except ValueError:
        return False
    # A raw / or # in the password ends the address too early.
    cut_off = "@" in parts.path or parts.fragment
    return parts.scheme in schemes and not cut_off


def _is_sqlite_file(value: SecretStr) -> bool:
    """A file, because in memory every connection would see a database of its own."""
    beginning, _, path = value.get_secret_value().partition("?")[0].partition(":///")
    return beginning == "sqlite" and path not in ("", ":memory:")


def _both_or_neither(settings: Settings, first: str, second: str) -> None:
    given = [name for name in (first, second) if getattr(settings, name) is not None]
    if len(given) == 1:
        missing = second if given[0] == first else first
        raise ValueError(
            f"{PREFIX}{given[0].upper()} is set but {PREFIX}{missing.upper()} is not: set both"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_unknown_names(environment: Mapping[str, str]) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(
        name
        for name in environment
        if name.upper().startswith(PREFIX) and name.upper() not in known
    )
    if unknown:
        raise ConfigurationError(
            f"unknown setting {', '.join(unknown)}: `lrgd settings` lists the known ones"
        )


def _in_plain_words(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        message = problem["msg"].removeprefix("Value error, ")
        name = problem["loc"][0] if problem["loc"] else None
        lines.append(f"{PREFIX}{str(name).upper()}: {message}" if name else message)
    return lines
