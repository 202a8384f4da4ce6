"""Lambda, the weight of the prior beside the model, found on users' validation targets."""

from __future__ import annotations

from dataclasses import dataclass

from lab.evaluation.answers import Answers
from lab.evaluation.judging import Scores, judge, mean_values, values, with_prior
from lab.evaluation.questions import Split

WEIGHTS = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 8, 12)
MEASURE = "ndcg@10"


@dataclass(frozen=True)
class FittedWeight:
    """`tried` is the measure on the validation split by weight."""

    weight: float
    tried: dict[float, float]


def fit_weight(split: Split, answers: Answers, priors: Scores) -> FittedWeight:
    """Of those that do best the smallest, on users whom the model has answered for."""
    answered = split.of({user for user, answer in answers.items() if answer.scored is not None})
    if not answered.questions:
        return FittedWeight(0.0, {})

    def measured(weight: float) -> float:
        scores = with_prior(answered, answers, priors, weight)
        return mean_values(values(judge(answered, scores)))[MEASURE]

    tried = {float(weight): measured(weight) for weight in WEIGHTS}
    return FittedWeight(max(tried, key=lambda weight: (tried[weight], -weight)), tried)
