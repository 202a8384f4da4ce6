"""`lrgd lab table2` as people and scripts use it, on users of the generated shop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Done, Lrgd

USERS = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    done = Lrgd()(
        "lab", "shop", "split", "--users", str(USERS), "--crowd", "60",
        "--out", str(folder / "test-uniform-8.jsonl"),
    )  # fmt: skip
    assert done.code == 0, done.said
    return folder


class Table2:
    def __init__(self, data: Path, out: Path) -> None:
        self.out = out
        self._given = ("lab", "table2", "--data", str(data), "--out", str(out))

    def __call__(self, *more: str) -> Done:
        return Lrgd()(*self._given, *more)

    def json(self, *more: str) -> dict[str, Any]:
        done = self(*more, "--json")
        assert done.code == 0, done.said
        told: dict[str, Any] = json.loads(done.out)
        return told


COUNTED = ("--row", "popularity", "--row", "covisit")
ASKED = ("--row", "zero_shot", "--row", "icl_nearest", "--row", "zero_shot_fused")


@pytest.fixture
def table2(data: Path, tmp_path: Path) -> Table2:
    return Table2(data, tmp_path / "tables")


def test_rows_are_kept_and_come_again_without_being_run(table2: Table2) -> None:
    told = table2.json(*COUNTED, *ASKED, "--engine", "onnx")
    figures = told["figures"]
    assert figures["uniform.zero_shot.users"] == USERS
    assert figures["uniform.covisit.gauc"] > 0.5
    assert 0 <= figures["uniform.icl_nearest.harm_rate"] <= 1
    # Scores are not needed for it, nor is the engine.
    shutil.rmtree(table2.out / "scores")
    again = table2.json(*COUNTED, *ASKED)
    assert again["figures"] == figures


def test_only_what_is_kept_can_be_told_and_reported(table2: Table2, tmp_path: Path) -> None:
    refused = table2("--kept")
    assert refused.code == 2
    assert "without --kept" in refused.said
    table2.json("--row", "popularity")
    told = table2.json("--kept")
    assert "covisit" in told["detail"]["missing"]
    results = tmp_path / "results.md"
    done = Lrgd()("lab", "report", "--out", str(table2.out), "--to", str(results))
    assert done.code == 0, done.said
    assert "| popularity |" in results.read_text()


def test_a_recheck_asks_anew_and_finds_the_same_ranks(table2: Table2) -> None:
    told = table2.json("--row", "zero_shot", "--engine", "onnx", "--users", "4", "--recheck", "3")
    assert told["figures"] == {"uniform.zero_shot.rechecked": 3.0, "uniform.zero_shot.differ": 0.0}


def test_a_recheck_finds_what_was_tampered_with(table2: Table2) -> None:
    table2.json(*COUNTED)
    for file in (table2.out / "rows").rglob("covisit.json"):
        kept = json.loads(file.read_text())
        file.write_text(json.dumps(kept | {"ranks": [50] * USERS}))
    told = table2.json("--row", "covisit", "--recheck", str(USERS))
    assert told["figures"]["uniform.covisit.differ"] >= 1


def test_people_get_markdown_for_a_document(table2: Table2) -> None:
    done = table2(*COUNTED, "--markdown")
    assert done.out.startswith("### Candidates: uniform")
    assert "| popularity |" in done.out


def test_a_report_needs_a_table_that_was_run(tmp_path: Path) -> None:
    done = Lrgd()("lab", "report", "--out", str(tmp_path), "--to", str(tmp_path / "results.md"))
    assert done.code == 2
    assert "lrgd lab table2" in done.said


def test_an_ablation_learns_and_ranks_like_the_method(table2: Table2, data: Path) -> None:
    done = Lrgd()(
        "lab", "table5", "--data", str(data), "--out", str(table2.out), "--engine", "onnx",
        "--users", "1", "--row", "reveals_validation", "--json",
    )  # fmt: skip
    assert done.code == 0, done.said
    figures = json.loads(done.out)["figures"]
    assert figures["uniform.reveals_validation.users"] == 1


def test_an_unknown_row_is_named(table2: Table2) -> None:
    done = table2("--row", "sasrek")
    assert done.code == 2
    assert "sasrek" in done.said


def test_a_folder_without_candidates_files_is_refused(tmp_path: Path) -> None:
    done = Table2(tmp_path, tmp_path)(*COUNTED)
    assert done.code == 2
    assert "test-*.jsonl" in done.said
