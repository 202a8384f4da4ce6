"""How many of the next items each way of finding candidates brings, and what it costs.

Every row is built and asked in a process of its own, with one thread, so that their memory and time
can be told apart.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.candidates import rivals
from lab.candidates.matrix import Finder, users_by_items
from lab.candidates.ours import Covisitation
from lab.evaluation.files import read_data, read_split
from lab.evaluation.questions import training_part
from lab.statistics import estimate, paired_bootstrap

CANDIDATES = 50
CUTOFFS = (10, CANDIDATES)
OURS = "covisit"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Task:
    """Items by their place in the catalog. The targets are not in here."""

    items: int
    training: Sequence[Sequence[int]]
    histories: Sequence[Sequence[int]]

    def taken(self) -> Any:
        return users_by_items(self.training, self.items)


@dataclass(frozen=True)
class Measured:
    """The best candidates of every history, and what they cost. Memory is the peak of the whole
    process, of which the data and the libraries alone take what popularity takes."""

    found: list[list[int]]
    build_s: float
    query_ms: float
    memory_mib: float


ROWS: Mapping[str, Callable[[Task], Finder]] = {
    "popularity": lambda task: rivals.Popular(task.taken()),
    OURS: lambda task: Covisitation(task.training, task.items),
    "itemknn_cosine": lambda task: rivals.cosine(task.taken()),
    "itemknn_bm25": lambda task: rivals.bm25(task.taken()),
    "als": lambda task: rivals.als(task.taken()),
    "ease": lambda task: rivals.Ease(task.taken()),
}


def compare(
    folder: Path, split_name: str, rows: Sequence[str], told: Callable[[str], None]
) -> tuple[dict[str, float], dict[str, Any]]:
    data = read_data(folder)
    split = read_split(folder / split_name, data)
    place = {item: at for at, item in enumerate(data.titles)}
    training = training_part(data.titles, data.sequences, split)
    task = Task(
        items=len(place),
        training=[[place[item] for item in one] for one in training.sequences.values()],
        histories=[[place[item] for item in one.history] for one in split.questions],
    )
    targets = [place[split.targets[one.user_id]] for one in split.questions]
    measured: dict[str, Measured] = {}
    for name in rows:
        told(name)
        measured[name] = _apart(name, task)
    figures: dict[str, float] = {
        "users": len(targets),
        "items": task.items,
        "takings": sum(map(len, task.training)),
    }
    detail: dict[str, Any] = {"split": split.name, "split_digest": split.digest, "intervals": {}}
    hits = {name: _hits(one.found, targets) for name, one in measured.items()}
    for name, one in measured.items():
        for cutoff in CUTOFFS:
            figures[f"{name}.recall@{cutoff}"] = float(hits[name][cutoff].mean())
        figures[f"{name}.build_s"] = one.build_s
        figures[f"{name}.query_ms"] = one.query_ms
        figures[f"{name}.memory_mib"] = one.memory_mib
        found = estimate(hits[name][CANDIDATES])
        detail["intervals"][name] = [found.low, found.high]
        if OURS in hits and name != OURS:
            over = paired_bootstrap(hits[OURS][CANDIDATES], hits[name][CANDIDATES])
            figures[f"gain_over.{name}.recall@{CANDIDATES}"] = over.difference
            figures[f"gain_over.{name}.p"] = over.p
    return figures, detail


def _hits(found: Sequence[Sequence[int]], targets: Sequence[int]) -> dict[int, Any]:
    return {
        cutoff: np.array(
            [target in one[:cutoff] for one, target in zip(found, targets, strict=True)],
            dtype=np.float64,
        )
        for cutoff in CUTOFFS
    }


def _apart(name: str, task: Task) -> Measured:
    with (
        _one_thread(),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process,
    ):
        return process.submit(_measure, name, task).result()


def _measure(name: str, task: Task) -> Measured:
    histories = [np.array(one, dtype=np.int64) for one in task.histories]
    began = time.perf_counter()
    finder = ROWS[name](task)
    build_s = time.perf_counter() - began
    found, seconds = [], []
    for history in histories:
        began = time.perf_counter()
        best = finder.find(history, CANDIDATES)
        seconds.append(time.perf_counter() - began)
        found.append(best.tolist())
    query_ms = 1000 * float(np.median(seconds))
    return Measured(found, build_s, query_ms, _peak_mib())


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _one_thread() -> Iterator[None]:
    """For processes started meanwhile: a library below numpy would else take all cores."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
