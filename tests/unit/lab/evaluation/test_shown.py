"""Worked examples are of what was taken before; of others, of the training part alone."""

from __future__ import annotations

from lab.evaluation.questions import Question, Training
from lab.evaluation.shown import WorkedExamples

SEQUENCES = {
    "ada": ("a", "b", "c", "d"),
    "bob": ("a", "b", "x"),
    "cem": ("y", "z"),
    "dan": ("q",),
}
TITLES = {item: f"Title {item}" for item in "abcdxyzq"}
EXAMPLES = WorkedExamples(Training(TITLES, SEQUENCES))
ASKED = Question("eve", ("a", "b"), ("c", "x"))


def test_the_users_own_newest_choice_is_an_example() -> None:
    shown = EXAMPLES.recent(ASKED)
    assert shown is not None
    assert shown.current == "Example: after Title a the user chose Title b."


def test_who_took_one_item_has_no_example_of_their_own() -> None:
    assert EXAMPLES.recent(Question("eve", ("a",), ("c",))) is None


def test_the_nearest_users_example_is_what_followed_the_shared_items() -> None:
    shown = EXAMPLES.nearest(ASKED)
    assert shown is not None
    assert shown.current == "Example: after Title a; Title b the user chose Title c."


def test_nobody_is_their_own_neighbor() -> None:
    shown = EXAMPLES.nearest(Question("ada", ("a", "b"), ("c", "x")))
    assert shown is not None
    assert shown.current.endswith("chose Title x.")


def test_like_users_are_merged_into_one_example() -> None:
    shown = EXAMPLES.merged(ASKED)
    assert shown is not None
    assert shown.current == "Example: after Title a; Title b the user chose Title c; Title x."


def test_a_stranger_is_the_same_every_time_and_whole_enough() -> None:
    first = EXAMPLES.random(ASKED)
    assert first is not None
    assert first == EXAMPLES.random(ASKED)
    assert "Title q" not in first.current


def test_without_anybody_near_nothing_is_shown() -> None:
    assert EXAMPLES.nearest(Question("eve", ("q",), ("c",))) is None
    assert EXAMPLES.latest(Question("eve", (), ("c",))) is None


def test_the_newest_item_is_named_once_more() -> None:
    shown = EXAMPLES.latest(ASKED)
    assert shown is not None
    assert shown.current == "Most recently chosen: Title b."
