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
from typing import Self

import redis

from lab.servers.tether import Account, start_tethered
from services.ports import LOOPBACK, free_port
from services.settings import PREFIX
from services.storage.redis import HEARTBEAT

START_SECONDS = 60.0
STOP_SECONDS = 20.0


LRGD = (sys.executable, "-m", "cli")
OURSELVES = Account("keep", os.geteuid(), os.getegid())


def environment_of(settings: Mapping[str, object], bytecode: Path) -> dict[str, str]:
    """Ours with these settings and no other: the caller's own are left out. `bytecode` keeps what
    is compiled, whatever this environment says of that: a deployment compiles once, too."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    ours["PYTHONPYCACHEPREFIX"] = str(bytecode)
    return ours | {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}


class PrivateProcess(ABC):
    """`lrgd …` with these settings and nobody else's; a test may have another `program` take the
    words. Its log is in the folder."""

    def __init__(
        self,
        words: Sequence[str],
        settings: Mapping[str, object],
        folder: Path,
        *,
        program: Sequence[str] = LRGD,
    ) -> None:
        self._command = [*program, *words]
        self._log_file = folder / f"{words[0]}.log"
        self._environment = environment_of(settings, folder / "bytecode")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "it has not been started"
        return self._process.pid

    @property
    def ended(self) -> bool:
        """By itself, or by what befell it."""
        return self._process is None or self._process.poll() is not None

    @property
    def said(self) -> str:
        return self._log_file.read_text(errors="replace")

    def launch(self) -> None:
        """Start it, and do not wait until it works."""
        with self._log_file.open("ab") as log:
            self._process = start_tethered(self._command, OURSELVES, self._environment, log)

    def start(self) -> None:
        began = time.time()
        self.launch()
        assert self._process is not None
        while not self.works(since=began):
            if self._process.poll() is not None or time.time() > began + START_SECONDS:
                self.kill()
                raise RuntimeError(f"it did not start:\n{self.said}")
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

    def __init__(self, settings: Mapping[str, object], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        super().__init__(["gateway"], {**settings, "host": LOOPBACK, "port": self.port}, folder)

    def works(self, *, since: float) -> bool:  # noqa: ARG002
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class PrivateWorker(PrivateProcess):
    """A worker with beat inside; its metrics are served on `metrics_port`."""

    def __init__(
        self,
        settings: Mapping[str, object],
        folder: Path,
        *,
        words: Sequence[str] = ("worker", "--beat"),
        program: Sequence[str] = LRGD,
    ) -> None:
        self.metrics_port = free_port()
        self._redis_url = str(settings["redis_url"])
        given = {**settings, "worker_metrics_port": self.metrics_port}
        super().__init__(words, given, folder, program=program)

    def works(self, *, since: float) -> bool:
        """A heartbeat has come through."""
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self._redis_url) as client:
            return float(client.get(HEARTBEAT) or 0) > since
        return False
