"""The real `lrgd` commands, measured as they run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.servers.processes import LRGD, OURSELVES, environment_of
from lab.servers.tether import start_tethered
from services.errors import LrgdError

USAGE = Path(__file__).with_name("usage.py")
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
    arguments: Sequence[str], settings: Mapping[str, object], folder: Path, *, limit_seconds: float
) -> Usage:
    """Run `lrgd ARGUMENTS` to its end. `folder` keeps the log, and bytecode for the next start."""
    report, log = folder / "usage.json", folder / "command.log"
    measured = [sys.executable, "-I", "-S", str(USAGE), str(report), *LRGD, *arguments]
    environment = environment_of(settings, folder / "bytecode")
    with log.open("wb") as output:
        process = start_tethered(measured, OURSELVES, environment, output)
    try:
        failed = process.wait(limit_seconds) != 0
    except subprocess.TimeoutExpired:
        raise BenchFailed(
            f"`lrgd {arguments[0]}` was not done after {limit_seconds:.0f} s:\n{_tail(log)}"
        ) from None
    finally:
        process.kill()  # takes the command along
        process.wait()
    if failed:
        raise BenchFailed(f"`lrgd {arguments[0]}` failed:\n{_tail(log)}")
    return Usage(**json.loads(report.read_text()))


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
