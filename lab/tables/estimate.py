"""How much rows will ask of a model: rankings of candidates, and texts or lists to be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.evaluation.methods import METHODS, Pool, Recipe
from lab.evaluation.picked import HINTS, TRIES
from lab.evaluation.questions import Question
from lab.evaluation.scorers import Means
from lab.tables.pace import Pace, pace
from lab.tables.rows import Row
from services.demonstrations.generation import View, ViewKind, generator_prompt
from services.demonstrations.snapshot import LEAST_HISTORY, PastItem, Snapshot
from services.errors import ConfigurationError
from services.llm.port import Priority, Terms
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
        # The prior's weight is fitted on as many validation questions.
        times = users * (2 if row.fused else 1)
        total += _ranked(times * method.prompts(demonstrated=True), method)
        lessons = (
            (recipe.picks, method) if recipe.learns is None else recipe.learns.learning(method)
        )
        if lessons not in learned:
            learned.add(lessons)
            total += _lessons(recipe, users, method)
    return total


def _lessons(recipe: Recipe, users: int, method: Method) -> Asked:
    texts = judged = 0
    if recipe.learns is not None:
        learning = recipe.learns.learning(method)
        plan, rounds = learning.plan, learning.rounds
        texts = plan.paths * rounds
        # Zero-shot is judged as well; below a whole step all texts of a round share its prompt.
        again = rounds if plan.step_size < 1 else 0
        judged = (1 + texts + again) * plan.draws * method.permutations
    elif recipe.picks is Pool.HINTS:
        judged = len(HINTS) + 1
    elif recipe.picks is Pool.PERSPECTIVES:
        texts = TRIES * len(ViewKind)
        judged = texts + 1
    if recipe.picks is not None:
        judged *= method.prompts(demonstrated=True)
    return Asked(texts=users * texts) + _ranked(users * judged, method)


def _ranked(prompts: int, method: Method) -> Asked:
    """A list that is written is a text."""
    return Asked(texts=prompts) if method.mode is Mode.GENERATE else Asked(rankings=prompts)


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
