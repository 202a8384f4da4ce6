"""A gateway behind a real socket, and the log that processes write."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import structlog
import uvicorn

from api.app import create_app
from services.observability.logging import configure_logging
from services.ports import LOOPBACK
from services.settings import Settings
from tests.conftest import SettingsFactory

GatewayFactory = Callable[..., AbstractAsyncContextManager[int]]
Logged = Callable[[], list[dict[str, Any]]]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The signals belong to the tests."""
        yield


@pytest.fixture
def opened_gateway(make_settings: SettingsFactory) -> GatewayFactory:
    """Opens a gateway in this process and gives its port."""

    @asynccontextmanager
    async def opened(**overrides: Any) -> AsyncIterator[int]:
        config = uvicorn.Config(
            create_app(make_settings(**overrides)), log_config=None, access_log=False, lifespan="on"
        )
        with socket.socket() as listening:
            listening.bind((LOOPBACK, 0))
            port: int = listening.getsockname()[1]
            server = _Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                while not server.started:
                    assert not serving.done(), "the gateway did not start"
                    await asyncio.sleep(0.01)
                yield port
            finally:
                server.should_exit = True
                await serving

    return opened


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Logged]:
    """Logs as a gateway does, and gives what was logged so far: every line is a JSON object."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configured = structlog.get_config()
    configure_logging(Settings(), "gateway")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.configure(**configured)
