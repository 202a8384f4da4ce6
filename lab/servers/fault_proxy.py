"""A TCP proxy that fails on command, to put between a client and the server it depends on.

    with FaultProxy("127.0.0.1", server_port) as proxy:
        connect(proxy.through(server_url))
        proxy.hang()

It runs in a thread of its own, so tests of any kind can use it, and a test that blocks its event
loop does not block the proxy. Faults add up until `recover()`, which ends them all. When a call
returns, its fault is in force.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

_HOST = "127.0.0.1"
_COMMAND_SECONDS = 10.0
_CONNECT_SECONDS = 10.0
_CHUNK_BYTES = 64 * 1024
_CHUNKS_UNDERWAY = 64

# Closing at once with this option makes the kernel send RST in place of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Cut(Exception):
    """A connection has carried all the bytes it was allowed."""


@dataclass(eq=False)
class _Connection:
    task: asyncio.Task[None]
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None
    answer_bytes_left: int | None

    def reset(self) -> None:
        _reset(self.client)
        if self.server is not None:
            _reset(self.server)

    def close(self) -> None:
        self.client.close()
        if self.server is not None:
            self.server.close()


class FaultProxy:
    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._connections: set[_Connection] = set()
        self._latency = 0.0
        self._cut_after: int | None = None
        self._refusing: socket.socket | None = None

    def __enter__(self) -> Self:
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started)), name="fault-proxy", daemon=True
        )
        self._thread.start()
        started.result(_COMMAND_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(_COMMAND_SECONDS)

    def through(self, url: str) -> str:
        """The URL of the server, by way of the proxy."""
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}{_HOST}:{self.port}"))

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def recover(self) -> None:
        """No fault. What hung goes on: nothing of it is lost."""
        self._command(self._recover())

    def latency(self, seconds: float) -> None:
        """What clients send arrives so much later; answers are not delayed."""
        self._command(self._set_latency(seconds))

    def hang(self) -> None:
        """Connections are accepted, open ones stay open, and not a byte arrives."""
        self._command(self._hang())

    def refuse(self) -> None:
        """New connections are refused; open ones go on, unless `reset()` is called as well."""
        self._command(self._refuse())

    def reset(self) -> None:
        """Open connections end with RST, once; new ones are not touched."""
        self._command(self._end_connections())

    def cut_after(self, answer_bytes: int) -> None:
        """Every connection, open or new, ends when that much more of answers has passed."""
        self._command(self._set_cut(answer_bytes))

    def _command(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_COMMAND_SECONDS)

    # From here on everything runs in the proxy's own thread.

    async def _run(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        try:
            sock = _bound(0)
            self.port: int = sock.getsockname()[1]
            await self._listen(sock)
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(None)
        await self._closing.wait()
        self._listener.close()
        if self._refusing is not None:
            self._refusing.close()
        await self._end_connections()

    async def _listen(self, sock: socket.socket) -> None:
        self._listener = await asyncio.start_server(self._serve, sock=sock)

    async def _recover(self) -> None:
        self._latency = 0.0
        await self._set_cut(None)
        if self._refusing is not None:
            sock, self._refusing = self._refusing, None
            await self._listen(sock)
        self._flowing.set()

    async def _set_latency(self, seconds: float) -> None:
        self._latency = seconds

    async def _set_cut(self, answer_bytes: int | None) -> None:
        self._cut_after = answer_bytes
        for connection in self._connections:
            connection.answer_bytes_left = answer_bytes

    async def _hang(self) -> None:
        self._flowing.clear()

    async def _refuse(self) -> None:
        if self._refusing is None:
            self._listener.close()
            # Bound but not listening: the kernel refuses, and nobody else can get the port.
            self._refusing = _bound(self.port)

    async def _end_connections(self) -> None:
        ending = [connection.task for connection in self._connections]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)

    async def _serve(self, requests: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(task, client, None, self._cut_after)
        self._connections.add(connection)
        try:
            await self._carry(connection, requests)
            connection.close()
        except* _Cut:
            await _end_answers(connection, requests)
        except* (OSError, asyncio.CancelledError):
            # One side was reset, so the other is. Nobody awaits this task: cancelling ends here.
            connection.reset()
        finally:
            self._connections.discard(connection)

    async def _carry(self, connection: _Connection, requests: asyncio.StreamReader) -> None:
        await self._flowing.wait()
        answers, server = await asyncio.wait_for(
            asyncio.open_connection(*self._target), _CONNECT_SECONDS
        )
        connection.server = server
        async with asyncio.TaskGroup() as group:
            for source, sink, is_answer in (
                (requests, server, False),
                (answers, connection.client, True),
            ):
                # Two tasks a direction: latency delays the bytes, it does not limit their rate.
                underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_UNDERWAY)
                group.create_task(self._take(source, underway, is_answer))
                group.create_task(self._deliver(underway, sink, connection, is_answer))

    async def _take(
        self,
        source: asyncio.StreamReader,
        underway: asyncio.Queue[tuple[float, bytes]],
        is_answer: bool,
    ) -> None:
        data = b"?"
        while data:
            data = await source.read(_CHUNK_BYTES)
            delay = 0.0 if is_answer else self._latency
            await underway.put((self._loop.time() + delay, data))

    async def _deliver(
        self,
        underway: asyncio.Queue[tuple[float, bytes]],
        sink: asyncio.StreamWriter,
        connection: _Connection,
        is_answer: bool,
    ) -> None:
        while True:
            due, data = await underway.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._flowing.wait()
            if not data:
                sink.write_eof()
                return
            left = connection.answer_bytes_left if is_answer else None
            if left is None:
                sink.write(data)
            else:
                sink.write(data[:left])
                connection.answer_bytes_left = max(0, left - len(data))
            await sink.drain()
            if is_answer and connection.answer_bytes_left == 0:
                raise _Cut


async def _end_answers(connection: _Connection, requests: asyncio.StreamReader) -> None:
    if connection.server is not None:
        _reset(connection.server)
    # FIN and not RST, which could overtake the bytes that were still allowed. The client's bytes
    # are read to their end for the same reason: closing with unread bytes would send RST.
    try:
        connection.client.write_eof()
        while await requests.read(_CHUNK_BYTES):
            pass
        connection.client.close()
    except (OSError, asyncio.CancelledError):
        _reset(connection.client)


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((_HOST, port))
    return sock


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
