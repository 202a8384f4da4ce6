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
from lab.learning.learning import Learning
from services.llm.port import LanguageModel, Priority, Terms
from services.optimizer.plan import Plan
from services.prompts import Demonstrated
from services.ranking import Candidate, Method, Ranker, RankingRequest
from services.ranking.written import Reading


class MethodName(StrEnum):
    ZERO_SHOT = "zero_shot"
    ZERO_SHOT_LONG = "zero_shot_long"
    POPULARITY = "popularity"
    COVISIT = "covisit"
    RETRIEVAL = "retrieval"
    GENERATED = "generated"
    BEST_OF_N = "best_of_n"
    LRGD = "lrgd"
    LRGD_FUSED = "lrgd_fused"


@dataclass(frozen=True, slots=True)
class Scored:
    """By candidate, the higher the better. `reading` is of the list, where one was written."""

    scores: tuple[float, ...]
    reading: Reading | None = None


class Scorer(Protocol):
    async def score(self, question: Question) -> Scored:
        """Raises ModelError and PromptTooLong where a model was needed and gave no answer."""


class Texts(Protocol):
    def of(self, user_id: str) -> Demonstrated | None:
        """The demonstration that is shown for a user."""


class NoTexts:
    def of(self, user_id: str) -> Demonstrated | None:  # noqa: ARG002 - there is none for anybody
        return None


@dataclass(frozen=True)
class Means:
    """What a method may use. `texts` are what a method that learns has learned."""

    training: Training
    counted: Counted
    prior: Prior
    model: LanguageModel | None = None
    ranking: Method = field(default=Method())
    seconds: float = 60.0  # for all calls about one user
    texts: Texts = field(default=NoTexts())

    @property
    def asked_model(self) -> LanguageModel:
        assert self.model is not None, "a method that asks a model was made without one"
        return self.model


@dataclass(frozen=True)
class Lessons:
    """How a method learns before it is asked: from so many rounds of so many paths. Not `selected`:
    the first text that was written is shown, whatever it is worth. `fused`: lambda is fitted where
    the caller names none."""

    paths: int
    rounds: int
    selected: bool = True
    perturbed: bool = True
    fused: bool = False

    def learning(self, ranking: Method) -> Learning:
        form = ranking.form
        return Learning(
            Plan(
                paths=self.paths, held_out=1, perturbed=self.perturbed, remembered=self.rounds > 1,
                template=form.template, lead=form.lead, mode=form.mode,
                permutations=ranking.permutations, calibrated=ranking.calibrated,
                regularized=form.regularization is not None,
            ),
            self.rounds,
        )  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """`asks` is how a method that asks a model has it rank; None for one that asks none."""

    make: Callable[[Means], Scorer]
    asks: Callable[[Method], Method] | None = None
    learns: Lessons | None = None


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
            demonstrated=self._means.texts.of(question.user_id),
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
    MethodName.GENERATED: Recipe(ByModel, as_given, Lessons(1, 1, selected=False)),
    # As many demonstrations as lrgd writes.
    MethodName.BEST_OF_N: Recipe(ByModel, as_given, Lessons(12, 1, perturbed=False)),
    MethodName.LRGD: Recipe(ByModel, as_given, Lessons(3, 4)),
    MethodName.LRGD_FUSED: Recipe(ByModel, as_given, Lessons(3, 4, fused=True)),
}


def make_scorer(name: MethodName, means: Means) -> Scorer:
    recipe = METHODS[name]
    if recipe.asks is not None:
        means = replace(means, ranking=recipe.asks(means.ranking))
    return recipe.make(means)
