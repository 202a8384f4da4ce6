"""The local deployment: it heals, it stops cleanly, and it refuses to start in plain words."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.deployment import Deployment, holders_of, lives

HEAL_SECONDS = 15.0
HEARTBEAT_AGE = "lrgd_worker_heartbeat_age_seconds"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("up") / "data") as deployment:
        yield deployment


def test_everything_is_ready_and_the_sample_shop_is_there(running: Deployment) -> None:
    status, readiness = running.get("/readyz")
    assert status == 200
    assert set(readiness["parts"]) == {"database", "redis", "worker", "llm"}
    status, page = running.get("/items?limit=3")
    assert status == 200
    assert len(page["items"]) == 3
    assert all(item["title"] for item in page["items"])


def test_the_lines_it_prints_work_as_pasted(running: Deployment) -> None:
    running.wait_until(lambda: "ready" in running.output, 10, "welcoming")
    lines = [line for line in running.output.splitlines() if line.strip().startswith("curl ")]
    assert len(lines) == 2
    for line in lines:
        pasted = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
        assert json.loads(pasted.stdout)["items"]


@pytest.mark.parametrize("victim", ["worker", "valkey-server", "gateway"])
def test_a_killed_child_heals_by_itself(running: Deployment, victim: str) -> None:
    killed = running.child(victim)
    assert killed is not None
    killed.kill()
    began = time.time()
    running.wait_until(
        lambda: running.child(victim) not in (None, killed), HEAL_SECONDS, f"{victim} restarted"
    )
    # The heartbeat of before may look fresh for a while: a new one proves the healing.
    began = time.time()
    running.wait_until(
        lambda: running.get("/readyz")[0] == 200 and _heartbeat_age(running) < time.time() - began,
        HEAL_SECONDS,
        "ready again",
    )


def test_a_second_one_on_the_same_data_is_refused(running: Deployment) -> None:
    second = Deployment(running.data_dir)
    second.start()
    status, output = _end_of(second)
    assert status == 2
    assert "another `lrgd up` is running" in output
    assert running.get("/readyz")[0] == 200


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_process_and_no_open_file(tmp_path: Path, sig: signal.Signals) -> None:
    data_dir = tmp_path / "data"
    with Deployment(data_dir) as deployment:
        family = deployment.family()
        assert len(family) >= 4  # Valkey, the worker and its child, the gateway
        assert holders_of(data_dir)
        assert deployment.stop(sig) == 0
    assert not [process for process in family if lives(process)]
    assert not holders_of(data_dir)


def test_a_stop_while_starting_leaves_nothing_behind(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    deployment = Deployment(data_dir)
    deployment.start()
    deployment.wait_until((data_dir / "valkey.json").exists, 30, "starting")
    assert deployment.stop() == 0
    assert not holders_of(data_dir)


def test_its_children_end_with_it_even_when_it_is_killed(tmp_path: Path) -> None:
    with Deployment(tmp_path / "data") as deployment:
        family = deployment.family()
        assert deployment.process is not None
        deployment.process.kill()
        _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    assert not holders_of(tmp_path / "data")


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with Deployment(data_dir) as deployment:
        first = deployment.get("/users/user-0001/events")
        deployment.stop()
    with Deployment(data_dir) as again:
        assert again.get("/users/user-0001/events") == first


def test_a_taken_port_is_refused_by_name(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "data")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", deployment.port))
        taken.listen()
        deployment.start()
        status, output = _end_of(deployment)
    assert status == 2
    assert f"port {deployment.port}" in output
    assert "LRGD_PORT" in output


@pytest.mark.parametrize("folder", ["a file", "a file/data"])
def test_a_data_folder_that_cannot_be_written_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a file").write_text("in the way")
    deployment = Deployment(tmp_path / folder)
    deployment.start()
    status, output = _end_of(deployment)
    assert status == 2
    assert "LRGD_DATA_DIR" in output
    assert "Traceback" not in output


def _end_of(deployment: Deployment) -> tuple[int, str]:
    assert deployment.process is not None
    return deployment.process.wait(60), deployment.output


def _heartbeat_age(deployment: Deployment) -> float:
    with urllib.request.urlopen(f"{deployment.url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    (age,) = [line.split()[1] for line in lines if line.startswith(f"{HEARTBEAT_AGE} ")]
    return float(age)
