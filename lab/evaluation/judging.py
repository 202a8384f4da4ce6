"""From scores to figures: here, and only here, the targets are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lab.evaluation.answers import Answers
from lab.evaluation.questions import Question, Split
from lab.metrics import auc, gauc_parts, ndcg, recall
from lab.statistics import Estimate, estimate
from services.ranking import fused, in_order
from services.ranking.effect import effect_d

CUTOFF = 10
# Of history lengths, the longest of each bucket but the last: histories under 8 are apart.
BUCKETS = (7, 10, 20)

Scores = Mapping[str, tuple[float, ...]]  # by user, then by candidate
Values = dict[str, list[float]]  # by metric, then by user


@dataclass(frozen=True, slots=True)
class Judged:
    rank: int
    auc: float
    candidates: int
    history: int


def by_user(split: Split, score: Callable[[Question], tuple[float, ...]]) -> Scores:
    return {question.user_id: score(question) for question in split.questions}


def with_prior(split: Split, answers: Answers, priors: Scores, weight: float) -> Scores:
    """The method's scores; with a weight those of the prior added. Without an answer, the prior's:
    what a recommender would show."""
    scores: dict[str, tuple[float, ...]] = {}
    for question in split.questions:
        prior = priors[question.user_id]
        scored = answers[question.user_id].scored
        if scored is None:
            scores[question.user_id] = prior
        else:
            alone = scored.scores
            scores[question.user_id] = fused(alone, prior, weight) if weight else alone
    return scores


def judge(split: Split, scores: Scores) -> list[Judged]:
    return [
        judged(question, scores[question.user_id], split.targets[question.user_id])
        for question in split.questions
    ]


def judged(question: Question, scores: Sequence[float], target: str) -> Judged:
    candidates = question.candidates
    rank = 1 + in_order(candidates, scores).index(candidates.index(target))
    return Judged(
        rank,
        auc(scores, [item == target for item in candidates]),
        len(candidates),
        len(question.history),
    )


def values(all_judged: Sequence[Judged]) -> Values:
    """By metric a value of each user: the metric is their mean."""
    ranks = [one.rank for one in all_judged]
    return {
        "ndcg@1": [ndcg(rank, 1) for rank in ranks],
        "ndcg@10": [ndcg(rank, CUTOFF) for rank in ranks],
        "recall@10": [recall(rank, CUTOFF) for rank in ranks],
        "effect_d": [effect_d(rank) for rank in ranks],
        "gauc": gauc_parts([one.auc for one in all_judged], [one.candidates for one in all_judged]),
    }


def mean_values(of: Values) -> dict[str, float]:
    return {name: float(np.mean(each)) for name, each in of.items()}


def estimates(of: Values) -> dict[str, Estimate]:
    return {name: estimate(each) for name, each in of.items()}


def by_history(all_judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """By how long the history is, short ones first; without buckets that nobody is in."""
    buckets: dict[str, list[Judged]] = {}
    for one in sorted(all_judged, key=lambda one: one.history):
        buckets.setdefault(_bucket(one.history), []).append(one)
    return buckets


def _bucket(history: int) -> str:
    for low, high in pairwise((0, *BUCKETS)):
        if history <= high:
            return f"{low + 1} to {high}" if low else f"up to {high}"
    return f"over {BUCKETS[-1]}"
