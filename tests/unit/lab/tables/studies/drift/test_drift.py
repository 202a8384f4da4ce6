"""Lives whose taste changes, and what the figures make of streams of events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lab.shop.taste import Shop, item_odds
from lab.tables.studies.drift.changing import Twins, events_of, twins
from lab.tables.studies.drift.figures import figures_of, markdown, recovered

AT, MORE = 20, 10


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


@pytest.fixture(scope="module")
def asked(shop: Shop) -> list[Twins]:
    return twins(shop, 12, 0, AT, MORE)


def test_twins_are_the_same_before_the_change_and_others_after(asked: list[Twins]) -> None:
    for one in asked:
        changed, unchanged = one.changed, one.unchanged
        np.testing.assert_array_equal(changed.items[:AT], unchanged.items[:AT])
        assert len(changed.items) == len(unchanged.items) == AT + MORE
        assert set(changed.items[AT:].tolist()) != set(unchanged.items[AT:].tolist())
        np.testing.assert_array_equal(changed.liked_at(AT - 1), unchanged.liked_at(AT - 1))


def test_the_taste_changes_at_the_event_and_does_not_without_a_change(asked: list[Twins]) -> None:
    for one in asked:
        shared = len(np.intersect1d(one.changed.liked_at(AT), one.changed.liked_at(AT - 1)))
        assert shared == one.shared < len(one.changed.liked_at(AT)) / 2
        np.testing.assert_array_equal(one.unchanged.liked_at(AT), one.unchanged.liked_at(AT - 1))


def test_what_is_chosen_after_the_change_is_of_the_new_taste(
    shop: Shop, asked: list[Twins]
) -> None:
    def worth(one: Twins, items: Any) -> float:
        odds = item_odds(shop, one.changed.liked_at(AT)[np.newaxis])[0]
        return float(np.log(odds[items]).mean())

    ahead = [
        worth(one, one.changed.items[AT:]) - worth(one, one.unchanged.items[AT:]) for one in asked
    ]
    assert min(ahead) > 0


def test_nothing_is_chosen_twice(asked: list[Twins]) -> None:
    for one in asked:
        for life in (one.changed, one.unchanged):
            assert len(set(life.items.tolist())) == len(life.items)


def test_events_come_in_order_and_have_names_of_their_own(shop: Shop, asked: list[Twins]) -> None:
    events = events_of(shop, asked[0].changed, 0, AT + MORE)
    times = [event.occurred_at for event in events if event.occurred_at is not None]
    assert times == sorted(set(times))
    assert len({event.event_id for event in events}) == AT + MORE == len(times)


def stream(users: int = 30, after: int = 12, slow: int = 8) -> list[dict[str, Any]]:
    """All rank first, but in the changed stream: zero_shot is back from event 4, lrgd from event
    `slow`, static never."""
    back = {"zero_shot": 4, "lrgd": slow, "static": 99}
    rows = []
    for user in range(users):
        for condition, steps in (
            ("both", range(-6, 0)),
            ("changed", range(after + 1)),
            ("unchanged", range(after + 1)),
        ):
            for step in steps:
                worst = {
                    arm: 50 if condition == "changed" and step < event else 1 + (user + step) % 2
                    for arm, event in back.items()
                }
                rows.append(
                    {"condition": condition, "step": step, "user": f"u{user}", "served": True,
                     "kept": False, "ranks": {arm: [rank] * 2 for arm, rank in worst.items()}}
                )  # fmt: skip
    return rows


def test_recovery_is_told_by_arm_and_not_where_there_is_none() -> None:
    figures, detail = figures_of(stream())
    # The mean of three events is back when the third of them is.
    assert figures["recovery.zero_shot"] == 6
    assert figures["recovery.lrgd"] == 10
    assert "recovery.static" not in figures
    assert "static: the mean of 3 events comes back to that of before: does not" in markdown(
        figures, detail
    )


def test_the_change_costs_what_it_took_from_the_same_users() -> None:
    figures, detail = figures_of(stream())
    assert figures["changed.before.lrgd"] == figures["unchanged.before.lrgd"] > 0.8
    assert figures["cost.late.zero_shot"] == 0
    assert figures["cost.late.static"] == pytest.approx(-figures["unchanged.late.static"])
    assert figures["p.late.lrgd_over_static"] < 0.01
    late = next(
        one
        for one in detail["compared"]
        if (one["condition"], one["span"], one["arm"], one["other"])
        == ("changed", "late", "lrgd", "static")
    )
    assert late["interval"][0] > 0


def test_nothing_can_recover_without_a_before() -> None:
    assert recovered([{"step": step, "mean": 1.0, "error": 0.0} for step in range(5)]) is None
