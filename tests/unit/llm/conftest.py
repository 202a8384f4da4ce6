from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest

from services.llm.chat import Chat, Message
from services.llm.connection import ServerConfig
from services.llm.retry import RetryPolicy
from services.llm.scripted_server import ScriptedServer
from services.llm.vllm import VllmModel
from services.observability.metrics import Metrics

Opened = Callable[..., AbstractAsyncContextManager[VllmModel]]

CHAT = Chat(
    (
        Message(
            "user",
            "History:\n- green tea\n- black tea\n"
            "Candidates:\n- red wine | SR\n- white tea | CV\n- coffee | LL\n",
        ),
    ),
    lead="Next:",
)
LABELS = (" SR", " CV", " LL")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def opened(metrics: Metrics) -> Opened:
    """The adapter over a scripted server, without a socket."""

    @asynccontextmanager
    async def opened(server: ScriptedServer, **config: Any) -> AsyncIterator[VllmModel]:
        quick = RetryPolicy(attempts=2, first_pause_seconds=0.001)
        settings = ServerConfig("http://scripted", "scripted", **{"retry": quick, **config})
        transport = httpx2.ASGITransport(app=server)
        async with VllmModel(settings, metrics, transport=transport) as model:
            yield model

    return opened
