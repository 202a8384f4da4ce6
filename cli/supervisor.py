"""Child processes that are started in order, kept alive, and stopped in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from services.errors import LrgdError
from services.observability.logging import get_logger

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
STEADY_SECONDS = 30.0  # a child that lived this long starts again without a pause
CHECK_EVERY = 0.5
TAIL_LINES = 15
PR_SET_PDEATHSIG = 1
# Found here: between fork and exec, nothing may wait for a lock that a thread of the parent held.
PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

log = get_logger(__name__)


class StartFailed(LrgdError):
    """A child did not become ready. The message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Child:
    """What to run, and how to tell that it works."""

    name: str
    command: list[str]
    is_healthy: Callable[[], Awaitable[bool]]
    log_file: Path
    stdin: bytes | None = None
    start_seconds: float = 30.0
    # A child that lives but does not work for so long is ended and started again.
    unhealthy_seconds: float = 6.0
    stop_seconds: float = 15.0


@dataclass(slots=True)
class Running:
    child: Child
    process: asyncio.subprocess.Process
    began: float = field(default_factory=time.monotonic)


class Supervisor:
    def __init__(self, *, on_restart: Callable[[str], None] = lambda _name: None) -> None:
        # Those that were started side by side, and before them those that they need.
        self._started: list[list[Running]] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._on_restart = on_restart

    async def start(self, *children: Child) -> None:
        """Start children side by side and return when all of them work."""
        beside: list[Running] = []
        self._started.append(beside)
        for child in children:
            beside.append(Running(child, await _spawn(child)))  # noqa: PERF401 - stop sees each
        await asyncio.gather(*map(self._until_ready, beside))
        self._watchers += [asyncio.create_task(self._watch(running)) for running in beside]

    async def stop(self) -> None:
        """End the children, the last started first, by request and then by force."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        while self._started:
            await asyncio.gather(*map(_end, self._started[-1]))
            self._started.pop()

    async def _until_ready(self, running: Running) -> None:
        child = running.child
        deadline = time.monotonic() + child.start_seconds
        while not await child.is_healthy():
            if running.process.returncode is not None:
                raise StartFailed(f"{child.name} ended as it started:\n{_tail(child.log_file)}")
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{child.name} was not ready within {child.start_seconds:g} s:\n"
                    f"{_tail(child.log_file)}"
                )
            await asyncio.sleep(0.05)

    async def _watch(self, running: Running) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._until_broken(running)
            await _kill_group(running.process)
            if time.monotonic() - running.began > STEADY_SECONDS:
                pause = FIRST_PAUSE
            self._on_restart(running.child.name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            running.process = await _spawn(running.child)
            running.began = time.monotonic()

    async def _until_broken(self, running: Running) -> None:
        """Returns when the child has ended, or has not worked for too long."""
        child = running.child
        worked_at = time.monotonic() + child.start_seconds - child.unhealthy_seconds
        while running.process.returncode is None:
            await asyncio.sleep(CHECK_EVERY)
            if await child.is_healthy():
                worked_at = time.monotonic()
            elif time.monotonic() - worked_at > child.unhealthy_seconds:
                log.warning("child_not_working", child=child.name)
                return


async def _spawn(child: Child) -> asyncio.subprocess.Process:
    child.log_file.parent.mkdir(parents=True, exist_ok=True)
    with child.log_file.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *child.command,
            stdin=asyncio.subprocess.PIPE
            if child.stdin is not None
            else asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A session of its own: Ctrl-C reaches us alone, and its children end with it.
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    if child.stdin is not None:
        assert process.stdin is not None
        process.stdin.write(child.stdin)
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        process.stdin.close()
    return process


async def _end(running: Running) -> None:
    if running.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            running.process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running.process.wait(), running.child.stop_seconds)
    await _kill_group(running.process)


async def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Whatever is left of a child and of the processes it made."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _end_with_parent() -> None:
    """Runs in the child: when we are killed outright, it is told to stop as well."""
    assert PRCTL is not None
    PRCTL(PR_SET_PDEATHSIG, signal.SIGTERM)


def _tail(log_file: Path) -> str:
    try:
        lines = log_file.read_text(errors="replace").splitlines()
    except OSError:
        return "(it wrote no log)"
    return "\n".join(lines[-TAIL_LINES:])
