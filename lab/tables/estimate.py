"""How much rows will ask of a model: rankings of candidates, and texts or lists to be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.evaluation.methods import METHODS, MethodName, Pool
from lab.evaluation.picked import HINTS, TRIES
from lab.evaluation.questions import Question
from lab.evaluation.scorers import Means
from lab.tables.pace import Pace, pace
from lab.tables.rows import Row
from services.demonstrations.generation import View, ViewKind, generator_prompt
from services.demonstrations.snapshot import LEAST_HISTORY, PastItem, Snapshot
from services.errors import ConfigurationError
from services.llm.port import Priority, Terms
from services.optimizer.plan import Plan
from services.prompts import Mode
from services.ranking import Candidate, Method, RankingRequest

TIMED = 3


@dataclass(frozen=True)
class Asked:
    rankings: int = 0
    texts: int = 0

    def __add__(self, other: Asked) -> Asked:
        return Asked(self.rankings + other.rankings, self.texts + other.texts)


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
        prompts = method.prompts(demonstrated=True)
        each = Asked(rankings=prompts)
        if method.mode is Mode.GENERATE:
            each = Asked(texts=prompts)
        # The prior's weight is fitted on as many validation questions.
        times = users * (2 if row.fused else 1)
        total += Asked(times * each.rankings, times * each.texts)
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
    return Asked(users * judged * each.rankings, users * (texts + judged * each.texts))


async def pace_of(questions: Sequence[Question], means: Means) -> Pace:
    """Of a few of these questions."""
    few = [one for one in questions if len(one.history) >= LEAST_HISTORY][:TIMED]
    if not few:
        raise ConfigurationError(f"nobody has a history of {LEAST_HISTORY} items to ask about")
    titles, model = means.training.titles, means.asked_model
    terms = Terms.within(means.seconds * (len(few) + 2), Priority.ROUND)
    requests = [
        RankingRequest(
            history=tuple(titles[item] or None for item in one.history),
            candidates=tuple(Candidate(item, titles[item] or None) for item in one.candidates),
        )
        for one in few
    ]
    past = tuple(PastItem(item, titles[item] or None) for item in few[0].history)
    prompt = generator_prompt(Snapshot(past), View(), await model.counter(terms))
    return await pace(model, means.ranking, requests, prompt, terms)
