"""A scripted model server of one's own: in this event loop, or as a process of its own.

async with served(ScriptedServer()) as url: ...

with PrivateScripted(LATENCY, folder) as server:
    connect(server.url, server.model)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import uvicorn

from lab.servers.processes import PrivateProcess
from services.llm.scripted import MODEL, Fault, LatencyModel, Script
from services.llm.scripted_server import Receive, Scope, ScriptedServer, Send
from services.ports import LOOPBACK, free_port

BUSY = "/busy"


class PrivateScripted(PrivateProcess):
    """What it waits costs no processor time, so one machine can have several."""

    model = MODEL

    def __init__(self, latency: LatencyModel, folder: Path, *, name: str = "scripted") -> None:
        self.port = free_port()
        self._root = f"http://{LOOPBACK}:{self.port}"
        self.url = f"{self._root}/v1"
        words = [
            name, str(self.port), str(latency.fixed_seconds), str(latency.prompt_token_seconds),
            str(latency.completion_token_seconds), str(latency.slots),
        ]  # fmt: skip
        super().__init__(words, {}, folder, program=(sys.executable, "-m", __spec__.name))

    def busy_seconds(self) -> float:
        """Of all its slots together, so far."""
        with urllib.request.urlopen(f"{self._root}{BUSY}", timeout=5) as answer:
            return float(answer.read())

    def works(self, *, since: float) -> bool:  # noqa: ARG002
        try:
            with urllib.request.urlopen(f"{self.url}/models", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are for whoever runs the event loop."""
        yield


@contextlib.asynccontextmanager
async def served(script: ScriptedServer) -> AsyncIterator[str]:
    """Its URL, until the end of the block."""
    server = _Server(_config(script))
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield f"http://{LOOPBACK}:{listening.getsockname()[1]}/v1"
        finally:
            script.faults.recover()
            server.force_exit = server.should_exit = True
            await serving


class _Alone(ScriptedServer):
    """Keeps nothing of what it is asked, for it may be asked for long, and says how busy it was."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        self.received.clear()

    async def _answer(self, path: str, body: Mapping[str, Any], fault: Fault | None) -> Any:
        if path == BUSY:
            return self.script.busy_seconds
        return await super()._answer(path, body, fault)


def _config(script: ScriptedServer, port: int = 0) -> uvicorn.Config:
    return uvicorn.Config(
        script, host=LOOPBACK, port=port, log_config=None, access_log=False, lifespan="off"
    )


def main() -> NoReturn:
    given = argparse.ArgumentParser()
    given.add_argument("name")
    given.add_argument("port", type=int)
    for number in ("fixed", "prompt_token", "completion_token"):
        given.add_argument(number, type=float)
    given.add_argument("slots", type=int)
    told = given.parse_args()
    latency = LatencyModel(told.fixed, told.prompt_token, told.completion_token, told.slots)
    uvicorn.Server(_config(_Alone(Script(latency=latency)), told.port)).run()
    sys.exit()


if __name__ == "__main__":
    main()
