"""`lrgd lab trials` and `table3` as people and scripts use them, beside what table2 has kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Lrgd

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


class Lab:
    def __init__(self, data: Path, out: Path) -> None:
        self.out = out
        self._given = ("--data", str(data), "--out", str(out))

    def __call__(self, command: str, *more: str) -> dict[str, Any]:
        done = Lrgd()("lab", command, *self._given, *more, "--json")
        assert done.code == 0, done.said
        told: dict[str, Any] = json.loads(done.out)
        return told

    def markdown(self, command: str, *more: str) -> str:
        done = Lrgd()("lab", command, *self._given, *more, "--markdown")
        assert done.code == 0, done.said
        return done.out

    def kept(self) -> dict[Path, bytes]:
        return {
            file: file.read_bytes()
            for part in ("rows", "scores")
            for file in (self.out / part).rglob("*")
            if file.is_file()
        }


@pytest.fixture
def lab(data: Path, tmp_path: Path) -> Lab:
    return Lab(data, tmp_path / "tables")


def test_trials_draw_users_and_seeds_and_leave_the_tables_alone(lab: Lab) -> None:
    rows = ("--row", "popularity", "--row", "zero_shot", "--row", "generated")
    lab("table2", *rows, "--engine", "onnx", "--users", "2")
    before = lab.kept()
    asked = ("--trials", "2", "--users", "2", "--engine", "onnx")
    told = lab("trials", *rows, *asked)
    assert lab.kept() == before
    figures = told["figures"]
    assert figures["uniform.zero_shot.ndcg@10.sd"] >= 0
    by_row = {one["row"]: one for one in told["detail"]["candidates"]["uniform"]["rows"]}
    assert by_row["generated"]["users"] == [2, 2]
    # Of each trial one: its users and its seed.
    assert len(list((lab.out / "trials").rglob("learned-*.sqlite3"))) == 2
    assert lab("trials", *rows, *asked)["figures"] == figures
    # Kept rows are told without the engine.
    assert lab("trials", *rows, "--trials", "2", "--users", "2", "--kept")["figures"] == figures


def test_trials_of_all_rows_are_kept_for_the_report(lab: Lab, tmp_path: Path) -> None:
    lab("trials", "--row", "popularity", "--row", "covisit", "--users", "3")
    assert not (lab.out / "runs").exists(), "a part of the rows is not for the report"
    text = lab.markdown("trials", "--users", "3", "--kept")
    assert "| popularity | " in text
    results = tmp_path / "results.md"
    assert Lrgd()("lab", "report", "--out", str(lab.out), "--to", str(results)).code == 0
    assert text.strip() in results.read_text()


def test_the_first_place_is_told_from_what_table2_has_kept(lab: Lab, tmp_path: Path) -> None:
    kept = lab("table2", "--row", "popularity", "--row", "zero_shot", "--engine", "onnx")
    before = lab.kept()
    figures = lab("table3", "--kept")["figures"]
    assert lab.kept() == before
    for row in ("popularity", "zero_shot"):
        for metric in ("ndcg@1", "effect_d"):
            assert figures[f"uniform.{row}.{metric}"] == kept["figures"][f"uniform.{row}.{metric}"]
    text = lab.markdown("table3", "--kept")
    assert "| row | nDCG@1 | 95 % | Effect_D |" in text
    results = tmp_path / "results.md"
    assert Lrgd()("lab", "report", "--out", str(lab.out), "--to", str(results)).code == 0
    assert "## Table 3" in results.read_text()


def test_people_see_the_first_place_with_its_interval(lab: Lab) -> None:
    done = Lrgd()("lab", "table3", *lab._given, "--row", "popularity", "--row", "covisit")
    assert done.code == 0, done.said
    assert "ndcg@1" in done.out
    assert "95 %" in done.out
    assert "ndcg@10" not in done.out
