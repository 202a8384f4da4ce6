"""Folders for the data of short-lived servers: in memory where there is room, and never left over.

A process that is killed cannot remove its folder, so the next one does. A folder is in use as long
as someone holds the lock on its lock file, and the kernel drops that lock with its holder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_MEMORY = Path("/dev/shm")  # noqa: S108  # mkdtemp makes the folder
_ENOUGH_BYTES = 1 << 30
_LOCK = "in-use.lock"
# A folder this young may belong to someone who has not locked it yet.
_YOUNG_SECONDS = 60.0


class ScratchFolder:
    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        self._prefix = prefix
        self._parent = parent or _roomy_parent()

    def __enter__(self) -> Self:
        _remove_leftovers(self._parent, self._prefix)
        self.path = Path(tempfile.mkdtemp(prefix=self._prefix, dir=self._parent))
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _roomy_parent() -> Path:
    # Not only for speed: ext4 looks long for a free inode after many files were deleted, and that
    # makes a database from a template take 200 to 400 ms instead of 15 once some were dropped.
    try:
        room = os.statvfs(_MEMORY)
    except OSError:
        return Path(tempfile.gettempdir())
    # Containers often have 64 MB there.
    if os.access(_MEMORY, os.W_OK) and room.f_bavail * room.f_frsize >= _ENOUGH_BYTES:
        return _MEMORY
    return Path(tempfile.gettempdir())


def _remove_leftovers(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            state = os.fstat(lock)
            ours = state.st_uid == os.geteuid()
            if ours and time.time() - state.st_mtime > _YOUNG_SECONDS:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
