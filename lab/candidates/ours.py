"""What the product does, over a matrix: its rules, without its database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse

from lab.candidates.matrix import Places, Scores, best
from services.retrieval.covisitation import (
    FRESHNESS,
    NEIGHBORS,
    POPULARITY,
    SEEDS,
    UNIT,
    distinct_newest,
    pairs_of,
)


class Covisitation:
    """The same scores as `services.retrieval`, up to ties at the end of a neighborhood."""

    def __init__(self, histories: Iterable[Sequence[int]], items: int) -> None:
        rows: list[int] = []
        columns: list[int] = []
        weights: list[int] = []
        for history in histories:
            # The rules are written for ids; places in the catalog serve as well.
            for (item, other), weight in pairs_of(distinct_newest([str(one) for one in history])):
                rows.append(int(item))
                columns.append(int(other))
                weights.append(weight)
        counted = scipy.sparse.coo_matrix(
            (np.array(weights, dtype=np.float64), (rows, columns)), shape=(items, items)
        ).tocsr()
        users = counted.diagonal()
        counted.setdiag(0)
        counted.eliminate_zeros()
        _keep_strongest(counted, NEIGHBORS)
        by_users = scipy.sparse.diags_array(1 / np.sqrt(np.maximum(users, 1)))
        self._near = (by_users @ counted / UNIT).tocsr()
        self._popular = POPULARITY * (users + 0.5) / (users.sum() + 1)

    def scores(self, history: Places) -> Scores:
        seeds = history[::-1][:SEEDS]
        found: Scores = FRESHNESS ** np.arange(len(seeds)) @ self._near[seeds] + self._popular
        return found

    def find(self, history: Places, limit: int) -> Places:
        return best(self.scores(history), history, limit)


def _keep_strongest(matrix: scipy.sparse.csr_matrix, kept: int) -> None:
    for begin, end in zip(matrix.indptr, matrix.indptr[1:], strict=False):
        row = matrix.data[begin:end]
        if len(row) > kept:
            row[np.argsort(-row, kind="stable")[kept:]] = 0
    matrix.eliminate_zeros()
