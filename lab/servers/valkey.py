"""A real Valkey of one's own, for tests and benches: the server and configuration of `lrgd up`."""

from __future__ import annotations

import subprocess
import time
from typing import Self

import redis

from services.ports import free_port
from services.storage.valkey import ValkeyAddress, server_command

START_SECONDS = 10.0


class PrivateValkey:
    """Runs from `with` to the end of its block; `kill` and `start` make and mend an outage."""

    def __init__(self) -> None:
        self.address = ValkeyAddress(free_port(), "for-tests-only")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def settings(self) -> dict[str, str]:
        """Of whoever is to use it."""
        return {"redis_url": self.address.state_url, "broker_url": self.address.broker_url}

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.address.state_url, decode_responses=True)

    def start(self) -> None:
        self._process = subprocess.Popen(
            server_command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self.address.configuration())
        self._process.stdin.close()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("Valkey did not start")
            time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with self.client as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
