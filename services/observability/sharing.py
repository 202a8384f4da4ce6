"""Sharing metrics among the processes of one deployable, decided before prometheus is imported."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics(folder: Path) -> None:
    """Called once by the parent process, with a folder that no other deployable uses."""
    if "prometheus_client" in sys.modules:
        raise RuntimeError("prometheus_client is already imported: its numbers stay in one process")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[FOLDER] = str(folder)


def shared_folder() -> Path | None:
    folder = os.environ.get(FOLDER)
    return Path(folder) if folder else None


def forget_dead_processes(folder: Path) -> None:
    """Drop the live gauges of processes that have ended, whichever way they ended."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not _lives(int(pid)):
            file.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
