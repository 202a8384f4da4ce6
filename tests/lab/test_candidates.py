"""Ways of finding candidates, compared. In the lab's environment only."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from lab.evaluation.prior import Prior
from lab.evaluation.questions import Question

pytest.importorskip("scipy")
pytest.importorskip("implicit")

from lab.candidates.comparison import ROWS, Task, compare
from lab.candidates.matrix import users_by_items
from lab.candidates.ours import Covisitation
from lab.candidates.rivals import EASE_REGULARIZATION, Ease

pytestmark = [
    pytest.mark.lab,
    pytest.mark.filterwarnings("ignore:.*CSR:Warning"),
    pytest.mark.filterwarnings("ignore:OpenBLAS:RuntimeWarning"),
]

ITEMS = 40


@pytest.fixture(scope="module")
def sequences() -> list[list[int]]:
    """Everybody walks through the catalog, each from somewhere, with some leaps."""
    rng = random.Random(0)
    made = []
    for _ in range(120):
        begin = rng.randrange(ITEMS)
        steps = sorted(rng.sample(range(12), 8))
        made.append([(begin + step) % ITEMS for step in steps])
    return made


@pytest.fixture(scope="module")
def folder(sequences: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walks")
    rows = [f"i{place}\tItem {place}" for place in range(ITEMS)]
    (folder / "items.tsv").write_text("\n".join(["item_id\ttitle", *rows]) + "\n")
    rows = [f"u{n}\t{' '.join(f'i{one}' for one in s)}" for n, s in enumerate(sequences)]
    (folder / "sequences.tsv").write_text("\n".join(["user_id\titems", *rows]) + "\n")
    questions = [
        {
            "user_id": f"u{n}",
            "history_length": 7,
            "target": f"i{s[7]}",
            "candidates": [f"i{s[7]}", f"i{(s[7] + 15) % ITEMS}"],
        }
        for n, s in enumerate(sequences[:60])
    ]
    lines = "".join(json.dumps(one) + "\n" for one in questions)
    (folder / "test-walks.jsonl").write_text(lines)
    return folder


def test_the_matrix_says_what_the_products_rules_say(sequences: list[list[int]]) -> None:
    by_matrix = Covisitation(sequences, ITEMS)
    by_rules = Prior([[str(item) for item in one] for one in sequences])
    candidates = tuple(map(str, range(ITEMS)))
    for history in sequences[:20]:
        told = by_rules.scores(Question("u", tuple(map(str, history)), candidates))
        assert np.log(by_matrix.scores(np.array(history))) == pytest.approx(told)


def test_every_way_beats_popularity_where_order_is_everything(folder: Path) -> None:
    told: list[str] = []
    figures, detail = compare(folder, "test-walks.jsonl", list(ROWS), told.append)
    assert told == list(ROWS)
    assert set(detail["intervals"]) == set(ROWS)
    for row in ROWS:
        assert figures[f"{row}.build_s"] > 0
        assert figures[f"{row}.memory_mib"] > 0
        if row != "popularity":
            assert figures[f"{row}.recall@10"] > figures["popularity.recall@10"]


def test_nothing_is_found_that_the_user_has(sequences: list[list[int]]) -> None:
    task = Task(ITEMS, sequences, [])
    history = np.array(sequences[0])
    for build in ROWS.values():
        found = build(task).find(history, 20)
        assert not set(found.tolist()) & set(sequences[0])
        assert len(set(found.tolist())) == len(found) > 0


def test_ease_solves_its_equations(sequences: list[list[int]]) -> None:
    taken = users_by_items(sequences, ITEMS)
    gram = (taken.T @ taken).toarray() + EASE_REGULARIZATION * np.eye(ITEMS)
    inverse = np.linalg.inv(gram)
    weights = inverse / -inverse.diagonal()
    np.fill_diagonal(weights, 0)
    history = np.array([3, 7])
    expected = weights[history].sum(axis=0)
    expected[history] = -np.inf
    best = np.argsort(-expected, kind="stable")[:5]
    assert Ease(taken).find(history, 5).tolist() == best.tolist()
