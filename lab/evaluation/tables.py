"""The figures of a method on a split, and tables beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lab.evaluation.answers import Answers
from lab.evaluation.judging import (
    CUTOFF,
    Judged,
    Values,
    by_history,
    by_user,
    estimates,
    judge,
    mean_values,
    values,
    with_prior,
)
from lab.evaluation.methods import MethodName
from lab.evaluation.questions import Split
from lab.evaluation.scorers import Means
from lab.metrics import random_ndcg
from lab.statistics import paired_bootstrap
from services.ranking.written import Reading

COMPARED = "ndcg@10"
MALFORMED = "malformed"


@dataclass(frozen=True)
class Told:
    """`weight` is lambda."""

    split: Split
    answers: Answers
    means: Means
    method: MethodName
    weight: float

    @cached_property
    def alone(self) -> list[Judged]:
        return self._judged(0.0)

    @cached_property
    def shown(self) -> list[Judged]:
        return self._judged(self.weight) if self.weight else self.alone

    def _judged(self, weight: float) -> list[Judged]:
        priors = by_user(self.split, self.means.prior.scores)
        return judge(self.split, with_prior(self.split, self.answers, priors, weight))

    @property
    def failures(self) -> Counter[str]:
        found = (answer.failure for answer in self.answers.values())
        return Counter(failure for failure in found if failure is not None)

    @property
    def malformed(self) -> int:
        return self.readings[Reading.MALFORMED] + self.failures[MALFORMED]

    @property
    def readings(self) -> Counter[Reading]:
        found = (answer.scored for answer in self.answers.values())
        return Counter(one.reading for one in found if one is not None and one.reading is not None)


def figures(told: Told) -> dict[str, float]:
    found = mean_values(values(told.shown))
    found |= {
        "users": len(told.split.questions),
        "degraded": told.failures.total(),
        "malformed": told.malformed,
        "lambda": told.weight,
    }
    if told.weight:
        found |= {f"lambda0.{name}": mean for name, mean in mean_values(values(told.alone)).items()}
    return found


def tables(told: Told) -> dict[str, Any]:
    shown = values(told.shown)
    rows = {
        "popularity": judge(told.split, by_user(told.split, told.means.counted.popularity)),
        "covisit": judge(told.split, by_user(told.split, told.means.counted.covisit)),
        "retrieval": judge(told.split, by_user(told.split, told.means.prior.scores)),
        told.method.value: told.alone,
    }
    if told.weight:
        rows[f"{told.method}, lambda {told.weight:g}"] = told.shown
    compared = [_row(name, row, shown) for name, row in rows.items()]
    # The method alone is no other row than the method with the prior.
    others = [row for row in compared if not row["row"].startswith(told.method.value)]
    return {
        "intervals": _intervals(shown),
        "rows": [_random_row(told.split), *compared],
        "best_other": max(others, key=lambda row: float(row[COMPARED]), default=None),
        "by_history": [
            {
                "history": name,
                "users": len(inside),
                **mean_values(values(inside)),
                "intervals": _intervals(values(inside)),
            }
            for name, inside in by_history(told.shown).items()
        ],
        "failures": dict(told.failures),
        "readings": {reading.value: count for reading, count in told.readings.items()},
    }


def _intervals(of: Values) -> dict[str, list[float]]:
    return {name: [one.low, one.high] for name, one in estimates(of).items()}


def _row(name: str, judged: Sequence[Judged], shown: Values) -> dict[str, Any]:
    of = values(judged)
    over = paired_bootstrap(shown[COMPARED], of[COMPARED])
    return {
        "row": name,
        **mean_values(of),
        "shown_over_it": over.difference,
        "shown_over_it_interval": [over.low, over.high],
        "p": over.p,
    }


def _random_row(split: Split) -> dict[str, Any]:
    """What a random order is worth on average."""
    sizes = [len(question.candidates) for question in split.questions]
    users = len(sizes)
    return {
        "row": "random",
        "ndcg@1": sum(1 / size for size in sizes) / users,
        "ndcg@10": sum(random_ndcg(size, CUTOFF) for size in sizes) / users,
        "recall@10": sum(min(1.0, CUTOFF / size) for size in sizes) / users,
        "effect_d": sum(random_ndcg(size, size) for size in sizes) / users,
        "gauc": 0.5,
    }
