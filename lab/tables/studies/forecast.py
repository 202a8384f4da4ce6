"""What a study will cost, from one ranking and one text that are timed before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass

from services.demonstrations.generation import generator_prompt
from services.demonstrations.generator import Generator, Task
from services.demonstrations.snapshot import Snapshot
from services.llm.port import LanguageModel, Priority, Terms
from services.optimizer.material import Question
from services.optimizer.plan import Plan
from services.ranking import Ranker

SECONDS = 300.0  # for the calls of one step; nobody waits


def terms() -> Terms:
    return Terms.within(SECONDS, Priority.ROUND)


@dataclass(frozen=True, slots=True)
class Pace:
    """Tokens and seconds of one ranking, and of one text."""

    ranking_tokens: float
    ranking_seconds: float
    text_tokens: float
    text_seconds: float

    def forecast(self, *, users: int, rankings: int, texts: int) -> str:
        """`rankings` and `texts` are of one user."""
        tokens = users * (rankings * self.ranking_tokens + texts * self.text_tokens)
        seconds = users * (rankings * self.ranking_seconds + texts * self.text_seconds)
        return (
            f"{users:,} users, each about {rankings:,} rankings and {texts:,} texts: about "
            f"{tokens:,.0f} tokens, {max(1, round(seconds / 60)):,} minutes one call after another"
        )


async def pace(model: LanguageModel, plan: Plan, question: Question, snapshot: Snapshot) -> Pace:
    ranker = Ranker(model)
    request = question.under(None)
    await ranker.rank(request, plan.method, terms())  # loads the model and finds its labels
    began = time.perf_counter()
    ranked = await ranker.rank_all([request], plan.method, terms())
    ranking_seconds = time.perf_counter() - began
    prompt = generator_prompt(snapshot, plan.view(0), await model.counter(terms()))
    began = time.perf_counter()
    (outcome,) = await Generator(model).write([Task(prompt, 0)], terms(), plan.writing)
    return Pace(
        ranked.usage.prompt + ranked.usage.completion,
        ranking_seconds,
        outcome.usage.prompt + outcome.usage.completion,
        time.perf_counter() - began,
    )


def of_rounds(plan: Plan, rounds: int) -> tuple[int, int]:
    """About how many rankings and texts rounds take of a user."""
    questions = plan.held_out * plan.draws
    return questions * (1 + rounds * plan.paths), rounds * plan.paths
