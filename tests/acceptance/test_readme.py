"""What the README tells a newcomer to type works as pasted, in a fresh copy of the repository."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.deployment import Deployment

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line]
STARTERS = ("make run", "make test")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files git would clone, as they are now, and nothing of this checkout's environment."""
    folder = tmp_path_factory.mktemp("clone") / "lrgd"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def newcomers(clone: Path) -> Iterator[Deployment]:
    """`make run` in the clone: the install, then everything up."""
    with Deployment(clone / ".lrgd", command=["make", "run"], cwd=clone) as deployment:
        yield deployment


def test_the_readme_has_the_two_commands() -> None:
    assert [command for command in COMMANDS if command in STARTERS] == list(STARTERS)


def test_the_test_command_is_the_one_that_ci_calls() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in STARTERS])
def test_a_command_of_the_readme_works_as_pasted(newcomers: Deployment, command: str) -> None:
    environment = newcomers.environment
    if shutil.which("curl") is None and command.startswith("curl"):
        pytest.fail("curl is needed to try the README's lines as they are pasted")
    done = subprocess.run(
        ["sh", "-c", command.replace("127.0.0.1:8000", f"127.0.0.1:{newcomers.port}")],
        cwd=newcomers.data_dir.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if command.startswith("curl"):
        answer = json.loads(done.stdout)
        assert "code" not in answer, answer  # a problem
    if "/recommend" in command:
        assert len(answer["items"]) == 10
        assert answer["source"] == "model"


def test_what_the_demonstration_has_learned_is_served(newcomers: Deployment) -> None:
    """After the commands above."""
    done = subprocess.run(
        [".venv/bin/lrgd", "runs", "show", "first", "--json"],
        cwd=newcomers.data_dir.parent,
        env=newcomers.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["detail"]["run"]["users"] == {"done": 3}
    assert told["figures"]["effect_d"] > told["figures"]["zero_shot_effect_d"]
    status, answer = newcomers.get("/admin/users/user-0001/demonstrations")
    assert (status, answer["active"] is not None) == (200, True)


def test_the_clone_needs_no_server_of_the_system(newcomers: Deployment) -> None:
    """The processes it started come from its own environment."""
    binaries = {Path(process.exe()) for process in newcomers.family()}
    assert binaries
    assert all(
        newcomers.data_dir.parent in binary.parents or binary.name.startswith("python")
        for binary in binaries
    )
    assert (newcomers.data_dir / "lrgd.sqlite3").exists()
