"""What a study will cost, from a ranking and a text of its own that are timed before it starts."""

from __future__ import annotations

from lab.tables.pace import Pace
from lab.tables.pace import pace as measured
from services.demonstrations.generation import generator_prompt
from services.demonstrations.snapshot import Snapshot
from services.llm.port import LanguageModel, Priority, Terms
from services.optimizer.material import Question
from services.optimizer.plan import Plan

SECONDS = 300.0  # for the calls of one step; nobody waits


def terms() -> Terms:
    return Terms.within(SECONDS, Priority.ROUND)


async def pace(model: LanguageModel, plan: Plan, question: Question, snapshot: Snapshot) -> Pace:
    prompt = generator_prompt(snapshot, plan.view(0), await model.counter(terms()))
    asked = [question.under(None)]
    return await measured(model, plan.method, asked, prompt, terms(), writing=plan.writing)


def of_rounds(plan: Plan, rounds: int) -> tuple[int, int]:
    """About how many rankings and texts rounds take of a user."""
    questions = plan.held_out * plan.draws
    return questions * (1 + rounds * plan.paths), rounds * plan.paths
