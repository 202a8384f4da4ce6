"""What a model is asked for a ranking, worked out before, so that its answer is timed alone.

The questions are those that a `Ranker` asks: it is given a model that notes them.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, cycle, islice
from typing import Self

from lab.mini.conditions import CANDIDATES, Condition, questions
from lab.shop.catalog import Item, build_catalog
from lab.shop.taste import EVALUATION_USERS, Shop
from services.llm.chat import Chat, Message
from services.llm.port import (
    Count,
    Engine,
    Finish,
    Generated,
    GenerationRequest,
    LabelRow,
    Labels,
    LabelScores,
    LabelSource,
    LanguageModel,
    Terms,
    TitleScore,
    TitleScores,
    Usage,
)
from services.prompts import Mode
from services.ranking import Candidate, Method, Ranker, RankingRequest

SECONDS = 60.0
WARM_USERS = 8


@dataclass(frozen=True)
class Question(ABC):
    chat: Chat

    @abstractmethod
    async def put_to(self, model: LanguageModel) -> Usage: ...

    def behind(self, line: str) -> Self:
        """The same with another first line, so that no cache knows its beginning."""
        first, *rest = self.chat.messages
        begun = Message(first.role, f"{line}\n{first.content}")
        return replace(self, chat=replace(self.chat, messages=(begun, *rest)))


@dataclass(frozen=True)
class ByLabels(Question):
    labels: Labels

    async def put_to(self, model: LanguageModel) -> Usage:
        scores = await model.score_labels([self.chat], self.labels, Terms.within(SECONDS))
        return scores.usage


@dataclass(frozen=True)
class ByTitles(Question):
    titles: tuple[str, ...]

    async def put_to(self, model: LanguageModel) -> Usage:
        return (await model.score_titles(self.chat, self.titles, Terms.within(SECONDS))).usage


@dataclass(frozen=True)
class ByList(Question):
    request: GenerationRequest

    async def put_to(self, model: LanguageModel) -> Usage:
        request = replace(self.request, chat=self.chat)
        (written,) = await model.generate([request], Terms.within(SECONDS))
        return written.usage


class Asked:
    """Questions about users of the generated shop: with a history of their own, a truthful
    demonstration, and 50 candidates."""

    def __init__(self, model: LanguageModel, *, users: int, seed: int) -> None:
        self._notes = _Notes(model)
        self._ranker = Ranker(self._notes)
        self._items = build_catalog().items
        self._requests = _requests(users)
        self._draws = random.Random(seed)
        self._numbers = count(1)

    async def cold(self, mode: Mode, wanted: int) -> list[Question]:
        """Each about another user, as far as they go, and none begins like any before."""
        start = self._draws.randrange(len(self._requests))
        users = islice(cycle(self._requests), start, start + wanted)
        return [(await self._about(one, mode)).behind(self._unheard()) for one in users]

    async def cached(self, mode: Mode, wanted: int) -> tuple[list[Question], list[Question]]:
        """Some that make instruction, demonstration and history of a few users known, and then
        those to be timed: the candidates are fresh in every one."""
        users = self._draws.sample(self._requests, min(WARM_USERS, len(self._requests)))
        return (
            [await self._about(one, mode) for one in users],
            [await self._about(one, mode) for one in islice(cycle(users), wanted)],
        )

    async def labels(self) -> Labels:
        """All that the engine has, in their order."""
        everyone = replace(self._requests[0], candidates=self._drawn(128))
        asked = await self._noted(everyone, Mode.FIRST_TOKEN)
        assert isinstance(asked, ByLabels)
        return asked.labels

    async def _about(self, request: RankingRequest, mode: Mode) -> Question:
        return await self._noted(replace(request, candidates=self._drawn(CANDIDATES)), mode)

    async def _noted(self, request: RankingRequest, mode: Mode) -> Question:
        await self._ranker.rank(request, Method().in_mode(mode), Terms.within(SECONDS))
        return self._notes.taken()

    def _drawn(self, wanted: int) -> tuple[Candidate, ...]:
        drawn: Sequence[Item] = self._draws.sample(self._items, wanted)
        return tuple(Candidate(item.item_id, item.title) for item in drawn)

    def _unheard(self) -> str:
        return f"Shop {self._draws.randrange(10**6)}-{next(self._numbers)}."


class _Notes:
    """A model that is asked for the tokens of texts alone; all else it notes."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._noted: list[Question] = []

    def taken(self) -> Question:
        (question,), self._noted = self._noted, []
        return question

    async def describe(self, terms: Terms) -> Engine:
        return await self._model.describe(terms)

    async def tokenize(self, prompt: Chat | str, terms: Terms) -> tuple[int, ...]:
        return await self._model.tokenize(prompt, terms)

    async def count(self, prompt: Chat | str, terms: Terms) -> int:
        return await self._model.count(prompt, terms)

    async def counter(self, terms: Terms, texts: Sequence[str] = ()) -> Count:
        return await self._model.counter(terms, texts)

    async def score_labels(
        self,
        chats: Sequence[Chat],
        labels: Labels,
        terms: Terms,  # noqa: ARG002
    ) -> LabelScores:
        self._noted += [ByLabels(chat, labels) for chat in chats]
        row = LabelRow((0.0,) * len(labels.texts))
        return LabelScores((row,) * len(chats), LabelSource.EXACT, Usage())

    async def score_titles(
        self,
        chat: Chat,
        titles: Sequence[str],
        terms: Terms,  # noqa: ARG002
        *,
        end: str | None = None,
    ) -> TitleScores:
        assert end is None, "a ranking ends titles as the model does"
        self._noted.append(ByTitles(chat, tuple(titles)))
        return TitleScores((TitleScore(0.0, 1),) * len(titles), Usage())

    async def generate(
        self,
        requests: Sequence[GenerationRequest],
        terms: Terms,  # noqa: ARG002
    ) -> tuple[Generated, ...]:
        self._noted += [ByList(request.chat, request) for request in requests]
        return tuple(Generated("", Finish.STOP, Usage()) for _ in requests)

    async def aclose(self) -> None:
        """The model is its owner's."""


def _requests(users: int) -> list[RankingRequest]:
    """Of users whose history reaches beyond what a prompt shows, so that it can be summarized."""
    method = Method()
    return list(islice(_with_demonstration(method, users), users))


def _with_demonstration(method: Method, at_once: int) -> Iterator[RankingRequest]:
    for start in range(0, len(EVALUATION_USERS), at_once):
        numbers = EVALUATION_USERS[start : start + at_once]
        for one in questions(Shop(), numbers, method.form.limits.history_items):
            request, _ = one.under(Condition.ORACLE_DEMO, method)
            if request.demonstrated is not None:
                yield request
