"""The way to a model server: one pool of connections, with a deadline, a place in the queue, a
circuit breaker and bounded retries for every request. No HTTP type leaves this module."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
import structlog

from services.errors import ConfigurationError
from services.llm import affinity
from services.llm.breaker import BreakerPolicy, BreakerState, CircuitBreaker
from services.llm.errors import (
    ContextOverflow,
    ModelError,
    ModelOverloaded,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    ServerFailed,
    WrongModel,
)
from services.llm.gate import Gate, GateLimits
from services.llm.port import Terms
from services.llm.retry import RetryPolicy, parse_retry_after
from services.observability.logging import get_logger
from services.observability.metrics import LlmRetryLabels, Metrics, NoLabels
from services.observability.tracing import SpanKind, headers_of_span, span

log = get_logger(__name__)

_QUOTED_CHARACTERS = 300
_OVERFLOW = ("input_tokens", "context length", "context_length", "context window")


@dataclass(frozen=True)
class ServerConfig:
    """`url` with or without the trailing /v1. `weights` and `dtype` say what the server cannot be
    asked for; they belong to the engine's fingerprint."""

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    weights: str | None = None
    dtype: str | None = None
    connect_seconds: float = 2.0
    probe_seconds: float = 30.0
    gate: GateLimits = field(default_factory=GateLimits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigurationError(f"LRGD_LLM_URL: {self.url!r} is not an http or https URL")

    @property
    def root(self) -> str:
        return self.url.rstrip("/").removesuffix("/v1")


class _TryAgain(Exception):
    def __init__(self, error: ModelError, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.error = error
        self.reason = reason
        self.retry_after = retry_after


class ServerConnection:
    def __init__(
        self,
        config: ServerConfig,
        metrics: Metrics,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        draws: random.Random | None = None,
    ) -> None:
        self.config = config
        self._metrics = metrics
        self._draws = draws or random.Random()
        self._gate = Gate(config.gate, metrics)
        self._breaker = CircuitBreaker(config.breaker, on_change=self._breaker_changed)
        self.recovered = asyncio.Event()
        """Set whenever the server works again after it failed: it may be another one now."""
        places = config.gate.in_flight
        self._http = httpx2.AsyncClient(
            base_url=config.root,
            headers={"authorization": f"Bearer {config.api_key}"} if config.api_key else {},
            transport=transport
            or httpx2.AsyncHTTPTransport(
                limits=httpx2.Limits(max_connections=places, max_keepalive_connections=places)
            ),
        )

    @property
    def breaker_state(self) -> BreakerState:
        return self._breaker.state

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def get(self, path: str, terms: Terms) -> bytes:
        return await self._send("GET", path, None, terms)

    async def post(self, path: str, body: Mapping[str, Any], terms: Terms) -> bytes:
        return await self._send("POST", path, body, terms)

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, terms: Terms
    ) -> bytes:
        content = None if body is None else json.dumps(body).encode()
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(method, path, content, terms)
            except _TryAgain as again:
                pause = self._pause(attempt, again)
                if pause is None or pause >= terms.deadline.remaining():
                    raise again.error from again.__cause__
                self._metrics.llm_retries.add(LlmRetryLabels(again.reason))
            # Not while a place is held: others go on meanwhile.
            await asyncio.sleep(pause)

    def _pause(self, attempt: int, again: _TryAgain) -> float | None:
        return self.config.retry.pause(attempt, again.retry_after, self._draws)

    async def _attempt(self, method: str, path: str, content: bytes | None, terms: Terms) -> bytes:
        self._breaker.refuse_if_open()
        async with self._gate.place(terms), self._watched() as verdict:
            started = time.monotonic()
            remaining = terms.deadline.remaining()
            try:
                # The client's own timeouts begin anew with every read; this one does not.
                async with asyncio.timeout(remaining):
                    with span(f"{method} {path}", kind=SpanKind.CLIENT):
                        answer = await self._http.request(
                            method,
                            path,
                            content=content,
                            headers=_headers(content),
                            timeout=httpx2.Timeout(
                                remaining, connect=min(remaining, self.config.connect_seconds)
                            ),
                        )
            except (httpx2.ConnectTimeout, httpx2.ConnectError) as error:
                verdict.failed = True
                raise _no_connection(self.config, error) from error
            except (httpx2.TimeoutException, TimeoutError) as error:
                verdict.failed = time.monotonic() - started >= self.config.breaker.slow_seconds
                verdict.known = verdict.failed
                raise ModelTimeout(
                    f"the model server did not answer within {remaining:.2f} s"
                ) from error
            except (httpx2.TransportError, httpx2.DecodingError, OSError) as error:
                verdict.failed = True
                raise _TryAgain(
                    ModelUnavailable(f"the connection broke: {_named(error)}"), "connection"
                ) from error
            verdict.failed = answer.status_code >= 500 and answer.status_code != 503
            verdict.known = answer.status_code not in (429, 503)
            return _content_or_error(answer, path, self.config)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[_Verdict]:
        token = self._breaker.begin()
        verdict = _Verdict()
        try:
            yield verdict
        except BaseException:
            if not verdict.failed and not verdict.known:
                self._breaker.abandoned(token)
                raise
            self._tell(token, verdict)
            raise
        self._tell(token, verdict)

    def _tell(self, token: object, verdict: _Verdict) -> None:
        if verdict.failed:
            self._breaker.failed(token)
        else:
            self._breaker.succeeded(token)

    def _breaker_changed(self, state: BreakerState) -> None:
        self._metrics.llm_breaker.set(NoLabels(), float(state))
        log.warning("llm_breaker", state=state.name.lower(), url=self.config.root)
        if state is BreakerState.CLOSED:
            self.recovered.set()


@dataclass
class _Verdict:
    """What an attempt says about the server: that it fails, that it works, or nothing."""

    failed: bool = False
    known: bool = False


def _headers(content: bytes | None) -> dict[str, str]:
    headers = affinity.headers() | headers_of_span()
    if content is not None:
        headers["content-type"] = "application/json"
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    if request_id is not None:
        # One request of a caller may be many of ours, and the server wants them distinct.
        headers["x-request-id"] = f"{request_id}-{uuid.uuid4().hex[:8]}"
    return headers


def _no_connection(config: ServerConfig, error: Exception) -> _TryAgain:
    unavailable = ModelUnavailable(
        f"no connection to the model server at {config.root}: {_named(error)}"
    )
    return _TryAgain(unavailable, "connection")


def _named(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


def _content_or_error(answer: httpx2.Response, path: str, config: ServerConfig) -> bytes:
    status = answer.status_code
    if status == 200:
        return answer.content
    message, parameter = _complaint(answer)
    if status in (429, 503):
        retry_after = parse_retry_after(answer.headers.get("retry-after"))
        overloaded = ModelOverloaded(
            f"the model server is overloaded ({status}): {message}", retry_after=retry_after
        )
        raise _TryAgain(overloaded, f"status_{status}", retry_after)
    if status >= 500:
        raise ServerFailed(f"the model server failed ({status}) at {path}: {message}")
    if status in (401, 403):
        raise ModelRefused(f"the model server refuses our key ({status}): see LRGD_LLM_API_KEY")
    if status == 404 and (parameter == "model" or config.model in message):
        raise WrongModel(f"the model server does not serve {config.model!r}: see LRGD_LLM_MODEL")
    if any(words in f"{parameter} {message}".lower() for words in _OVERFLOW):
        raise ContextOverflow(f"the prompt is too long for the model: {message}")
    raise ModelRefused(f"the model server refused {path} ({status}): {message}")


def _complaint(answer: httpx2.Response) -> tuple[str, str | None]:
    """The message and the parameter that OpenAI-compatible servers put into their errors."""
    try:
        error = answer.json()["error"]
        message, parameter = str(error["message"]), error.get("param") or error.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, parameter = answer.text, None
    return message[:_QUOTED_CHARACTERS], parameter if isinstance(parameter, str) else None
