"""What the loose rule of earlier work finds in outputs where strict reading finds less."""

from __future__ import annotations

import pytest

from lab.tables.studies.hallucination.substring import named_by_substring
from services.prompts import Mode, Prompt, PromptFormat, PromptRequest, compose
from services.ranking.written import Reading, read_list

TITLES = ("Lumaro Premium Keyboard", "Ravensby Compact Headlamp", "Fernhall Coastal Planter")


def prompt(*, mode: Mode = Mode.GENERATE, order: tuple[int, ...] | None = None) -> Prompt:
    return compose(PromptFormat(mode=mode), PromptRequest((), TITLES, order), len)


def test_both_rules_read_a_list_of_labels_alike() -> None:
    shown = prompt(order=(2, 0, 1))
    answer = f" {shown.labels[1]} {shown.labels[0]}"
    assert read_list(answer, shown, 2).listed == (0, 2)
    assert named_by_substring(answer, shown) == (0, 2)


def test_a_sentence_about_a_title_names_it_for_the_loose_rule_alone() -> None:
    answer = "I would not take the fernhall coastal planter, too dear"
    strict = read_list(answer, prompt(), 3)
    assert strict.reading is Reading.MALFORMED
    assert named_by_substring(answer, prompt()) == (2,)


def test_an_item_that_does_not_exist_names_those_it_is_half_like() -> None:
    answer = "Ravensby Playful Headlamp"
    assert read_list(answer, prompt(), 1).out_of_list > 0
    assert named_by_substring(answer, prompt()) == (1,)
    assert named_by_substring(answer, prompt(), share=0.9) == ()


def test_the_first_mention_counts_and_repetition_is_not_seen() -> None:
    answer = f"{TITLES[1]}\n{TITLES[1]}\n{TITLES[0]}"
    assert read_list(answer, prompt(), 3).repeated == 1
    assert named_by_substring(answer, prompt()) == (1, 0)


def test_without_labels_in_the_prompt_titles_alone_are_looked_for() -> None:
    assert named_by_substring("SR CV LL", prompt(mode=Mode.LIKELIHOOD)) == ()
    assert named_by_substring(TITLES[0], prompt(mode=Mode.LIKELIHOOD)) == (0,)


@pytest.mark.parametrize("answer", ["", " \n ", "..."])
def test_nothing_said_names_nothing(answer: str) -> None:
    assert named_by_substring(answer, prompt()) == ()
