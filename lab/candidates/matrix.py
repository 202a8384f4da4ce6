"""Histories as numbers: items by place in the catalog, users by items as a sparse matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

Places = NDArray[np.int64]
Scores = NDArray[np.float64]


class Finder(Protocol):
    """Finds what a user with this history, oldest first, may take next: the best first, nothing
    that is in the history."""

    def find(self, history: Places, limit: int) -> Places: ...


def users_by_items(histories: Iterable[Sequence[int]], items: int) -> Any:
    """A row a user, 1 where the user took the item; a CSR matrix."""
    rows: list[int] = []
    columns: list[int] = []
    users = 0
    for user, history in enumerate(histories):
        taken = set(history)
        rows += [user] * len(taken)
        columns += sorted(taken)
        users = user + 1
    ones = np.ones(len(rows), dtype=np.float32)
    return scipy.sparse.csr_matrix((ones, (rows, columns)), shape=(users, items))


def popularity(taken: Any) -> Scores:
    """Users by item."""
    return np.asarray(taken.sum(axis=0), dtype=np.float64).ravel()


def best(scores: Scores, history: Places, limit: int) -> Places:
    """Equal scores in the order of the catalog."""
    left = scores.copy()
    left[history] = -np.inf
    # All that may be among the best, those that tie with the last of them included.
    least = np.partition(left, -limit)[-limit] if limit < len(left) else -np.inf
    close = np.flatnonzero((left >= least) & (left > -np.inf))
    found: Places = close[np.argsort(-left[close], kind="stable")][:limit]
    return found
