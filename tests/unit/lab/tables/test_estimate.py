"""What rows will ask is known before they ask."""

from __future__ import annotations

from lab.tables.estimate import Asked, asked_for
from lab.tables.pace import Pace
from lab.tables.rows import ROWS
from services.optimizer.plan import Plan
from services.prompts import Mode, PromptFormat
from services.ranking import Method

BY_TITLE = Method(PromptFormat(mode=Mode.LIKELIHOOD))
DRAWS = Plan().draws


def asked(*rows: str, users: int = 10) -> Asked:
    return asked_for([ROWS[row] for row in rows], users, BY_TITLE)


def test_counting_and_networks_ask_nothing() -> None:
    assert asked("popularity", "sasrec", "sasrec_fused") == Asked()


def test_a_fused_row_asks_the_validation_questions_as_well() -> None:
    assert asked("zero_shot") == Asked(rankings=10)
    assert asked("zero_shot_fused") == Asked(rankings=20)


def test_rounds_write_and_judge_every_text() -> None:
    judged = 10 * (3 * 2 + 1) * DRAWS
    assert asked("whole_step") == Asked(rankings=10 + judged, texts=60)


def test_below_a_whole_step_the_texts_of_a_round_share_the_prompt_without() -> None:
    whole, part = asked("whole_step"), asked("lrgd")
    in_the_end, in_rounds = 10, 10 * 2 * DRAWS
    assert part == whole + Asked(rankings=in_the_end + in_rounds)


def test_what_two_rows_learn_alike_is_learned_once() -> None:
    one, both = asked("lrgd"), asked("lrgd", "lrgd_fused")
    assert both == one + Asked(rankings=2 * 20)
    assert asked("generated", "generated_part") == asked("generated") + Asked(rankings=2 * 10)
    assert asked("lrgd", "best_of_n").texts == 2 * one.texts


def test_lists_are_written() -> None:
    assert asked("llm4rs") == Asked(texts=10)


def test_it_is_told_in_tokens_and_time_of_calls_at_once() -> None:
    pace = Pace(ranking_tokens=1_000, ranking_seconds=0.6, text_tokens=500, text_seconds=6)
    told = pace.told(1_000, 100, at_once=4)
    assert told == "about 1,000 rankings and 100 texts: 1.1 M tokens, some 5 minutes"
