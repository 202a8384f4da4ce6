from __future__ import annotations

from dataclasses import replace

import pytest

from lab.evaluation.answers import Answer, Answers
from lab.evaluation.fitting import WEIGHTS, fit_weight
from lab.evaluation.judging import Judged, by_history, judge, mean_values, values, with_prior
from lab.evaluation.questions import Split
from lab.evaluation.scorers import Scored

# The truth is the second candidate of both.
PRIORS = {"ada": (0.0, 1.0, 0.0, 0.0), "bob": (0.0, 1.0, 0.0)}


def answers(ada: tuple[float, ...] | None, bob: tuple[float, ...] | None) -> Answers:
    return {
        "ada": Answer(None if ada is None else Scored(ada)),
        "bob": Answer(None if bob is None else Scored(bob)),
    }


def test_ranks_are_of_the_target(split: Split) -> None:
    scores = {"ada": (4.0, 3.0, 2.0, 1.0), "bob": (1.0, 3.0, 2.0)}
    ada, bob = judge(split, scores)
    assert (ada.rank, bob.rank) == (2, 1)
    assert ada.auc == pytest.approx(2 / 3)
    assert bob.auc == 1.0
    metrics = mean_values(values([ada, bob]))
    assert metrics["ndcg@1"] == 0.5
    assert metrics["gauc"] == pytest.approx((4 * 2 / 3 + 3 * 1) / 7)


def test_a_user_without_an_answer_is_ranked_by_the_prior_and_not_dropped(split: Split) -> None:
    scores = with_prior(split, answers(None, (9.0, 0.0, 1.0)), PRIORS, 0.0)
    assert scores["ada"] == PRIORS["ada"]
    assert [one.rank for one in judge(split, scores)] == [1, 3]


def test_lambda_zero_is_the_method_alone_and_a_large_one_the_prior(split: Split) -> None:
    said = answers((4.0, 3.0, 2.0, 1.0), (3.0, 1.0, 2.0))
    assert with_prior(split, said, PRIORS, 0.0)["ada"] == (4.0, 3.0, 2.0, 1.0)
    assert [one.rank for one in judge(split, with_prior(split, said, PRIORS, 50.0))] == [1, 1]


def test_the_smallest_of_the_best_weights_is_fitted(split: Split) -> None:
    good = fit_weight(split, answers((1.0, 9.0, 1.0, 1.0), (1.0, 9.0, 1.0)), PRIORS)
    assert good.weight == 0
    bad = fit_weight(split, answers((4.0, 3.0, 2.0, 1.0), (3.0, 1.0, 2.0)), PRIORS)
    assert bad.weight > 0
    assert bad.tried[bad.weight] == max(bad.tried.values()) == 1.0
    assert len(bad.tried) == len(WEIGHTS)
    assert all(value < 1.0 for weight, value in bad.tried.items() if weight < bad.weight)


def test_nothing_is_fitted_on_users_the_model_failed_for(split: Split) -> None:
    fitted = fit_weight(split, answers(None, (1.0, 9.0, 1.0)), PRIORS)
    assert fitted.weight == 0
    assert fit_weight(split, answers(None, None), PRIORS).tried == {}


def test_every_user_is_in_one_bucket_of_history() -> None:
    judged = [Judged(1, 1.0, 50, length) for length in (0, 7, 8, 10, 11, 20, 21, 300)]
    buckets = by_history(judged)
    assert {name: len(inside) for name, inside in buckets.items()} == {
        "up to 7": 2,
        "8 to 10": 2,
        "11 to 20": 2,
        "over 20": 2,
    }
    assert list(by_history([replace(judged[0], history=9)])) == ["8 to 10"]
