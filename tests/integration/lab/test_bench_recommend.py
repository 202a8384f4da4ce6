"""`lrgd bench recommend`: its figures by name, one JSON object, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

MODES = ("first_token", "generate", "likelihood")
PROMISED = {
    f"{mode}.{cache}.{figure}"
    for mode in MODES
    for cache in ("cold", "cached")
    for figure in ("p50_ms", "p99_ms", "rps8")
} | {
    *("ratio.cold", "ratio.cached"),
    *("overhead.p50", "overhead.p50_ms", "overhead.throughput8"),
    *("fallback.p99_ms", "store.p99_ratio.1e6", "store.redis_gib_per_million_users"),
}
SMALLEST = ("--quick", "--requests", "2", "--rounds", "1", "--users", "1000", "--lookups", "100")


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "bench", "recommend", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        # What the caller has set is not what is measured.
        env={**os.environ, "LRGD_RANKING_CANDIDATES": "5"},
        timeout=170,
    )


def test_it_prints_one_object_with_the_promised_figures_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    servers = valkeys()
    done = bench(*SMALLEST, "--seed", "7", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["command"], told["engine"], told["seed"]) == ("lrgd bench recommend", "onnx", 7)
    assert told["figures"].keys() >= PROMISED
    for name, value in told["figures"].items():
        assert isinstance(value, float), name
        assert math.isfinite(value), name
    rows = {(row["mode"], row["cache"], row["clients"]): row for row in told["detail"]["modes"]}
    assert rows.keys() == {
        (mode, cache, clients)
        for mode in MODES
        for cache in ("cold", "cached")
        for clients in (1, 8, 32)
    }
    for (mode, cache, _), row in rows.items():
        assert (row["cached_tokens"] == 0) == (cache == "cold"), row
        assert (row["completion_tokens"] >= 10) == (mode == "generate"), row
    assert told["detail"]["fallback"]["reasons"].keys() <= {"circuit_open", "unavailable"}
    assert told["detail"]["store"]["a_state_holds"]["variants"] == 1
    assert not list(tmp_path.iterdir())
    assert valkeys() <= servers


def valkeys() -> set[int]:
    """Servers that this process, or a child of it, has started and not ended."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # or it has ended, and is a zombie
            if "valkey" in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


@pytest.mark.parametrize("option", ["--requests", "--rounds", "--cores"])
def test_a_measurement_of_nothing_is_refused(option: str, tmp_path: Path) -> None:
    done = bench(option, "0", cwd=tmp_path)
    assert done.returncode == 2
    assert option in done.stderr


def test_a_server_needs_the_name_of_its_model(tmp_path: Path) -> None:
    done = bench("--engine", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 2
    assert "--model" in done.stderr
