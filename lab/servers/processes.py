"""Real processes of the product of one's own, for tests and benches."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from services.ports import free_port
from services.storage.redis import HEARTBEAT

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class PrivateProcess(ABC):
    """`lrgd …` with these settings (names as in the environment) and nobody else's."""

    def __init__(self, words: Sequence[str], settings: Mapping[str, str], log_file: Path) -> None:
        self._command = [sys.executable, "-m", "cli", *words]
        self._log_file = log_file
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LRGD_")}
        self._environment = {**inherited, **settings}
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
        assert self._process is not None, "it has not been started"
        return self._process.pid

    def start(self) -> None:
        began = time.time()
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not self.works(since=began):
            if self._process.poll() is not None or time.time() > began + START_SECONDS:
                self.kill()
                raise RuntimeError(f"it did not start:\n{self._log_file.read_text()}")
            time.sleep(0.02)

    def stop(self) -> int | None:
        """Ask it to stop, and wait until it has; its exit status."""
        if self._process is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and the processes it made, at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @abstractmethod
    def works(self, *, since: float) -> bool:
        """Whether it does its work now, as it was started at this time."""


class PrivateGateway(PrivateProcess):
    """On a free port, which it keeps when it is started again."""

    def __init__(self, settings: Mapping[str, str], log_file: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(["gateway"], {**settings, "LRGD_PORT": str(self.port)}, log_file)

    def works(self, *, since: float) -> bool:  # noqa: ARG002
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class PrivateWorker(PrivateProcess):
    """A worker with beat inside; its metrics are served on `metrics_port`."""

    def __init__(self, settings: Mapping[str, str], log_file: Path) -> None:
        self.metrics_port = free_port()
        self._redis_url = settings["LRGD_REDIS_URL"]
        super().__init__(
            ["worker", "--beat"],
            {**settings, "LRGD_WORKER_METRICS_PORT": str(self.metrics_port)},
            log_file,
        )

    def works(self, *, since: float) -> bool:
        """A heartbeat has come through."""
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self._redis_url) as client:
            return float(client.get(HEARTBEAT) or 0) > since  # type: ignore[arg-type]
        return False
