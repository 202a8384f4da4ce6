"""All methods by name. One that is added here can be evaluated.

A method is made from the training part of the data, and then asked about one user at a time. It
is never told which candidate was chosen: no type that it is given holds that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from lab.evaluation.counted import Counted
from lab.evaluation.prior import Prior
from lab.evaluation.questions import Question, Training
from services.llm.port import LanguageModel, Priority, Terms
from services.ranking import Candidate, Method, Ranker, RankingRequest
from services.ranking.written import Reading


class MethodName(StrEnum):
    ZERO_SHOT = "zero_shot"
    ZERO_SHOT_LONG = "zero_shot_long"
    POPULARITY = "popularity"
    COVISIT = "covisit"
    RETRIEVAL = "retrieval"


@dataclass(frozen=True, slots=True)
class Scored:
    """By candidate, the higher the better. `reading` is of the list, where one was written."""

    scores: tuple[float, ...]
    reading: Reading | None = None


class Scorer(Protocol):
    async def score(self, question: Question) -> Scored:
        """Raises ModelError and PromptTooLong where a model was needed and gave no answer."""


@dataclass(frozen=True)
class Means:
    """What a method may use."""

    training: Training
    counted: Counted
    prior: Prior
    model: LanguageModel | None = None
    ranking: Method = field(default=Method())
    seconds: float = 60.0  # for all calls about one user

    @property
    def asked_model(self) -> LanguageModel:
        assert self.model is not None, "a method that asks a model was made without one"
        return self.model


@dataclass(frozen=True)
class Recipe:
    """`asks` is how a method that asks a model has it rank; None for one that asks none."""

    make: Callable[[Means], Scorer]
    asks: Callable[[Method], Method] | None = None


@dataclass(frozen=True)
class ByCounting:
    count: Callable[[Question], tuple[float, ...]]

    async def score(self, question: Question) -> Scored:
        return Scored(self.count(question))


class ByModel:
    def __init__(self, means: Means) -> None:
        self._means = means
        self._ranker = Ranker(means.asked_model)

    async def score(self, question: Question) -> Scored:
        titles = self._means.training.titles
        request = RankingRequest(
            history=tuple(titles[item] or None for item in question.history),
            candidates=tuple(Candidate(item, titles[item] or None) for item in question.candidates),
        )
        terms = Terms.within(self._means.seconds, Priority.ROUND)
        ranking = await self._ranker.rank(request, self._means.ranking, terms)
        written = ranking.written
        return Scored(ranking.scores, None if written is None else written.reading)


def as_given(method: Method) -> Method:
    return method


def with_older_history(method: Method) -> Method:
    """The tokens that a demonstration might take, spent on older history instead."""
    limits = method.form.limits
    longer = replace(limits, extra_history_tokens=limits.demonstration_tokens)
    return replace(method, form=replace(method.form, limits=longer))


METHODS: Mapping[MethodName, Recipe] = {
    MethodName.ZERO_SHOT: Recipe(ByModel, as_given),
    MethodName.ZERO_SHOT_LONG: Recipe(ByModel, with_older_history),
    MethodName.POPULARITY: Recipe(lambda means: ByCounting(means.counted.popularity)),
    MethodName.COVISIT: Recipe(lambda means: ByCounting(means.counted.covisit)),
    MethodName.RETRIEVAL: Recipe(lambda means: ByCounting(means.prior.scores)),
}


def make_scorer(name: MethodName, means: Means) -> Scorer:
    recipe = METHODS[name]
    if recipe.asks is not None:
        means = replace(means, ranking=recipe.asks(means.ranking))
    return recipe.make(means)
