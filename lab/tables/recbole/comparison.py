"""Our networks beside RecBole's, on the same questions: `make recbole-check`.

python -m lab.tables.recbole.comparison --theirs .venv-recbole/bin/python
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from lab.evaluation.counted import Counted
from lab.evaluation.judging import Scores, by_user, judge, mean_values, values
from lab.evaluation.questions import Split
from lab.statistics import Comparison, paired_bootstrap
from lab.tables.baselines.numbering import Numbering
from lab.tables.baselines.settings import Trained
from lab.tables.baselines.training import Trainer, score_all
from lab.tables.recbole.material import Material, write_material
from lab.tables.recbole.pairs import PAIRS, Pair

MEASURE = "ndcg@10"
THEIRS = Path(__file__).with_name("theirs.py")


@dataclass(frozen=True)
class Side:
    scores: Scores
    seconds: float


@dataclass(frozen=True)
class Compared:
    """`over` is ours over theirs, paired by user."""

    name: Trained
    theirs: float
    ours: float
    over: Comparison
    seconds: tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--theirs", type=Path, required=True, help="Python with RecBole in it.")
    parser.add_argument("--out", type=Path, default=Path("build/recbole"), help="A second call "
                        "goes on.")  # fmt: skip
    parser.add_argument("--network", action="append", choices=list(map(str, Trained)))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    material = write_material(given.out)
    found = []
    for name in map(Trained, given.network or PAIRS):
        found.append(compared(name, material, given.theirs))
        Console(stderr=True).print(_line(found[-1]))
    _print(found, _counted(material), as_json=given.json)


def compared(name: Trained, material: Material, python: Path) -> Compared:
    mine = _ours(name, material)
    their = _theirs(PAIRS[name], material, python)
    theirs, ours = (_values(material.test, side.scores) for side in (their, mine))
    return Compared(
        name,
        mean_values(theirs)[MEASURE],
        mean_values(ours)[MEASURE],
        paired_bootstrap(ours[MEASURE], theirs[MEASURE]),
        (their.seconds, mine.seconds),
    )


def _counted(material: Material) -> dict[str, float]:
    """What needs no network: below it, nothing has been learned."""
    counted = Counted(list(material.training.sequences.values()))
    rows = {"popularity": counted.popularity, "covisit": counted.covisit}
    return {
        name: mean_values(_values(material.test, by_user(material.test, row)))[MEASURE]
        for name, row in rows.items()
    }


def _values(split: Split, scores: Scores) -> dict[str, list[float]]:
    return values(judge(split, scores))


def _ours(name: Trained, material: Material) -> Side:
    settings, numbering = PAIRS[name].ours, Numbering(material.training)
    folder = material.folder / f"ours-{name}-{material.training.digest}-{settings.digest}"
    trainer = Trainer(name, settings, numbering, [material.valid], folder)
    progress = trainer.train(lambda *_: None)
    scores = score_all(trainer.network, numbering, material.test.questions)
    users = [question.user_id for question in material.test.questions]
    return Side(dict(zip(users, scores, strict=True)), progress.seconds)


def _theirs(pair: Pair, material: Material, python: Path) -> Side:
    questions = [
        {"user_id": one.user_id, "history": one.history, "candidates": one.candidates}
        for one in material.test.questions
    ]
    task: dict[str, Any] = {
        "model": pair.theirs, "dataset": material.atomic.name, "questions": questions,
        "folder": str(material.atomic.parent.resolve()), "settings": pair.their_settings,
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()[:12]
    folder = material.folder.resolve() / f"theirs-{pair.theirs}-{digest}"
    folder.mkdir(exist_ok=True)
    done = folder / "done.json"
    if not done.exists():
        began = time.monotonic()
        (folder / "task.json").write_text(
            json.dumps(task | {"scores": str(folder / "scores.json")})
        )
        subprocess.run(
            # Not resolved: a virtual environment is known by the path of its Python.
            [python.absolute(), THEIRS, folder / "task.json"],
            cwd=folder,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )
        told = json.loads((folder / "scores.json").read_text())
        told["seconds"] = time.monotonic() - began
        done.write_text(json.dumps(told))
    told = json.loads(done.read_text())
    return Side({user: tuple(one) for user, one in told["scores"].items()}, told["seconds"])


def _line(one: Compared) -> str:
    over = one.over
    return (
        f"{one.name}: RecBole {one.theirs:.3f}, ours {one.ours:.3f}, "
        f"{over.difference:+.3f} ({over.low:+.3f} to {over.high:+.3f})"
    )


def _print(found: list[Compared], counted: dict[str, float], *, as_json: bool) -> None:
    if as_json:
        figures = {
            f"{one.name}.{key}": value
            for one in found
            for key, value in {
                f"recbole.{MEASURE}": one.theirs, f"ours.{MEASURE}": one.ours,
                "difference": one.over.difference, "low": one.over.low, "high": one.over.high,
                "p": one.over.p, "recbole.seconds": one.seconds[0], "ours.seconds": one.seconds[1],
            }.items()
        }  # fmt: skip
        figures |= {f"{name}.{MEASURE}": value for name, value in counted.items()}
        print(json.dumps({"command": "make recbole-check", "figures": figures}, indent=2))  # noqa: T201
        return
    table = Table("network", "RecBole", "ours", "ours over RecBole", "95 %", "p", "seconds, each")
    for one in found:
        table.add_row(
            one.name, f"{one.theirs:.3f}", f"{one.ours:.3f}", f"{one.over.difference:+.3f}",
            f"{one.over.low:+.3f} to {one.over.high:+.3f}", f"{one.over.p:.4f}",
            f"{one.seconds[0]:,.0f}, {one.seconds[1]:,.0f}",
        )  # fmt: skip
    Console().print(table)
    Console().print(", ".join(f"{name} {value:.3f}" for name, value in counted.items()))


if __name__ == "__main__":
    main()
