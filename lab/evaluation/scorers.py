"""How a question becomes scores, and what it takes. Nothing here is told which candidate was
chosen: no type has a place for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from lab.evaluation.counted import Counted
from lab.evaluation.prior import Prior
from lab.evaluation.questions import Question, Training
from lab.evaluation.shown import Shown
from lab.tables.baselines.counting import Count
from lab.tables.baselines.trained import Ground
from services.llm.port import LanguageModel, Priority, Terms
from services.prompts import Demonstrated
from services.ranking import Candidate, Method, Ranker, RankingRequest
from services.ranking.written import Reading


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
    """What a method may use. `texts` are what a method that learns has learned, `ground` what
    training takes."""

    training: Training
    counted: Counted
    prior: Prior
    model: LanguageModel | None = None
    ranking: Method = field(default=Method())
    seconds: float = 60.0  # for all calls about one user
    texts: Texts = field(default=NoTexts())
    ground: Ground | None = None

    @property
    def trained_on(self) -> Ground:
        assert self.ground is not None, "a method that is trained was made without its means"
        return self.ground

    @property
    def asked_model(self) -> LanguageModel:
        assert self.model is not None, "a method that asks a model was made without one"
        return self.model


@dataclass(frozen=True)
class ByCounting:
    count: Callable[[Question], tuple[float, ...]]

    async def score(self, question: Question) -> Scored:
        return Scored(self.count(question))


class ByModel:
    """`shown` is the text of a user's question; without it, what was learned for the user."""

    def __init__(self, means: Means, shown: Shown | None = None) -> None:
        self._means = means
        self._ranker = Ranker(means.asked_model)
        self._shown = shown or (lambda question: means.texts.of(question.user_id))

    async def score(self, question: Question) -> Scored:
        titles = self._means.training.titles
        request = RankingRequest(
            history=tuple(titles[item] or None for item in question.history),
            candidates=tuple(Candidate(item, titles[item] or None) for item in question.candidates),
            demonstrated=self._shown(question),
        )
        terms = Terms.within(self._means.seconds, Priority.ROUND)
        ranking = await self._ranker.rank(request, self._means.ranking, terms)
        written = ranking.written
        return Scored(ranking.scores, None if written is None else written.reading)


@dataclass(frozen=True)
class CountingLater:
    """Made when the first is asked: where all answers are kept, it never is."""

    make: Callable[[Training], Count]
    training: Training

    @cached_property
    def _count(self) -> Count:
        return self.make(self.training)

    def __call__(self, question: Question) -> tuple[float, ...]:
        return self._count(question)
