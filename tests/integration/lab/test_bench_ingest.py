"""`lrgd bench ingest`: its figures by name, one JSON object, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

EVENTS = 2000
PROMISED = {
    "import.postgres.events_per_s",
    "import.sqlite.events_per_s",
    "endpoint.events_per_s",
    "import.rss_growth",
}


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "bench", "ingest", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        # What the caller has set is not what is measured.
        env={**os.environ, "LRGD_UNKNOWN_USERS": "refuse"},
        timeout=170,
    )


def test_it_prints_one_object_with_the_promised_figures_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    tiny = ["--events", str(EVENTS), "--runs", "1", "--seconds", "0.3", "--seed", "7"]
    done = bench(*tiny, "--folder", str(data), "--json", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.keys() == {
        *("command", "version", "seed", "engine", "seconds", "figures", "detail"),
    }
    assert told["command"] == "lrgd bench ingest"
    assert told["seed"] == 7
    assert told["figures"].keys() >= PROMISED
    for name, value in told["figures"].items():
        assert isinstance(value, float), name
        assert value > 0, name
    assert told["detail"]["postgres"]["settings"]["fsync"] == "on"
    assert {run["database"] for run in told["detail"]["runs"]} == {"sqlite", "postgres"}
    assert not list(data.iterdir())
    assert not list(elsewhere.iterdir())
    assert not [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(data) in part for part in process.info["cmdline"] or ())
    ]


@pytest.mark.parametrize("option", ["--events", "--runs", "--cores"])
def test_a_measurement_of_nothing_is_refused(option: str, tmp_path: Path) -> None:
    done = bench(option, "0", cwd=tmp_path)
    assert done.returncode == 2
    assert option in done.stderr
