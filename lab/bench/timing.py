"""Calls timed one by one, made by some clients at once: each makes the next as soon as it has its
answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from lab.bench.commands import BenchFailed
from services.errors import LrgdError

Given = TypeVar("Given")


@dataclass(slots=True)
class Timed:
    """`seconds` from the first call to the last answer; of each call beside it."""

    seconds: float = 0.0
    calls: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.calls) / self.seconds

    def ms(self, quantile: float) -> float:
        return 1000 * at_quantile(self.calls, quantile)


async def by_clients(
    clients: int, given: Iterable[Given], call: Callable[[Given], Awaitable[object]]
) -> Timed:
    """Of all that is given, each once. The first error of ours ends it."""
    timed = Timed()
    left = iter(given)
    began = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(_client(left, call, timed))
    except* (OSError, EOFError) as failures:
        raise BenchFailed(f"a server broke off: {failures.exceptions[0]!r}") from None
    except* LrgdError as failures:
        raise failures.exceptions[0] from None
    timed.seconds = time.perf_counter() - began
    return timed


def at_quantile(values: Sequence[float], quantile: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


async def _client(
    left: Iterator[Given], call: Callable[[Given], Awaitable[object]], timed: Timed
) -> None:
    for one in left:
        began = time.perf_counter()
        await call(one)
        timed.calls.append(time.perf_counter() - began)
