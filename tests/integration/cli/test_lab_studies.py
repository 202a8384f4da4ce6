"""Studies as people and scripts use them: a few users of the generated shop, and lrgd-mini."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Done, Lrgd


class Studies:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept = ("--out", str(folder / "out"), "--work", str(folder / "work"))

    def __call__(self, name: str, *more: str) -> Done:
        return Lrgd()("lab", name, *more, *self._kept)

    def json(self, name: str, *more: str) -> dict[str, Any]:
        done = self(name, *more, "--json")
        assert done.code == 0, done.said
        told: dict[str, Any] = json.loads(done.out) | {"said": done.said}
        return told

    def run(self, name: str) -> dict[str, Any]:
        kept: dict[str, Any] = json.loads(
            (self.folder / "out" / "runs" / f"{name}.json").read_text()
        )
        return kept


@pytest.fixture
def studies(tmp_path: Path) -> Studies:
    return Studies(tmp_path)


def test_texts_are_judged_on_validation_and_test_and_told_again_from_what_is_kept(
    studies: Studies,
) -> None:
    asked = ("--users", "3", "--texts", "3", "--rounds", "1")
    told = studies.json("effect-correlation", *asked)
    assert "tokens" in told["said"]  # what it will cost, before it begins
    figures = told["figures"]
    assert figures["users"] == 3
    assert -1 <= figures["within.generated.log_score"] <= 1
    assert {one["set"] for one in told["detail"]["within"]} >= {"generated", "learned", "own"}
    (lines,) = (studies.folder / "work").glob("effect-correlation-*.jsonl")
    row = json.loads(lines.read_text().splitlines()[0])
    assert len(row["zero_shot"]["held_out"]) == 3
    kept = studies.run("effect-correlation")
    assert kept["plots"]["effect-correlation"].startswith("<svg")

    # The last line is torn: that user alone is asked again, and the answer is the same.
    lines.write_text(lines.read_text()[:-40])
    assert studies.json("effect-correlation", *asked)["figures"] == figures


def test_validation_and_test_files_can_be_asked_about_too(studies: Studies) -> None:
    data = studies.folder / "data"
    done = Lrgd()(
        "lab", "shop", "split", "--users", "3", "--crowd", "60",
        "--out", str(data / "test-uniform-3.jsonl"),
    )  # fmt: skip
    assert done.code == 0, done.said
    told = studies.json(
        "effect-correlation", "--data", str(data), "--users", "3", "--texts", "3", "--rounds", "1"
    )
    assert told["figures"]["held_out"] == 1
    assert studies.run("effect-correlation-data")["markdown"].startswith("### data: 3 users")
    for file in data.glob("valid-*"):
        file.unlink()
    refused = studies("effect-correlation", "--data", str(data))
    assert refused.code == 2
    assert "lrgd lab data split" in refused.said


def test_a_stream_with_a_change_is_asked_about_event_by_event(studies: Studies) -> None:
    asked = ("--users", "2", "--before", "2", "--after", "4", "--rounds", "1", "--every", "4")
    told = studies.json("drift", *asked)
    by_event = told["detail"]["by_event"]
    steps = {one["step"] for one in by_event if one["condition"] == "changed"}
    assert steps == set(range(-2, 5))
    before = {
        (one["condition"], one["arm"], one["step"]): one["mean"]
        for one in by_event
        if one["step"] < 0
    }
    for (_, arm, step), mean in before.items():
        assert before["changed", arm, step] == before["unchanged", arm, step] == mean
    assert "change" in studies.run("drift")["plots"]["drift"]
    # Kept rows tell it again, without databases.
    for file in (studies.folder / "work").rglob("*.sqlite3*"):
        file.unlink()
    assert studies.json("drift", *asked)["figures"] == told["figures"]


def test_lists_leave_the_candidates_where_these_are_not_shown_and_never_under_a_structure(
    studies: Studies,
) -> None:
    told = studies.json("hallucination", "--users", "3", "--texts", "1", "--rounds", "1")
    figures = told["figures"]
    assert figures["structured.leaves"] == 0
    assert figures["unlisted.leaves"] > 0
    assert figures["unlisted.loosely_malformed"] < figures["unlisted.malformed"]
    sets = {one["set"] for one in told["detail"]["lists"]}
    assert sets >= {"none", "generated", "others"}
    assert "| unlisted | all |" in studies.run("hallucination")["markdown"]
