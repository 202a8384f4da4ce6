"""`lrgd lab fig9` and `collapse` on the shipped model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Done, Lrgd


class Study:
    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._given = ("lab", *arguments, "--work", str(folder), "--out", str(folder / "tables"))

    def __call__(self, *more: str) -> Done:
        return Lrgd()(*self._given, *more)

    def json(self, *more: str) -> dict[str, Any]:
        done = self(*more, "--json")
        assert done.code == 0, done.said
        told: dict[str, Any] = json.loads(done.out)
        return told

    def lines(self) -> dict[Path, str]:
        return {file: file.read_text() for file in self.folder.rglob("*.jsonl")}


def test_rounds_are_put_to_the_test_and_go_on_where_they_ended(tmp_path: Path) -> None:
    study = Study(tmp_path, "fig9", "--users", "2", "--crowd", "40")
    told = study.json("--rounds", "2")
    figures = told["figures"]
    assert figures["users"] == 2
    assert figures["unperturbed.perturbations"] == 0
    # Nothing has collapsed before the first round: both arms are one until then.
    assert figures["perturbed.ndcg@10.first"] == figures["unperturbed.ndcg@10.first"]
    assert 0 < figures["perturbed.similarity.last"] <= 1
    assert [one["round"] for one in told["detail"]["rounds"]] == [1, 2]
    kept = json.loads((tmp_path / "tables" / "runs" / "fig9.json").read_text())
    assert "| 2 |" in kept["markdown"]
    assert kept["plots"]["fig9"].startswith("<svg")

    before = study.lines()
    again = study("--rounds", "2", "--json")
    assert json.loads(again.out)["figures"] == figures
    assert study.lines() == before
    assert "tokens" not in again.said  # nothing is asked, so nothing has to be told before


def test_a_landscape_is_judged_once_and_walked_over(tmp_path: Path) -> None:
    study = Study(
        tmp_path, "collapse", "--users", "2", "--elements", "2", "--choices", "2", "--rounds", "3",
        "--walks", "4",
    )  # fmt: skip
    told = study("--json")
    assert told.code == 0, told.said
    assert "tokens" in told.said
    figures = json.loads(told.out)["figures"]
    assert figures["places"] == 4
    # As many texts as there are demonstrations, drawn without repetition.
    assert figures["random_as_many_as_pdo2.at_optimum"] == 1
    assert figures["pdo2_unperturbed.regret"] >= 0
    kept = json.loads((tmp_path / "tables" / "runs" / "collapse.json").read_text())
    assert "pdo4_window5" in kept["markdown"]
    assert kept["plots"]["collapse"].startswith("<svg")

    (first, content), *_ = study.lines().items()
    rows = content.splitlines()
    assert len(rows) == 5  # zero-shot, and all demonstrations
    first.write_text("\n".join(rows[:-1]) + "\n" + rows[-1][:20])
    again = study.json()
    assert again["figures"] == figures
    assert len(first.read_text().splitlines()) == 6  # the torn one was asked again, no other


@pytest.mark.parametrize("asked", [("--elements", "5", "--choices", "8")])
def test_a_space_that_nobody_can_judge_is_refused(tmp_path: Path, asked: tuple[str, ...]) -> None:
    done = Study(tmp_path, "collapse", *asked)()
    assert done.code == 2
    assert "--choices" in done.said
