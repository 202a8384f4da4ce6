"""The real `lrgd` commands as processes under measurement: none outlives the bench."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.servers.tether import Account, start_tethered
from services.errors import LrgdError
from services.ports import LOOPBACK, free_port
from services.settings import PREFIX

LRGD = (sys.executable, "-m", "cli")
USAGE = Path(__file__).with_name("usage.py")
READY_SECONDS, PROBE_SECONDS, STOP_SECONDS = 30.0, 1.0, 15.0
TAIL_LINES = 15


class BenchFailed(LrgdError):
    """A figure could not be measured, or what was measured is not what was meant."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took, its start included."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run_measured(
    arguments: Sequence[str], settings: Mapping[str, str], folder: Path, *, limit_seconds: float
) -> Usage:
    """Run `lrgd ARGUMENTS` to its end."""
    report, log = folder / "usage.json", folder / "command.log"
    measured = [sys.executable, "-I", "-S", str(USAGE), str(report), *LRGD, *arguments]
    process = _start(measured, settings, log)
    try:
        failed = process.wait(limit_seconds) != 0
    except subprocess.TimeoutExpired:
        raise BenchFailed(
            f"`lrgd {arguments[0]}` was not done after {limit_seconds:.0f} s:\n{_tail(log)}"
        ) from None
    finally:
        _end(process, signal.SIGKILL)  # takes the command along
    if failed:
        raise BenchFailed(f"`lrgd {arguments[0]}` failed:\n{_tail(log)}")
    return Usage(**json.loads(report.read_text()))


class PrivateGateway:
    """`lrgd gateway` on a port of its own, from `with` to the end of its block."""

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self._settings = {**settings, "host": LOOPBACK, "port": str(self.port)}
        self._log = folder / "gateway.log"

    def __enter__(self) -> Self:
        self._process = _start([*LRGD, "gateway"], self._settings, self._log)
        try:
            self._wait_until_it_answers()
        except BaseException:
            _end(self._process, signal.SIGKILL)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _end(self._process, signal.SIGTERM)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BenchFailed(f"the gateway did not start:\n{_tail(self._log)}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            url = f"http://{LOOPBACK}:{self.port}/healthz"
            with urllib.request.urlopen(url, timeout=PROBE_SECONDS) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def _start(
    command: Sequence[str], settings: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """With these settings and no other: the caller's own are left out."""
    environment = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    environment |= {f"{PREFIX}{name.upper()}": value for name, value in settings.items()}
    ourselves = Account("keep", os.geteuid(), os.getegid())
    with log.open("wb") as output:
        return start_tethered(command, ourselves, environment, output)


def _is_setting(name: str) -> bool:
    return name.upper().startswith(PREFIX)


def _end(process: subprocess.Popen[bytes], by: signal.Signals) -> None:
    process.send_signal(by)  # does nothing to one that has ended
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
