"""`lrgd bench optimize`: its figures by name, one JSON object, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROMISED = {
    "speedup.wall",
    "workers2.speedup",
    "workers4.speedup",
    "user_round.calls",
    "user_round.uncached_prompt_tokens",
    "user_round.completion_tokens",
    "user_round.seconds",
}


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "bench", "optimize", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=580,
    )


@pytest.mark.long
@pytest.mark.timeout(600)  # a dozen processes start one after another, and others share the machine
def test_it_prints_one_object_with_the_promised_figures_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    done = bench("--quick", "--users", "1", "--seed", "7", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["command"] == "lrgd bench optimize"
    assert told["seed"] == 7
    assert told["engine"] == "scripted"
    assert told["figures"].keys() >= PROMISED
    for name, value in told["figures"].items():
        assert isinstance(value, float), name
        assert value > 0, name
    assert told["detail"]["engine"]["slots"] == 16
    assert {crew["workers"] for crew in told["detail"]["crews"].values()} == {1, 2, 4}
    assert not list(tmp_path.iterdir())


def test_an_engine_that_is_none_is_refused(tmp_path: Path) -> None:
    done = bench("--engine", "none", cwd=tmp_path)
    assert done.returncode == 2
    assert "--engine" in done.stderr
