"""Of what a landscape is made."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from lab.lines import keep_line
from lab.shop.taste import Shop
from lab.tables.studies.collapse.spaces import Space, _key, landscape_of, read_judged, spaces
from services.optimizer.plan import Plan

PLAN = Plan()


@pytest.fixture(scope="module")
def space() -> Space:
    return next(iter(spaces(Shop(), 1, 2, 2, PLAN)))


def test_a_space_names_the_past_that_prompts_do_not_show_anyway(space: Space) -> None:
    named = {item.title for items in space.choices for item in items}
    assert len(named) == 4
    for question in space.questions:
        history = question.request.history
        assert named <= set(history)
        assert not named & set(history[-PLAN.method.form.limits.history_items :])


def test_no_held_out_item_is_named_and_all_are_asked_about(space: Space) -> None:
    truths = {question.truth for question in space.questions}
    assert len(truths) == PLAN.held_out
    assert len(space.questions) == PLAN.held_out * PLAN.draws
    assert not truths & {item.item_id for items in space.choices for item in items}
    for question in space.questions:
        ids = [candidate.item_id for candidate in question.request.candidates]
        assert question.truth in ids
        assert len(set(ids)) == PLAN.candidates


def test_every_place_is_another_text_and_neighbors_differ_in_one_item(space: Space) -> None:
    texts = {space.text(place) for place in space.places}
    assert len(texts) == len(space.places) == 4
    one, other = (set(space.text(place).split("\n")[1].split("; ")) for place in ((0, 0), (0, 1)))
    assert len(one & other) >= 1


def test_the_same_users_come_again(space: Space) -> None:
    found = list(islice(spaces(Shop(), 3, 2, 2, PLAN), 3))
    assert found[0] == space
    assert len({one.user for one in found}) == 3


def test_only_what_was_asked_in_the_same_way_is_read_again(space: Space, tmp_path: Path) -> None:
    file = tmp_path / "user.jsonl"
    for place in (None, *space.places):
        judged = [[one.event_id, one.draw, 3, -1.5] for one in space.questions]
        keep_line(file, {"place": place, "key": _key(space, place, "now"), "judged": judged})
    with file.open("a") as lines:
        lines.write('{"place": [0, 0], "key": "tor')
    found = read_judged(space, file, "now")
    assert set(found) == {None, *space.places}
    assert read_judged(space, file, "another model") == {}
    land = landscape_of(space, found, PLAN.z)
    assert land.qualities[0, 0].log_score == -1.5
    assert land.newest_event == space.questions[0].event_id
