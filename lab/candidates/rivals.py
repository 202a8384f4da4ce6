"""What others do: item-item neighbors and ALS as in the library `implicit`, and EASE.

Constants are those that found most of the validation targets of the games data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from lab.candidates.matrix import Places, Scores, best, popularity, users_by_items

NEIGHBORS = 200
BM25_K1, BM25_B = 1.2, 0.2
ALS_FACTORS, ALS_ROUNDS, ALS_REGULARIZATION, ALS_CONFIDENCE = 128, 15, 20.0, 80.0
EASE_REGULARIZATION = 300.0


class Popular:
    def __init__(self, taken: Any) -> None:
        self._users = popularity(taken)

    def find(self, history: Places, limit: int) -> Places:
        return best(self._users, history, limit)


class Implicit:
    """A model of `implicit`; a user's row is all it is told of them, so the order is lost."""

    def __init__(self, model: Any, taken: Any) -> None:
        self._items = taken.shape[1]
        model.fit(taken, show_progress=False)
        self._model = model

    def find(self, history: Places, limit: int) -> Places:
        row = users_by_items([history.tolist()], self._items)
        found, _ = self._model.recommend(
            0, row, N=limit, filter_already_liked_items=True, recalculate_user=True
        )
        places: Places = found[found >= 0].astype(np.int64)
        return places


def cosine(taken: Any) -> Implicit:
    from implicit.nearest_neighbours import CosineRecommender  # noqa: PLC0415

    return Implicit(CosineRecommender(K=NEIGHBORS, num_threads=1), taken)


def bm25(taken: Any) -> Implicit:
    from implicit.nearest_neighbours import BM25Recommender  # noqa: PLC0415

    return Implicit(BM25Recommender(K=NEIGHBORS, K1=BM25_K1, B=BM25_B, num_threads=1), taken)


def als(taken: Any) -> Implicit:
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415

    return Implicit(
        AlternatingLeastSquares(
            factors=ALS_FACTORS,
            iterations=ALS_ROUNDS,
            regularization=ALS_REGULARIZATION,
            alpha=ALS_CONFIDENCE,
            num_threads=1,
            random_state=0,
        ),
        taken,
    )


class Ease:
    """arXiv 1905.03375: ridge regression of every item on all others, in closed form. Dense: of
    the catalog's size squared, in single precision."""

    def __init__(self, taken: Any) -> None:
        gram = np.asfortranarray((taken.T @ taken).toarray(), dtype=np.float32)
        gram[np.diag_indices_from(gram)] += EASE_REGULARIZATION
        factor, failed = scipy.linalg.lapack.spotrf(gram, lower=0, overwrite_a=1)
        assert not failed
        inverse, failed = scipy.linalg.lapack.spotri(factor, lower=0, overwrite_c=1)
        assert not failed
        # The upper triangle only, so far.
        for row in range(len(inverse)):
            inverse[row + 1 :, row] = inverse[row, row + 1 :]
        diagonal = inverse.diagonal().copy()
        inverse /= -diagonal
        np.fill_diagonal(inverse, 0)
        self.weights = inverse

    def find(self, history: Places, limit: int) -> Places:
        scores: Scores = self.weights[history].sum(axis=0, dtype=np.float64)
        return best(scores, history, limit)
