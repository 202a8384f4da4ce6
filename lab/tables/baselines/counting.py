"""Baselines in closed form: EASE, and item-based neighbors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.questions import Question, Training

# Cosine between items over users, shrunk where few users took both.
NEIGHBORS, SHRINKAGE = 200, 10.0

Count = Callable[[Question], tuple[float, ...]]


def ease(training: Training) -> Count:
    """arXiv 1905.03375."""
    from lab.candidates.rivals import Ease  # noqa: PLC0415

    places, taken = _taken(training)
    weights = Ease(taken).weights
    return lambda question: _summed(weights, places, question)


def itemknn(training: Training) -> Count:
    places, taken = _taken(training)
    near = (taken.T @ taken).tocsr().astype(np.float32)
    users = near.diagonal()
    near.setdiag(0)
    near.eliminate_zeros()
    rows = np.repeat(np.arange(near.shape[0]), np.diff(near.indptr))
    both = near.data.copy()
    near.data = both / np.sqrt(users[rows] * users[near.indices]) * both / (both + SHRINKAGE)
    for begin, end in zip(near.indptr, near.indptr[1:], strict=False):
        row = near.data[begin:end]
        if len(row) > NEIGHBORS:
            row[np.argpartition(-row, NEIGHBORS)[NEIGHBORS:]] = 0

    def count(question: Question) -> tuple[float, ...]:
        history = [places[item] for item in question.history]
        candidates = [places[item] for item in question.candidates]
        found = np.asarray(near[history].sum(axis=0)).ravel()[candidates]
        return tuple(found.astype(float).tolist())

    return count


def _taken(training: Training) -> tuple[dict[str, int], Any]:
    from lab.candidates.matrix import users_by_items  # noqa: PLC0415 - SciPy is of the lab

    places = {item: place for place, item in enumerate(training.titles)}
    histories = [[places[item] for item in one] for one in training.sequences.values()]
    return places, users_by_items(histories, len(places))


def _summed(
    weights: NDArray[np.float32], places: dict[str, int], question: Question
) -> tuple[float, ...]:
    history = [places[item] for item in question.history]
    candidates = [places[item] for item in question.candidates]
    found = weights[np.ix_(history, candidates)].sum(axis=0, dtype=np.float64)
    return tuple(found.tolist())
