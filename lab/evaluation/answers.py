"""A method's scores of each user, kept in a line of their own: an evaluation goes on where it was
interrupted, and lambda and metrics are applied afterwards."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.evaluation.questions import Question, Split
from lab.evaluation.scorers import Scored, Scorer
from lab.lines import keep_line, read_lines
from services.llm.errors import AbilityMissing, LabelsUnfit, ModelError, WrongModel
from services.prompts import PromptTooLong
from services.ranking.written import Reading

# These would meet every user alike.
_HOPELESS = (AbilityMissing, LabelsUnfit, WrongModel)

TOO_LONG = "prompt_too_long"


@dataclass(frozen=True, slots=True)
class Answer:
    """Scores, or the name of what kept the model from giving them."""

    scored: Scored | None
    failure: str | None = None


Answers = dict[str, Answer]  # by user


async def ask_all(
    split: Split, scorer: Scorer, kept: Path | None, at_once: int, tell: Callable[[int], None]
) -> Answers:
    """Who failed is asked again by a second call; `kept` holds scores alone."""
    answers = {} if kept is None else taken_up(kept, split)
    tell(len(answers))
    turns = asyncio.Semaphore(at_once)

    async def one(question: Question) -> None:
        async with turns:
            answer = await _ask(scorer, question)
        answers[question.user_id] = answer
        if kept is not None and answer.scored is not None:
            _keep(kept, question, answer.scored)
        tell(len(answers))

    try:
        async with asyncio.TaskGroup() as group:
            for question in split.questions:
                if question.user_id not in answers:
                    group.create_task(one(question))
    except* _HOPELESS as hopeless:
        raise _first(hopeless) from None
    return answers


async def _ask(scorer: Scorer, question: Question) -> Answer:
    try:
        scored = await scorer.score(question)
    except _HOPELESS:
        raise
    except ModelError as error:
        return Answer(None, error.outcome)
    except PromptTooLong:
        return Answer(None, TOO_LONG)
    if len(scored.scores) != len(question.candidates) or any(map(math.isnan, scored.scores)):
        raise ValueError(f"a method scored {question.user_id}'s candidates wrongly: {scored}")
    return Answer(scored)


def taken_up(kept: Path, split: Split) -> Answers:
    """What was kept of this split's users. A torn last line is left out."""
    sizes = {question.user_id: len(question.candidates) for question in split.questions}
    answers: Answers = {}
    for row in read_lines(kept):
        try:
            scores, reading = tuple(row["scores"]), row["reading"]
        except (KeyError, TypeError):
            continue
        if sizes.get(row["user_id"]) == len(scores):
            read = None if reading is None else Reading(reading)
            answers[row["user_id"]] = Answer(Scored(scores, read))
    return answers


def _keep(kept: Path, question: Question, scored: Scored) -> None:
    row = {"user_id": question.user_id, "scores": scored.scores, "reading": scored.reading}
    keep_line(kept, row)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
