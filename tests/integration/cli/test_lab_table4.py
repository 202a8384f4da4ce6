"""`lrgd lab table4` as people and scripts use it, on users of the generated shop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Done, Lrgd
from tests.integration.llm.onnx.random_llama import write_random_llama

USERS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    done = Lrgd()(
        "lab", "shop", "split", "--users", "8", "--crowd", "60",
        "--out", str(folder / "test-uniform-8.jsonl"),
    )  # fmt: skip
    assert done.code == 0, done.said
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two of one name."""
    to = tmp_path_factory.mktemp("models")
    return [write_random_llama(to / f"{seed}" / "model", seed=seed) for seed in (3, 4)]


class Table4:
    def __init__(self, data: Path, out: Path) -> None:
        self.out = out
        self._given = (
            "lab", "table4", "--data", str(data), "--out", str(out), "--mode", "likelihood",
            "--users", str(USERS),
        )  # fmt: skip

    def __call__(self, *more: str) -> Done:
        return Lrgd()(*self._given, *more)

    def json(self, *more: str) -> dict[str, Any]:
        done = self(*more, "--json")
        assert done.code == 0, done.said
        told: dict[str, Any] = json.loads(done.out)
        return told


ROWS = ("--row", "zero_shot", "--row", "zero_shot_fused")


@pytest.fixture
def table4(data: Path, tmp_path: Path) -> Table4:
    return Table4(data, tmp_path / "tables")


def test_engines_of_one_name_stand_side_by_side_and_are_kept(
    table4: Table4, models: list[Path]
) -> None:
    engines = [
        text
        for name, folder in zip("ab", models, strict=True)
        for text in ("--engine", f"{name}={folder}")
    ]
    told = table4.json(*ROWS, *engines)
    figures = told["figures"]
    assert figures["uniform.a.zero_shot.users"] == USERS
    assert figures["uniform.a.zero_shot_fused.users"] == USERS
    assert told["detail"]["missing"] == {}
    kept = list((table4.out / "rows").rglob("zero_shot@model@*.json"))
    assert len(kept) == 2
    ranks = [json.loads(file.read_text())["ranks"] for file in kept]
    assert ranks[0] != ranks[1]
    # In another order, and from what is kept alone.
    again = table4.json(*ROWS, *engines[2:], *engines[:2], "--kept")
    assert again["figures"] == figures
    done = table4(*ROWS, *engines, "--markdown")
    assert "| row | a | b |" in done.out


def test_rows_are_shared_with_table2(table4: Table4, data: Path, models: list[Path]) -> None:
    mine = table4.json("--row", "zero_shot", "--engine", f"a={models[0]}")["figures"]
    done = Lrgd()(
        "lab", "table2", "--data", str(data), "--out", str(table4.out), "--kept", "--json"
    )
    assert done.code == 0, done.said
    theirs = json.loads(done.out)["figures"]
    assert mine["uniform.a.zero_shot.ndcg@10"] == theirs["uniform.zero_shot.ndcg@10"]


def test_one_engine_twice_is_refused(table4: Table4, models: list[Path]) -> None:
    done = table4("--engine", f"a={models[0]}", "--engine", f"b={models[0]}")
    assert done.code == 2
    assert "one engine" in done.said


def test_an_engine_that_is_none_is_named_before_any_is_asked(
    table4: Table4, models: list[Path], tmp_path: Path
) -> None:
    done = table4("--engine", str(models[0]), "--engine", f"b={tmp_path}")
    assert done.code == 2
    assert "no model for ONNX Runtime" in done.said
    assert not (table4.out / "rows").exists()
