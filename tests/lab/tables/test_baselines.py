"""Trained baselines learn what can be learned, and nothing of what is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lab.evaluation.counted import Counted  # noqa: E402
from lab.evaluation.files import read_data, read_split  # noqa: E402
from lab.evaluation.methods import METHODS, MethodName, make_scorer  # noqa: E402
from lab.evaluation.prior import Prior  # noqa: E402
from lab.evaluation.questions import Question, Split, Training, training_part  # noqa: E402
from lab.evaluation.scorers import Means  # noqa: E402
from lab.tables.baselines.numbering import Numbering, padded  # noqa: E402
from lab.tables.baselines.settings import SETTINGS, Loss, Settings, Trained  # noqa: E402
from lab.tables.baselines.trained import ByNetwork, Ground  # noqa: E402
from lab.tables.baselines.training import Trainer, batches, score_all  # noqa: E402

pytestmark = [pytest.mark.lab, pytest.mark.filterwarnings("default")]

ITEMS, USERS, CANDIDATES = 40, 300, 20
MOST_OF_IT = 0.75  # nDCG@10 of random is .24
SMALL = Settings(
    width=32, dropout=0.0, negatives=0, learning_rate=1e-2, batch_items=256, epochs=12, patience=12
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whoever has taken an item takes the one after it next; titles name the item's number."""
    to = tmp_path_factory.mktemp("ring")
    rng = np.random.default_rng(0)
    titles = "".join(f"i{item}\tBox number{item % 8} of{item}\n" for item in range(ITEMS))
    (to / "items.tsv").write_text(f"item_id\ttitle\n{titles}")
    sequences = ["user_id\titems"]
    rows: dict[int, list[str]] = {1: [], 2: []}
    for user in range(USERS):
        start, length = int(rng.integers(ITEMS)), int(rng.integers(5, 9))
        items = [(start + step) % ITEMS for step in range(length)]
        sequences.append(f"u{user}\t{' '.join(f'i{item}' for item in items)}")
        for before, into in rows.items():
            target = items[-before]
            free = [item for item in range(ITEMS) if item not in items]
            shown = [target, *rng.choice(free, CANDIDATES - 1, replace=False).tolist()]
            rng.shuffle(shown)
            into.append(
                json.dumps(
                    {
                        "user_id": f"u{user}", "history_length": length - before,
                        "target": f"i{target}", "candidates": [f"i{item}" for item in shown],
                    }
                )
            )  # fmt: skip
    (to / "sequences.tsv").write_text("\n".join(sequences) + "\n")
    for name, before in (("test-few.jsonl", 1), ("valid-few.jsonl", 2)):
        (to / name).write_text("\n".join(rows[before][:60]) + "\n")
    return to


@pytest.fixture(scope="module")
def valid(folder: Path) -> Split:
    return read_split(folder / "valid-few.jsonl", read_data(folder))


@pytest.fixture(scope="module")
def training(folder: Path, valid: Split) -> Training:
    data = read_data(folder)
    return training_part(data.titles, data.sequences, valid)


@pytest.fixture
def trainer(training: Training, valid: Split, tmp_path: Path) -> Trainer:
    return Trainer(Trained.SASREC, SMALL, Numbering(training), [valid], tmp_path)


def quiet(*_: object) -> None:
    pass


@pytest.mark.parametrize("name", [name for name in Trained if name is not Trained.BPRMF])
def test_what_follows_what_is_learned(
    name: Trained, training: Training, valid: Split, tmp_path: Path
) -> None:
    trainer = Trainer(name, SMALL, Numbering(training), [valid], tmp_path)
    assert trainer.reached() < 0.5
    trainer.train(quiet)
    assert trainer.reached() > MOST_OF_IT


