"""Calls of the database and of Redis that come to their end though nobody waits for them any more.

A connection that is broken off in the middle of a call still answers, to an event loop that may be
gone by then; and what goes on after the services are closed opens connections that nobody closes.
So what runs in the background is stopped between its calls, and waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Protocol, TypeVar

AT_MOST_SECONDS = 5.0

Result = TypeVar("Result")


class Closing(Protocol):
    async def aclose(self) -> None: ...


async def close_all(background: Iterable[Closing]) -> None:
    """All at once, so that what they wait does not add up; each to its end, whatever befalls
    another."""
    closings = (one.aclose() for one in background)
    for ended in await asyncio.gather(*closings, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


class Unbroken:
    """Made inside the event loop that uses it; `aclose` waits for what is under way."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return await asyncio.shield(self.begin(work))

    def begin(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Nobody needs to wait for it."""
        task = asyncio.create_task(work)
        self.take(task)
        return task

    def take(self, task: asyncio.Task[Any]) -> None:
        """One that somebody else began and no longer waits for."""
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    async def aclose(self) -> None:
        if not self._under_way:
            return
        _, late = await asyncio.wait(set(self._under_way), timeout=AT_MOST_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # for whoever waited; where nobody does, it matters to nobody
