"""Load on an HTTP endpoint: a few clients, each with one connection and one request in flight.

The client shares the machine with what it measures, so it does as little as HTTP/1.1 allows.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lab.bench.commands import BenchFailed
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
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


def send_rows(
    port: int, path: str, lines: list[bytes], *, batch: int, clients: int, seconds: float
) -> Load:
    """POST the lines in batches until they are all sent or the time is over. Each must land."""
    return asyncio.run(_send_rows(port, path, lines, batch, clients, seconds))


async def _send_rows(
    port: int, path: str, lines: list[bytes], batch: int, clients: int, seconds: float
) -> Load:
    load = Load()
    starts = iter(range(0, len(lines), batch))
    began = time.perf_counter()

    async def client() -> None:
        async with asyncio.timeout(seconds + REPLY_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=LONGEST_HEAD)
            try:
                for start in _until(began + seconds, starts):
                    rows = lines[start : start + batch]
                    sent = time.perf_counter()
                    answer = await _post(reader, writer, path, b"[" + b",".join(rows) + b"]")
                    load.latencies.append(time.perf_counter() - sent)
                    if answer.get("accepted") != len(rows):
                        raise BenchFailed(f"not all of {len(rows)} new rows landed: {answer}")
                    load.rows += len(rows)
            finally:
                writer.close()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
    except* BenchFailed as failures:
        raise failures.exceptions[0] from None
    except* (OSError, EOFError) as failures:
        raise BenchFailed(f"the gateway stopped answering: {failures.exceptions[0]!r}") from None
    load.seconds = time.perf_counter() - began
    return load


def _until(deadline: float, starts: Iterator[int]) -> Iterator[int]:
    while time.perf_counter() < deadline:
        start = next(starts, None)
        if start is None:
            return
        yield start


async def _post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes
) -> dict[str, Any]:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    status, *headers = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    lengths = [line[15:] for line in headers if line.lower().startswith("content-length:")]
    if not lengths:
        raise BenchFailed(f"an answer without a length: {status}")
    answer = await reader.readexactly(int(lengths[0]))
    if status.split(" ")[1] != "200":
        raise BenchFailed(f"the gateway answered {status}: {answer.decode(errors='replace')}")
    found: dict[str, Any] = json.loads(answer)
    return found
