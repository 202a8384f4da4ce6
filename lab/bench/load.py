"""Load on an HTTP endpoint: a few clients, each with one connection and one request in flight.

The client shares the machine with what it measures, so it does as little as HTTP/1.1 allows.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Self

from lab.bench.commands import BenchFailed
from lab.bench.timing import at_quantile
from services.ports import LOOPBACK

REPLY_SECONDS = 30.0
LONGEST_HEAD = 1 << 16


@dataclass(slots=True)
class Load:
    """What was sent and answered."""

    rows: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds

    def latency_ms(self, quantile: float) -> float:
        return 1000 * at_quantile(self.latencies, quantile)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send, by how many clients at once, and for how long at most."""

    port: int
    path: str
    clients: int
    seconds: float

    def send(self, lines: Sequence[bytes], *, batch: int) -> Load:
        """POST the rows, each a JSON object, in batches until all are sent or the time is over.
        All are new, and each must land."""
        return asyncio.run(self._send(lines, batch))

    async def _send(self, lines: Sequence[bytes], batch: int) -> Load:
        load = Load()
        began = time.perf_counter()
        batches = _until(
            began + self.seconds,
            (lines[start : start + batch] for start in range(0, len(lines), batch)),
        )
        try:
            async with asyncio.timeout(self.seconds + REPLY_SECONDS), asyncio.TaskGroup() as group:
                for _ in range(self.clients):
                    group.create_task(self._client(batches, load))
        except* BenchFailed as failures:
            raise BenchFailed(str(failures.exceptions[0])) from None
        except* (OSError, EOFError) as failures:
            raise BenchFailed(f"the gateway broke off: {failures.exceptions[0]!r}") from None
        load.seconds = time.perf_counter() - began
        return load

    async def _client(self, batches: Iterator[Sequence[bytes]], load: Load) -> None:
        async with Connection(self.port) as connection:
            for rows in batches:
                began = time.perf_counter()
                answer = await connection.post(self.path, b"[" + b",".join(rows) + b"]")
                load.latencies.append(time.perf_counter() - began)
                if answer.get("accepted") != len(rows):
                    raise BenchFailed(f"{len(rows)} new rows were sent; the answer: {answer}")
                load.rows += len(rows)


class Connection:
    """One connection to a gateway of this machine, with one request in flight at most."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            LOOPBACK, self._port, limit=LONGEST_HEAD
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def post(self, path: str, body: bytes) -> dict[str, Any]:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        status, *headers = (
            (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        )
        lengths = [line[15:] for line in headers if line.lower().startswith("content-length:")]
        if not lengths:
            raise BenchFailed(f"an answer without a length: {status}")
        answer = await self._reader.readexactly(int(lengths[0]))
        if status.split(" ")[1] != "200":
            raise BenchFailed(f"the gateway answered {status}: {answer.decode(errors='replace')}")
        found: dict[str, Any] = json.loads(answer)
        return found


def _until(deadline: float, batches: Iterable[Sequence[bytes]]) -> Iterator[Sequence[bytes]]:
    return takewhile(lambda _batch: time.perf_counter() < deadline, batches)
