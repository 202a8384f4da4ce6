"""One user's questions put to one engine. Each answer is kept in a line of its own, so that an
evaluation goes on where it was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.lines import keep_line, read_lines
from lab.mini.conditions import CANDIDATES, Condition, Question
from lab.shop.taste import Shop
from services.demonstrations.demonstration import Demonstration
from services.demonstrations.generator import Generator, Task, Writing
from services.llm.port import LanguageModel, Terms
from services.prompts import Demonstrated, Mode
from services.prompts.titles import fold
from services.ranking import Method, Ranker, Ranking, in_order

SAMPLES = 10  # demonstrations of one user, to see how they differ
SECONDS = 300.0


@dataclass(frozen=True)
class Asked:
    """What an engine is asked about each user; `sampled` users write ten demonstrations more."""

    method: Method
    modes: tuple[Mode, ...] = ()
    sampled: frozenset[int] = frozenset()
    conditions: tuple[Condition, ...] = tuple(Condition)


@dataclass
class Answer:
    """`ranks` of the truth: by condition in the method's mode, by mode in `zero_shot`."""

    user: int
    ranks: dict[str, int] = field(default_factory=dict)
    mode_ranks: dict[str, int] = field(default_factory=dict)
    popularity_rank: int = 0
    label_scores: list[float] = field(default_factory=list)
    written: str | None = None
    refusals: list[str] = field(default_factory=list)
    samples: list[str | None] = field(default_factory=list)
    free_samples: list[str | None] = field(default_factory=list)
    readings: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0


class Examiner:
    def __init__(self, model: LanguageModel, shop: Shop, asked: Asked) -> None:
        self._ranker = Ranker(model)
        self._model = model
        titles = {fold(item.title) for item in shop.catalog.items}
        self._generator = Generator(model, is_item=titles.__contains__)
        self._shop = shop
        self._asked = asked

    async def answer(self, question: Question) -> Answer:
        asked, answer = self._asked, Answer(question.user)
        by_popularity = in_order(
            [one.item_id for one in question.request.candidates], question.popularity
        )
        truth = [one.item_id for one in question.request.candidates].index(question.truth)
        answer.popularity_rank = 1 + by_popularity.index(truth)
        generated = None
        if Condition.GENERATED in asked.conditions:
            generated = await self._write(question, answer)
        for condition in asked.conditions:
            ranking = await self._ranked(question, condition, asked.method, generated)
            answer.ranks[condition] = ranking.rank_of(question.truth)
            if condition is Condition.ZERO_SHOT:
                answer.label_scores = [round(score, 5) for score in ranking.scores]
                answer.mode_ranks[asked.method.mode] = answer.ranks[condition]
        for mode in asked.modes:
            if mode is not asked.method.mode:
                method = asked.method.in_mode(mode)
                ranking = await self._ranked(question, Condition.ZERO_SHOT, method, None)
                answer.mode_ranks[mode] = ranking.rank_of(question.truth)
                if ranking.written is not None:
                    answer.readings[ranking.written.reading] = 1
        return answer

    async def _ranked(
        self,
        question: Question,
        condition: Condition,
        method: Method,
        generated: Demonstrated | None,
    ) -> Ranking:
        request, method = question.under(condition, method, generated)
        return await self._ranker.rank(request, method, Terms.within(SECONDS))

    async def _write(self, question: Question, answer: Answer) -> Demonstrated | None:
        """As the system does: checked, and asked for again a few times. Then nothing is shown."""
        prompt = question.generator_prompt(
            self._shop, await self._model.counter(Terms.within(SECONDS))
        )
        (outcome,) = await self._generator.write(
            [Task(prompt, question.user)], Terms.within(SECONDS)
        )
        answer.refusals = list(outcome.refusals)
        if question.user in self._asked.sampled:
            tasks = [Task(prompt, 10_000_000 + SAMPLES * question.user + n) for n in range(SAMPLES)]
            answer.samples = await self._first_tries(tasks, Writing(attempts=1))
            answer.free_samples = await self._first_tries(
                tasks, Writing(attempts=1, constrained=False)
            )
        if outcome.demonstration is None:
            return None
        answer.written = outcome.demonstration.as_json()
        return Demonstrated(outcome.demonstration.as_text())

    async def _first_tries(self, tasks: Sequence[Task], writing: Writing) -> list[str | None]:
        outcomes = await self._generator.write(tasks, Terms.within(SECONDS), writing)
        return [_text(outcome.demonstration) for outcome in outcomes]


async def answer_all(
    examiner: Examiner, asked: Iterable[Question], file: Path, *, at_once: int = 1
) -> None:
    """Appends a line for each question as it is answered."""
    turns = asyncio.Semaphore(at_once)

    async def one(question: Question) -> None:
        async with turns:
            answer = await examiner.answer(question)
        keep_line(file, asdict(answer))

    async with asyncio.TaskGroup() as group:
        for question in asked:
            group.create_task(one(question))


def read_answers(files: Iterable[Path], users: Collection[int]) -> list[Answer]:
    """Of these users, in the order of their numbers, one each."""
    found: dict[int, Answer] = {}
    for file in files:
        for row in read_lines(file):
            answer = Answer(**row)
            if answer.user in users and len(answer.label_scores) == CANDIDATES:
                found[answer.user] = answer
    return [found[user] for user in sorted(found)]


def _text(demonstration: Demonstration | None) -> str | None:
    return None if demonstration is None else demonstration.as_text()
