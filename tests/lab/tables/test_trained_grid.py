"""Settings of a network are tried out, kept, and told, on validation files alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from lab.evaluation.evaluation import Watch
from lab.evaluation.files import read_data, read_split
from lab.evaluation.questions import training_part
from lab.tables.baselines import settings as known
from lab.tables.baselines.grid import Search, around
from lab.tables.baselines.settings import Settings, Trained
from lab.tables.baselines.trained import ByNetwork, Ground
from tests.integration.cli.conftest import Lrgd
from tests.unit.lab.tables.test_data import made

pytestmark = [pytest.mark.lab, pytest.mark.filterwarnings("default")]

SMALL = Settings(width=16, dropout=0.0, negatives=0, batch_items=128, epochs=3, patience=3)


def quiet(*_: object) -> None:
    pass


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Without test files, and a grid of three settings: one of them learns nothing."""
    made(tmp_path / "data", users=20)
    monkeypatch.setitem(known.SETTINGS, Trained.GRU4REC, SMALL)
    monkeypatch.setitem(known.GRIDS, Trained.GRU4REC, {"learning_rate": (1e-9, 1e-3, 3e-2)})
    for file in (tmp_path / "data").glob("test-*"):
        file.unlink()
    return tmp_path / "data"


def test_the_setting_that_learns_most_is_chosen_and_nothing_is_trained_twice(
    data: Path, tmp_path: Path
) -> None:
    search = Search(Trained.GRU4REC, data, tmp_path / "trained")
    found = search.tried(around(Trained.GRU4REC, 3), Watch(quiet, quiet))
    assert next(one.changed for one in found) == {"learning_rate": 3e-2}
    assert [one.reached for one in found] == sorted((one.reached for one in found), reverse=True)
    trained = {file: file.stat().st_mtime_ns for file in (tmp_path / "trained").rglob("best.pt")}
    assert len(trained) == 3
    assert search.tried(around(Trained.GRU4REC, 3), Watch(quiet, quiet)) == found
    assert trained == {
        file: file.stat().st_mtime_ns for file in (tmp_path / "trained").rglob("best.pt")
    }


def test_what_the_tables_have_trained_is_found_again(tmp_path: Path, data: Path) -> None:
    read = read_data(data)
    valid = tuple(read_split(file, read) for file in sorted(data.glob("valid-*.jsonl")))
    training = training_part(read.titles, read.sequences, valid[0])
    told: list[tuple[object, ...]] = []
    ground = Ground(valid, tmp_path / "trained", lambda *what: told.append(what))
    ByNetwork(Trained.GRU4REC, training, ground)(valid[0].questions[0])
    watched: list[str] = []
    search = Search(Trained.GRU4REC, data, tmp_path / "trained")
    search.tried([SMALL], Watch(lambda what, *_: watched.append(what), quiet))
    assert told
    assert not any("epoch" in one for one in watched)
    search.tried([replace(SMALL, width=8)], Watch(lambda what, *_: watched.append(what), quiet))
    assert any("epoch" in one for one in watched)


def test_people_see_the_chosen_one_first(data: Path, tmp_path: Path) -> None:
    given = ("lab", "grid", "--data", str(data), "--network", "gru4rec", "--epochs", "2")
    done = Lrgd()(*given, "--out", str(tmp_path), "--json")
    assert done.code == 0, done.said
    told = json.loads(done.out)
    figures = told["figures"]
    assert figures["settings"] == 3
    assert figures["gru4rec.chosen.ndcg@10"] > figures["gru4rec.tables.ndcg@10"]
    assert told["detail"]["tried"][0]["changed"] == {"learning_rate": 3e-2}
    shown = Lrgd()(*given, "--out", str(tmp_path)).out
    assert next(line for line in shown.splitlines() if "chosen" in line).count("learning_rate") == 1
    assert "as in the tables" in shown
