"""The `lrgd` command with settings of its own: in this process, or where it matters in another."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import pytest
import structlog

from cli.main import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    said: str


class Lrgd:
    def __init__(self, **settings: str) -> None:
        self._settings = settings

    def with_settings(self, **more: str) -> Self:
        return type(self)(**{**self._settings, **more})

    @property
    def _environment(self) -> dict[str, str]:
        outer = {k: v for k, v in os.environ.items() if not k.startswith(("LRGD_", "PROMETHEUS_"))}
        return {**outer, "COLUMNS": "400", **self._settings}

    def __call__(self, *arguments: str) -> Done:
        out, said = _text(), _text()
        with (
            pytest.MonkeyPatch.context() as patched,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(said),
        ):
            for name, value in self._environment.items():
                patched.setenv(name, value)
            patched.setattr(sys, "argv", ["lrgd", *arguments])
            try:
                main()
                code: object = 0
            except SystemExit as ended:
                code = ended.code
        return Done(int(str(code or 0)), _written(out), _written(said))

    def process(self, *arguments: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def _text() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


@pytest.fixture(autouse=True)
def _logging_undone() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)