def test_who_likes_what_is_learned_without_any_order(
    training: Training, valid: Split, tmp_path: Path
) -> None:
    made = replace(SMALL, loss=Loss.BPR, epochs=40, patience=40)
    trainer = Trainer(Trained.BPRMF, made, Numbering(training), [valid], tmp_path)
    before = trainer.reached()
    trainer.train(quiet)
    assert trainer.reached() > before + 0.2


def test_drawn_negatives_stand_for_the_catalog(
    training: Training, valid: Split, tmp_path: Path
) -> None:
    made = replace(SMALL, negatives=10)
    trainer = Trainer(Trained.SASREC, made, Numbering(training), [valid], tmp_path)
    trainer.train(quiet)
    assert trainer.reached() > MOST_OF_IT


def test_an_interrupted_training_ends_where_it_would_have(
    training: Training, valid: Split, tmp_path: Path
) -> None:
    def of(epochs: int, folder: Path) -> Trainer:
        made = replace(SMALL, epochs=epochs)
        return Trainer(Trained.GRU4REC, made, Numbering(training), [valid], folder)

    of(2, tmp_path / "cut").train(quiet)
    for trainer in (resumed := of(4, tmp_path / "cut"), whole := of(4, tmp_path / "whole")):
        trainer.train(quiet)
    few = valid.questions[:5]
    assert resumed.progress.valid == whole.progress.valid
    numbering = Numbering(training)
    assert score_all(resumed.network, numbering, few) == score_all(whole.network, numbering, few)


def test_training_ends_when_validation_stops_rising(trainer: Trainer) -> None:
    trainer.progress.epoch, trainer.progress.best_epoch = 5, 2
    assert trainer.progress.over(replace(SMALL, patience=3))
    assert not trainer.progress.over(replace(SMALL, patience=4))


def test_everybodys_items_are_learned_from_once_an_epoch(trainer: Trainer) -> None:
    sequences = trainer.numbering.sequences
    seen = [
        (int(user), [item for item in row.tolist() if item])
        for users, rows in batches(sequences, SMALL, np.random.default_rng(1))
        for user, row in zip(users, rows, strict=True)
    ]
    expected = [(user, one.tolist()) for user, one in enumerate(sequences, 1) if len(one) > 1]
    assert sorted(seen) == expected


def test_the_newest_items_of_a_long_history_are_seen() -> None:
    assert padded([np.arange(1, 6), np.array([7])], 3).tolist() == [[3, 4, 5], [7, 0, 0]]


def test_what_comes_later_changes_no_earlier_state(trainer: Trainer) -> None:
    trainer.network.eval()
    items = torch.tensor([[1, 2, 3, 4]])
    later = torch.tensor([[1, 2, 9, 9]])
    users = torch.tensor([1])
    with torch.no_grad():
        one, other = (trainer.network(users, each)[0, 1] for each in (items, later))
    assert torch.allclose(one, other, atol=1e-6)


def test_a_network_is_trained_once(
    monkeypatch: pytest.MonkeyPatch, training: Training, valid: Split, tmp_path: Path
) -> None:
    monkeypatch.setitem(SETTINGS, Trained.SASREC, replace(SMALL, epochs=2))
    told: list[tuple[object, ...]] = []
    ground = Ground((valid,), tmp_path, lambda *what: told.append(what))
    first = ByNetwork(Trained.SASREC, training, ground)(valid.questions[0])
    assert told
    told.clear()
    assert ByNetwork(Trained.SASREC, training, ground)(valid.questions[0]) == first
    assert not told


@pytest.mark.parametrize(
    "name", [name for name in MethodName if METHODS[name].kept_as and not METHODS[name].trains]
)
async def test_neighbors_and_ease_know_what_is_taken_together(
    name: MethodName, training: Training
) -> None:
    sequences = list(training.sequences.values())
    means = Means(training, Counted(sequences), Prior(sequences))
    question = Question("new", ("i5",), ("i20", "i6", "i33"))
    scores = (await make_scorer(name, means).score(question)).scores
    assert max(scores) == scores[1]
