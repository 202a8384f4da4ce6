"""The comparison with RecBole's networks, without RecBole: another program answers for it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from lab.evaluation.judging import by_user, judge, mean_values, values
from lab.tables.baselines.settings import Trained
from lab.tables.recbole import comparison, material, pairs
from lab.tables.recbole.material import NEWEST, Material, write_material

pytestmark = [pytest.mark.lab, pytest.mark.filterwarnings("default")]

# Prefers the candidate that comes first in the alphabet.
ANSWERING = """#!{python}
import json, pathlib, sys
task = json.loads(pathlib.Path(sys.argv[2]).read_text())
scores = {{
    one["user_id"]: [-sorted(one["candidates"]).index(item) for item in one["candidates"]]
    for one in task["questions"]
}}
pathlib.Path(task["scores"]).write_text(json.dumps({{"scores": scores}}))
pathlib.Path("asked.json").write_text(json.dumps(task))
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Material:
    monkeypatch.setattr(material, "ASKED", 12)
    monkeypatch.setattr(material, "OTHERS", 20)
    brief = {
        name: replace(pair, ours=replace(pair.ours, epochs=1)) for name, pair in pairs.PAIRS.items()
    }
    monkeypatch.setattr(comparison, "PAIRS", brief)
    return write_material(tmp_path)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    program = tmp_path / "python"
    program.write_text(ANSWERING.format(python=sys.executable))
    program.chmod(0o755)
    return program


def test_both_learn_from_the_same_items(small: Material) -> None:
    """RecBole holds out the two newest items of everybody by itself."""
    lines = (small.atomic / "shop.inter").read_text().splitlines()[1:]
    taken: dict[str, list[str]] = {}
    for user, item, _ in sorted(
        (line.split("\t") for line in lines), key=lambda cells: int(cells[2])
    ):
        taken.setdefault(user, []).append(item)
    assert {user: tuple(items[:-2]) for user, items in taken.items()} == small.training.sequences
    assert max(map(len, taken.values())) == NEWEST
    for question in small.test.questions:
        assert taken[question.user_id] == [
            *question.history, small.test.targets[question.user_id],
        ]  # fmt: skip


@pytest.mark.parametrize("name", [Trained.BPRMF, Trained.HGN])
def test_both_answer_the_same_questions_and_are_compared_by_user(
    name: Trained, small: Material, python: Path
) -> None:
    found = comparison.compared(name, small, python)
    expected = judge(
        small.test,
        by_user(
            small.test,
            lambda asked: tuple(
                -float(sorted(asked.candidates).index(item)) for item in asked.candidates
            ),
        ),
    )
    assert found.theirs == mean_values(values(expected))["ndcg@10"]
    assert found.over.difference == pytest.approx(found.ours - found.theirs)
    python.unlink()
    assert comparison.compared(name, small, python) == found  # kept


def test_no_target_is_told_to_the_other_side(small: Material, python: Path) -> None:
    comparison.compared(Trained.GRU4REC, small, python)
    task = json.loads(next(small.folder.rglob("asked.json")).read_text())
    for one in task["questions"]:
        assert one.keys() == {"user_id", "history", "candidates"}
        assert small.test.targets[one["user_id"]] not in one["history"]


def test_both_have_one_width_and_one_number_of_epochs() -> None:
    assert set(pairs.PAIRS) == set(Trained)
    for pair in pairs.PAIRS.values():
        theirs = pair.their_settings
        assert pair.ours.width == theirs.get("hidden_size", 0) or theirs["embedding_size"]
        assert theirs["epochs"] == pair.ours.epochs
        assert theirs["learning_rate"] == pair.ours.learning_rate
