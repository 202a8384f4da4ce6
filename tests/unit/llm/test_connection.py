"""The way to the server, with a transport that answers as told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx2
import pytest
import structlog

from services.errors import ConfigurationError
from services.llm.breaker import BreakerPolicy, BreakerState
from services.llm.connection import ServerConfig, ServerConnection
from services.llm.errors import (
    CircuitOpen,
    ContextOverflow,
    ModelError,
    ModelOverloaded,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    ServerFailed,
    WrongModel,
)
from services.llm.port import Terms
from services.llm.retry import RetryPolicy
from services.observability.metrics import Metrics

QUICK = RetryPolicy(attempts=3, first_pause_seconds=0.001)
Step = httpx2.Response | Exception | Callable[[], Any]

KEY = "a-token"


class Server(httpx2.AsyncBaseTransport):
    """Goes through its steps, and stays at the last."""

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if isinstance(step, Exception):
            raise step
        if isinstance(step, httpx2.Response):
            return httpx2.Response(step.status_code, headers=step.headers, content=step.content)
        answer: httpx2.Response = await step()
        return answer


def connected(server: Server, metrics: Metrics | None = None, **config: Any) -> ServerConnection:
    return ServerConnection(
        ServerConfig("http://model/v1/", "m", **{"retry": QUICK, **config}),
        metrics or Metrics(),
        transport=server,
        draws=random.Random(1),
    )


async def post(connection: ServerConnection, seconds: float = 5) -> bytes:
    async with connection:
        return await connection.post("/v1/x", {"a": 1}, Terms.within(seconds))


OK = httpx2.Response(200, content=b"{}")


def complaint(status: int, message: str, **error: Any) -> httpx2.Response:
    return httpx2.Response(status, json={"error": {"message": message, **error}})


@pytest.mark.parametrize(
    "passing",
    [
        httpx2.ConnectError("refused"),
        httpx2.ConnectTimeout("slow"),
        httpx2.ReadError("reset"),
        httpx2.RemoteProtocolError("cut"),
        ConnectionResetError("reset"),
        httpx2.Response(429),
        httpx2.Response(503, headers={"retry-after": "0.01"}),
    ],
    ids=lambda step: type(step).__name__ + str(getattr(step, "status_code", "")),
)
async def test_what_may_pass_is_tried_again(passing: Step) -> None:
    server, metrics = Server(passing, passing, OK), Metrics()
    assert await post(connected(server, metrics)) == b"{}"
    assert len(server.requests) == 3
    assert b"lrgd_llm_retries_total" in metrics.render()


@pytest.mark.parametrize(
    ("lasting", "error", "attempts"),
    [
        (httpx2.ConnectError("refused"), ModelUnavailable, 3),
        (httpx2.Response(429), ModelOverloaded, 3),
        (httpx2.Response(503), ModelOverloaded, 3),
        (httpx2.Response(500), ServerFailed, 1),
        (httpx2.Response(502, content=b"<html>"), ServerFailed, 1),
        (httpx2.Response(401), ModelRefused, 1),
        (httpx2.Response(302), ModelRefused, 1),
        (complaint(400, "no such field"), ModelRefused, 1),
        (complaint(404, "gone", param="model"), WrongModel, 1),
        (complaint(404, "The model `m` does not exist"), WrongModel, 1),
        (complaint(400, "maximum context length is 5 tokens"), ContextOverflow, 1),
        (complaint(400, "too long", param="input_tokens"), ContextOverflow, 1),
        (complaint(400, "too long", code="context_length_exceeded"), ContextOverflow, 1),
    ],
)
async def test_every_failure_has_its_error(
    lasting: Step, error: type[ModelError], attempts: int
) -> None:
    server = Server(lasting)
    with pytest.raises(error):
        await post(connected(server))
    assert len(server.requests) == attempts


async def test_retry_after_is_respected() -> None:
    server = Server(httpx2.Response(429, headers={"retry-after": "0.1"}), OK)
    started = time.monotonic()
    await post(connected(server))
    assert time.monotonic() - started >= 0.1


async def test_nobody_waits_for_a_retry_past_the_deadline() -> None:
    server = Server(httpx2.Response(429, headers={"retry-after": "60"}), OK)
    started = time.monotonic()
    with pytest.raises(ModelOverloaded) as refusal:
        await post(connected(server), seconds=1)
    assert time.monotonic() - started < 0.5
    assert refusal.value.retry_after == 60


async def test_a_server_that_hangs_is_left_at_the_deadline() -> None:
    server = Server(lambda: asyncio.sleep(60))
    started = time.monotonic()
    with pytest.raises(ModelTimeout):
        await post(connected(server), seconds=0.1)
    assert time.monotonic() - started < 1
    assert len(server.requests) == 1


async def test_drip_by_drip_is_no_way_round_the_deadline() -> None:
    async def drip() -> httpx2.Response:
        async def content() -> Any:
            while True:
                yield b" "
                await asyncio.sleep(0.01)

        return httpx2.Response(200, content=content())

    with pytest.raises(ModelTimeout):
        await post(connected(Server(drip)), seconds=0.1)


async def calls(connection: ServerConnection, outcomes: Iterable[type[ModelError] | None]) -> None:
    for expected in outcomes:
        if expected is None:
            await connection.get("/v1/models", Terms.within(1))
        else:
            with pytest.raises(expected) as caught:
                await connection.get("/v1/models", Terms.within(1))
            assert type(caught.value) is expected


async def test_a_failing_server_is_left_alone_for_a_while_and_found_again() -> None:
    metrics = Metrics()
    failures = [httpx2.Response(500)] * 3
    server = Server(*failures, OK)
    policy = BreakerPolicy(failures=2, open_seconds=0.05)
    async with connected(server, metrics, breaker=policy) as connection:
        await calls(connection, [ServerFailed, ServerFailed, CircuitOpen, CircuitOpen])
        assert len(server.requests) == 2
        assert b"lrgd_llm_breaker_state 2.0" in metrics.render()
        await asyncio.sleep(0.06)
        await calls(connection, [ServerFailed, CircuitOpen])
        assert not connection.recovered.is_set()
        await asyncio.sleep(0.11)
        await calls(connection, [None, None])
        assert connection.breaker_state is BreakerState.CLOSED
        assert connection.recovered.is_set()


async def test_refusals_and_overload_do_not_open_the_circuit() -> None:
    policy = BreakerPolicy(failures=1)
    for answer, error in (
        (complaint(400, "no"), ModelRefused),
        (httpx2.Response(429), ModelOverloaded),
    ):
        async with connected(Server(answer), breaker=policy) as connection:
            await calls(connection, [error] * 5)
            assert connection.breaker_state is BreakerState.CLOSED


async def test_short_deadlines_of_callers_do_not_open_the_circuit_but_a_slow_server_does() -> None:
    hanging = Server(lambda: asyncio.sleep(60))
    patient = BreakerPolicy(failures=2, slow_seconds=0.05)
    async with connected(hanging, breaker=patient) as connection:
        for seconds, state in ((0.01, BreakerState.CLOSED), (0.06, BreakerState.OPEN)):
            for _ in range(2):
                with pytest.raises(ModelTimeout):
                    await connection.get("/", Terms.within(seconds))
            assert connection.breaker_state is state


async def test_the_request_id_goes_along_and_is_another_for_each_request() -> None:
    server = Server(OK)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        async with connected(server, api_key=KEY) as connection:
            await asyncio.gather(*(connection.get("/", Terms.within(1)) for _ in range(2)))
    ids = [request.headers["x-request-id"] for request in server.requests]
    assert all(each.startswith("r-1-") for each in ids)
    assert len(set(ids)) == 2
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_the_url_may_end_in_v1_or_not() -> None:
    assert ServerConfig("http://model:8000/v1/", "m").root == "http://model:8000"
    assert ServerConfig("http://model:8000", "m").root == "http://model:8000"
    assert KEY not in repr(ServerConfig("http://model", "m", api_key=KEY))
    with pytest.raises(ConfigurationError, match="LRGD_LLM_URL"):
        ServerConfig("model:8000", "m")
