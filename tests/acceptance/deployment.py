"""`lrgd up` as a person runs it: a process with a terminal's habits, seen only from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from services.ports import free_port

START_SECONDS = 90.0
STOP_SECONDS = 60.0


class Deployment:
    """The local deployment on a data folder of its own."""

    def __init__(
        self, data_dir: Path, *, command: list[str] | None = None, cwd: Path | None = None
    ) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = command or [sys.executable, "-m", "cli", "up"]
        self._cwd = cwd
        beside = next(folder for folder in data_dir.parents if folder.is_dir())
        self._printed = beside / f"printed-{self.port}.out"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("LRGD_", "MAKE", "MFLAGS"))
        }
        return clean | {"LRGD_DATA_DIR": str(self.data_dir), "LRGD_PORT": str(self.port)}

    def __enter__(self) -> Self:
        self.start()
        self.wait_until(lambda: self.get("/readyz")[0] == 200, START_SECONDS, "ready")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def start(self) -> None:
        with self._printed.open("wb") as printed:
            self.process = subprocess.Popen(
                self._command,
                env=self.environment,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._printed.read_text(errors="replace")

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop; its exit status."""
        assert self.process is not None
        self.process.send_signal(sig)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Or what is left of it disturbs the tests that follow.
            family = self.family()
            self.process.kill()  # first, for it starts anew what has ended
            self.process.wait()
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            raise AssertionError(
                f"not ended within {STOP_SECONDS:g} s:\n{self.output}\n{self.logs()}"
            ) from None

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def wait_until(self, holds: Callable[[], bool], seconds: float, what: str) -> float:
        """How long it took until it held."""
        assert self.process is not None
        began = time.monotonic()
        while not holds():
            if self.process.poll() is not None:
                raise AssertionError(f"`lrgd up` ended:\n{self.output}")
            if time.monotonic() - began > seconds:
                raise AssertionError(f"not {what} within {seconds:g} s\n{self.logs()}")
            time.sleep(0.1)
        return time.monotonic() - began

    def logs(self) -> str:
        return "\n".join(
            f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}"
            for file in (self.data_dir / "logs").glob("*.log")
        )

    def child(self, word: str) -> psutil.Process | None:
        """The direct child that lives and has this word in its command line."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if any(word in part for part in child.cmdline()):
                    return child
        return None

    def family(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)


def lives(process: psutil.Process) -> bool:
    """A zombie does not: it has ended, and only waits for its new parent to take notice."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def holders_of(folder: Path) -> list[psutil.Process]:
    """Processes that have a file of the folder open."""
    holders = []
    for process in psutil.process_iter():
        try:
            names = [file.path for file in process.open_files()]
        except psutil.Error:
            continue
        if any(Path(name).is_relative_to(folder) for name in names):
            holders.append(process)
    return holders
