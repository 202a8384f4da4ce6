"""What rows will ask of a model, before they ask: so many questions and texts, told in tokens and
time from a few that are asked first.

Retries, and what is kept of an interrupted row, are not known beforehand: it is an estimate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from lab.evaluation.methods import METHODS, MethodName, Pool
from lab.evaluation.picked import HINTS, TRIES
from lab.evaluation.questions import Question
from lab.evaluation.scorers import Means
from lab.tables.rows import Row
from services.demonstrations.generation import View, ViewKind, generator_prompt
from services.demonstrations.generator import Generator, Task
from services.demonstrations.snapshot import LEAST_HISTORY, PastItem, Snapshot
from services.llm.port import Priority, Terms, Usage
from services.optimizer.plan import Plan
from services.prompts import Mode
from services.ranking import Candidate, Method, Ranker, RankingRequest

PROBED = 3


@dataclass(frozen=True)
class Asked:
    """Rankings of candidates, and texts or lists that are written."""

    questions: int = 0
    texts: int = 0

    def __add__(self, other: Asked) -> Asked:
        return Asked(self.questions + other.questions, self.texts + other.texts)


@dataclass(frozen=True)
class Probe:
    """What one of each has cost."""

    question: Usage
    text: Usage
    question_seconds: float
    text_seconds: float

    def told(self, asked: Asked, at_once: int) -> str:
        tokens = asked.questions * _tokens(self.question) + asked.texts * _tokens(self.text)
        seconds = asked.questions * self.question_seconds + asked.texts * self.text_seconds
        return (
            f"about {asked.questions:,} questions and {asked.texts:,} texts: {tokens / 1e6:,.1f} M "
            f"tokens, some {max(1, round(seconds / 60 / at_once)):,} minutes"
        )


def asked_for(rows: Sequence[Row], users: int, ranking: Method) -> Asked:
    """Of rows that ask a model, about so many users. What several rows learn alike is learned
    once."""
    total = Asked()
    learned: set[object] = set()
    for row in rows:
        recipe = METHODS[row.method]
        if recipe.asks is None:
            continue
        method = recipe.asks(row.asked(ranking))
        each = Asked(questions=method.permutations)
        if method.mode is Mode.GENERATE:
            each = Asked(texts=method.permutations)
        # The prior's weight is fitted on as many validation questions.
        times = users * (2 if row.fused else 1)
        total += Asked(times * each.questions, times * each.texts)
        lessons = (recipe.learns, recipe.picks, method)
        if lessons not in learned:
            learned.add(lessons)
            total += _lessons(row.method, users, each)
    return total


def _lessons(name: MethodName, users: int, each: Asked) -> Asked:
    recipe = METHODS[name]
    texts = judged = 0
    if recipe.learns is not None:
        texts = recipe.learns.paths * recipe.learns.rounds
        judged = (texts + 1) * Plan().draws  # zero-shot is judged as well
    elif recipe.picks is Pool.HINTS:
        judged = len(HINTS) + 1
    elif recipe.picks is Pool.PERSPECTIVES:
        texts = TRIES * len(ViewKind)
        judged = texts + 1
    return Asked(users * judged * each.questions, users * (texts + judged * each.texts))


async def probe(questions: Sequence[Question], means: Means) -> Probe:
    """Asks a few of these questions, and has one text written."""
    few = [one for one in questions if len(one.history) >= LEAST_HISTORY][:PROBED]
    titles, model = means.training.titles, means.asked_model
    terms = Terms.within(means.seconds * (len(few) + 1), Priority.ROUND)
    ranker = Ranker(model)
    await ranker.prepare(means.ranking, terms)
    began = time.monotonic()
    requests = [
        RankingRequest(
            history=tuple(titles[item] or None for item in one.history),
            candidates=tuple(Candidate(item, titles[item] or None) for item in one.candidates),
        )
        for one in few
    ]
    ranked = await ranker.rank_all(requests, means.ranking, terms)
    question_seconds = (time.monotonic() - began) / max(1, len(few))
    began = time.monotonic()
    text = Usage()
    if few:
        past = tuple(PastItem(item, titles[item] or None) for item in few[0].history)
        prompt = generator_prompt(Snapshot(past), View(), await model.counter(terms))
        (outcome,) = await Generator(model).write([Task(prompt, 0)], terms)
        text = outcome.usage
    return Probe(
        _share(ranked.usage, max(1, len(few))), text, question_seconds, time.monotonic() - began
    )


def _share(usage: Usage, of: int) -> Usage:
    return Usage(usage.prompt // of, usage.completion // of)


def _tokens(usage: Usage) -> int:
    return usage.prompt + usage.completion
