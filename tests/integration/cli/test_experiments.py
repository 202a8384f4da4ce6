"""`lrgd experiments`: started from a file, shown, stopped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Lrgd

DOCUMENT = (Path(__file__).parents[3] / "docs" / "experiments.md").read_text()


@pytest.fixture
def lrgd(database_url: str, tmp_path: Path) -> Lrgd:
    return Lrgd(LRGD_DATABASE_URL=database_url, LRGD_DATA_DIR=str(tmp_path))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The example of the document."""
    found = re.search(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found
    path = tmp_path / "experiment.json"
    path.write_text(found[1])
    return path


def test_an_experiment_is_started_listed_shown_and_stopped(lrgd: Lrgd, file: Path) -> None:
    wanted = json.loads(file.read_text())
    name, arms = wanted["experiment_id"], [arm["name"] for arm in wanted["arms"]]
    for _ in range(2):
        started = lrgd("experiments", "start", str(file), "--json")
        assert started.code == 0, started.said
        assert json.loads(started.out)["state"] == "running"
    (row,) = json.loads(lrgd("experiments", "list", "--json").out)
    assert (row["experiment_id"], [arm["name"] for arm in row["arms"]]) == (name, arms)
    assert name in lrgd("experiments", "list").out

    report = json.loads(lrgd("experiments", "show", name, "-k", "5", "--json").out)
    assert (report["k"], [one["replies"] for one in report["arms"]]) == (5, [0] * len(arms))
    table = lrgd("experiments", "show", name).out
    assert all(arm in table for arm in arms)
    assert "hit rate@10" in table

    assert lrgd("experiments", "stop", name).code == 0
    assert json.loads(lrgd("experiments", "list", "--json").out)[0]["state"] == "stopped"
    unknown = lrgd("experiments", "show", "another")
    assert unknown.code == 2
    assert "lrgd experiments list" in unknown.said


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is not valid JSON"),
        ('{"experiment_id": "e"}', "arms: is missing"),
        (
            '{"experiment_id": "e", "arms": [{"name": "a", "share": 0.5},'
            ' {"name": "b", "share": 0.2}]}',
            "add up to 0.7",
        ),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_plain_line(
    lrgd: Lrgd, file: Path, content: str, complaint: str
) -> None:
    file.write_text(content)
    refused = lrgd("experiments", "start", str(file))
    assert refused.code == 2
    assert refused.said.startswith("lrgd: ")
    assert complaint in refused.said
    assert "Traceback" not in refused.said
