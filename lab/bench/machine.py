"""The machine that figures are of: how much of it is used, and what else it does."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def on_cores(count: int) -> Iterator[int]:
    """Keep us, and what we start, to so many cores: figures of different machines compare."""
    if not hasattr(os, "sched_setaffinity"):
        yield os.cpu_count() or 1
        return
    allowed = os.sched_getaffinity(0)
    chosen = set(sorted(allowed)[:count])
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, allowed)


def machine(cores: int) -> dict[str, Any]:
    """What explains a figure that is out of line."""
    return {
        "cores_used": cores,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }
