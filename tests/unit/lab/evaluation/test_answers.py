from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.evaluation.answers import TOO_LONG, ask_all
from lab.evaluation.questions import Question, Split
from lab.evaluation.scorers import Scored
from services.llm.ability import Ability
from services.llm.errors import AbilityMissing, ModelTimeout
from services.prompts import PromptTooLong
from services.ranking.written import Reading


class Scoring:
    """Counts what it is asked; raises what it is told to for a user."""

    def __init__(self, errors: dict[str, Exception] | None = None) -> None:
        self.asked: list[str] = []
        self.errors = errors or {}

    async def score(self, question: Question) -> Scored:
        self.asked.append(question.user_id)
        if question.user_id in self.errors:
            raise self.errors[question.user_id]
        return Scored(tuple(range(len(question.candidates))), Reading.OK)


def nobody(_done: int) -> None:
    pass


async def test_who_was_answered_for_is_not_asked_again(split: Split, tmp_path: Path) -> None:
    kept = tmp_path / "deep" / "kept.jsonl"
    first = await ask_all(split.first(1), Scoring(), kept, 1, nobody)
    second = Scoring()
    answers = await ask_all(split, second, kept, 1, nobody)
    assert second.asked == ["bob"]
    assert answers["ada"] == first["ada"]
    assert answers["ada"].scored == Scored((0, 1, 2, 3), Reading.OK)


async def test_who_failed_is_counted_and_asked_again(split: Split, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    failing = Scoring({"ada": ModelTimeout("late"), "bob": PromptTooLong(9, 8)})
    answers = await ask_all(split, failing, kept, 4, nobody)
    assert {user: answer.failure for user, answer in answers.items()} == {
        "ada": "timeout",
        "bob": TOO_LONG,
    }
    again = Scoring()
    assert (await ask_all(split, again, kept, 4, nobody))["ada"].failure is None
    assert sorted(again.asked) == ["ada", "bob"]


async def test_a_torn_line_costs_one_user(split: Split, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    await ask_all(split, Scoring(), kept, 1, nobody)
    whole = kept.read_text()
    kept.write_text(whole[:-20])
    second = Scoring()
    await ask_all(split, second, kept, 1, nobody)
    assert second.asked == ["bob"]
    third = Scoring()
    await ask_all(split, third, kept, 1, nobody)
    assert third.asked == []
    assert json.loads(kept.read_text().splitlines()[-1])["user_id"] == "bob"


async def test_what_the_model_can_never_do_stops_the_evaluation(split: Split) -> None:
    missing = AbilityMissing(Ability.TITLE_LIKELIHOOD, "it does not score titles")
    with pytest.raises(AbilityMissing, match="does not score titles"):
        await ask_all(split, Scoring({"ada": missing}), None, 1, nobody)


async def test_scores_that_cannot_be_are_an_error(split: Split) -> None:
    class Wrong:
        async def score(self, question: Question) -> Scored:
            return Scored((float("nan"),) * len(question.candidates))

    with pytest.raises(ExceptionGroup) as raised:
        await ask_all(split, Wrong(), None, 1, nobody)
    assert "wrongly" in str(raised.value.exceptions[0])
