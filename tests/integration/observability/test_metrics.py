"""One registry, whether one process counts in it or several share it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.observability.metrics import Metrics, NoLabels, ResponseLabels, RowLabels

SHARE = """
import sys
from pathlib import Path
from services.observability.sharing import share_metrics
share_metrics(Path(sys.argv[1]))
"""
COUNT = """
import sys
from services.observability.metrics import *
metrics = Metrics()
metrics.http_requests.add(ResponseLabels("GET", "/items", "200"), 2)
metrics.http_in_flight.add(NoLabels(), 1)
metrics.heartbeat_age.set(NoLabels(), float(sys.argv[1]))
metrics.http_seconds.observe(RouteLabels("GET", "/items"), 0.2)
if sys.argv[2] == "stay":
    print("ready", flush=True)
    sys.stdin.read()
"""
RENDER = """
import sys
from services.observability.metrics import Metrics
sys.stdout.buffer.write(Metrics().render())
"""


def run(program: str, *arguments: str, folder: Path | None = None) -> str:
    environment = {**os.environ}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if folder:
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_alone_renders_what_it_counted() -> None:
    metrics = Metrics()
    metrics.rows.add(RowLabels("events", "accepted"), 3)
    metrics.http_in_flight.add(NoLabels(), 1)
    text = metrics.render().decode()
    assert 'lrgd_catalog_rows_total{kind="events",status="accepted"} 3.0' in text
    assert "lrgd_http_requests_in_flight 1.0" in text


def test_two_registries_in_one_process_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.http_requests.add(ResponseLabels("GET", "/items", "200"))
    assert b"/items" not in second.render()


def test_every_metric_is_ours_by_name_and_says_what_it_is() -> None:
    families = list(text_string_to_metric_families(Metrics().render().decode()))
    assert len(families) > 10
    for family in families:
        assert re.fullmatch(r"lrgd_[a-z_]+", family.name)
        assert family.documentation.endswith(".") or " " in family.documentation
        assert family.type in ("counter", "gauge", "histogram")


def test_processes_that_share_a_folder_add_up(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    run(SHARE, str(folder))
    for age in ("7", "9"):
        run(COUNT, age, "go", folder=folder)
    text = run(RENDER, folder=folder)
    assert 'lrgd_http_requests_total{method="GET",route="/items",status="200"} 4.0' in text
    assert 'lrgd_http_request_seconds_count{method="GET",route="/items"} 2.0' in text
    assert "lrgd_worker_heartbeat_age_seconds 9.0" in text, "the latest of all"


async def test_what_a_process_was_doing_is_forgotten_when_it_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    run(SHARE, str(folder))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COUNT, "1", "stay"),
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    assert "lrgd_http_requests_in_flight 1.0" in run(RENDER, folder=folder)
    process.kill()
    await process.communicate()
    text = run(RENDER, folder=folder)
    assert "lrgd_http_requests_in_flight 1.0" not in text
    assert 'lrgd_http_requests_total{method="GET",route="/items",status="200"} 2.0' in text


def test_a_folder_is_shared_anew_by_every_start(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    run(SHARE, str(folder))
    run(COUNT, "1", "go", folder=folder)
    run(SHARE, str(folder))
    assert "lrgd_http_requests_total{" not in run(RENDER, folder=folder)


def test_to_share_after_counting_has_begun_is_refused(tmp_path: Path) -> None:
    from services.observability.sharing import share_metrics  # noqa: PLC0415

    with pytest.raises(RuntimeError, match="already imported"):
        share_metrics(tmp_path / "metrics")
