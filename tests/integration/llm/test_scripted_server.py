"""The scripted server on a real port: the faults that a transport in memory cannot have."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import uvicorn

from lab.servers.fault_proxy import FaultProxy
from services.llm.breaker import BreakerPolicy
from services.llm.chat import Chat, Message
from services.llm.connection import ServerConfig
from services.llm.errors import CircuitOpen, ModelError, ModelTimeout, ModelUnavailable
from services.llm.gate import GateLimits
from services.llm.port import GenerationRequest, Priority, Sampling, Terms
from services.llm.retry import RetryPolicy
from services.llm.scripted import Fault, LatencyModel, Script
from services.llm.scripted_server import ScriptedServer
from services.llm.vllm import VllmModel
from services.observability.metrics import Metrics
from services.ports import LOOPBACK

REQUEST = GenerationRequest(Chat((Message("user", "Say hello."),)), Sampling(max_tokens=4))
TERMS = Terms.within(86_400)  # later than any run of the tests


@contextlib.contextmanager
def served(server: ScriptedServer) -> Iterator[str]:
    config = uvicorn.Config(server, log_level="critical", lifespan="off", ws="none")
    runner = uvicorn.Server(config)
    with socket.create_server((LOOPBACK, 0)) as listening:
        thread = threading.Thread(target=runner.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{listening.getsockname()[1]}/v1"
        finally:
            runner.force_exit = runner.should_exit = True
            thread.join(10)


def model_at(url: str, **config: object) -> VllmModel:
    settings = {"retry": RetryPolicy(attempts=2, first_pause_seconds=0.01), **config}
    return VllmModel(ServerConfig(url, "scripted", **settings), Metrics())  # type: ignore[arg-type]


async def ask(model: VllmModel, seconds: float = 5) -> str:
    (written,) = await model.generate([REQUEST], Terms.within(seconds))
    return written.text


async def test_a_reset_in_mid_answer_is_tried_again() -> None:
    server = ScriptedServer()
    with served(server) as url:
        async with model_at(url) as model:
            healthy = await ask(model)
            server.faults.begin(Fault.RESET, times=1)
            assert await ask(model) == healthy
            server.faults.begin(Fault.RESET)
            with pytest.raises(ModelUnavailable):
                await ask(model)


async def test_refused_reset_and_hanging_connections_end_by_the_deadline() -> None:
    with (
        served(ScriptedServer()) as direct,
        FaultProxy(LOOPBACK, urlsplit(direct).port or 0) as proxy,
    ):
        policy = BreakerPolicy(failures=1000)
        url = proxy.through(direct)
        async with model_at(url, breaker=policy) as model:
            healthy = await ask(model)

            def refuse() -> None:
                proxy.refuse()
                proxy.reset()  # open connections would go on

            for fault, error in (
                (refuse, ModelUnavailable),
                (proxy.hang, ModelTimeout),
                (lambda: proxy.cut_after(10), ModelUnavailable),
            ):
                fault()
                started = time.monotonic()
                with pytest.raises(error):
                    await ask(model, seconds=0.5)
                assert time.monotonic() - started < 0.6
                proxy.recover()
                assert await ask(model) == healthy


async def test_through_an_outage_under_load_calls_fail_fast_and_come_back() -> None:
    server = ScriptedServer(Script(latency=LatencyModel(fixed_seconds=0.005, slots=16)))
    with served(server) as url:
        policy = BreakerPolicy(failures=3, open_seconds=2)
        async with model_at(url, breaker=policy) as model:
            healthy = await ask(model)
            server.faults.begin(Fault.FAILED)
            outcomes = await asyncio.gather(
                *(ask(model) for _ in range(100)), return_exceptions=True
            )
            assert all(isinstance(outcome, ModelError) for outcome in outcomes)
            seen = len(server.received)
            with pytest.raises(CircuitOpen):
                await ask(model)
            assert len(server.received) == seen
            server.faults.recover()
            await asyncio.sleep(2.5)
            assert await ask(model) == healthy


async def test_live_calls_are_not_kept_waiting_by_a_backlog_of_rounds() -> None:
    server = ScriptedServer(Script(latency=LatencyModel(fixed_seconds=0.02, slots=4)))
    with served(server) as url:
        limits = GateLimits(in_flight=4, rounds=3, waiting=1000)
        async with model_at(url, gate=limits) as model:
            await model.describe(TERMS)
            rounds = [
                asyncio.create_task(
                    model.generate([REQUEST], Terms(TERMS.deadline, Priority.ROUND))
                )
                for _ in range(150)
            ]
            await asyncio.sleep(0.1)
            started = time.monotonic()
            await ask(model)
            live_seconds = time.monotonic() - started
            await asyncio.gather(*rounds)
            assert live_seconds < (time.monotonic() - started) / 4
