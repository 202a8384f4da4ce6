"""A real gateway process of one's own, for tests and benches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from services.ports import free_port

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class PrivateGateway:
    """`lrgd gateway` with these settings (names as in the environment), on a free port that it
    keeps when it is started again."""

    def __init__(self, settings: Mapping[str, str], log_file: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log_file = log_file
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LRGD_")}
        self._environment = {**inherited, **settings, "LRGD_PORT": str(self.port)}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the gateway has not been started"
        return self._process.pid

    def start(self) -> None:
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli", "gateway"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway did not start:\n{self._log_file.read_text()}")
            time.sleep(0.02)

    def stop(self) -> int | None:
        """Ask it to stop, and wait until it has drained; its exit status."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill(self) -> None:
        assert self._process is not None, "the gateway has not been started"
        process, self._process = self._process, None
        process.kill()
        process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=1) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False
