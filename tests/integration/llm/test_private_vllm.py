"""A vLLM of one's own goes with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lab.servers.vllm import PrivateVllm, VllmFailed
from services.settings import SHIPPED_MODEL

ENVIRONMENT = os.environ.get("VLLM_ENVIRONMENT")

_OWNER = """
import sys, time
from pathlib import Path
from lab.servers.vllm import PrivateVllm
with PrivateVllm(Path(sys.argv[1]), environment=Path(sys.argv[2])) as server:
    print(server.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.vllm
@pytest.mark.timeout(400)
def test_no_process_of_it_outlives_an_owner_that_is_killed() -> None:
    command = [sys.executable, "-c", _OWNER, str(SHIPPED_MODEL), str(ENVIRONMENT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        server = psutil.Process(int(owner.stdout.readline()))
        processes = [server, *server.children(recursive=True)]
        assert len(processes) > 1
        owner.send_signal(signal.SIGKILL)
        gone, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive
    assert len(gone) == len(processes)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(VllmFailed, match="is not a Python environment"):
        PrivateVllm(tmp_path, environment=tmp_path).__enter__()

    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho no such model; exit 3\n")
    python.chmod(0o755)
    started = time.monotonic()
    with pytest.raises(VllmFailed, match="no such model"):
        PrivateVllm(tmp_path, environment=tmp_path).__enter__()
    assert time.monotonic() - started < 20
