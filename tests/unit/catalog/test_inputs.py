"""What an event, an item or a user may say, and how an event is identified."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.catalog.inputs import NewEvent, NewItem, NewUser

EVENT = {"user_id": "u", "item_id": "i", "type": "rating", "value": 4.0}


def event(**changes: Any) -> NewEvent:
    return NewEvent(**{**EVENT, **changes})


def test_an_event_with_a_time_is_identified_by_its_content() -> None:
    moment = datetime(2026, 1, 2, 3, tzinfo=UTC)
    first = event(occurred_at=moment).event_id
    assert first == event(occurred_at="2026-01-02T04:00:00+01:00").event_id
    assert first == event(occurred_at=moment, recommendation_id="rec-1").event_id
    for change in (
        {"user_id": "v"},
        {"item_id": "j"},
        {"type": "view"},
        {"value": 5.0},
        {"value": None},
        {"occurred_at": moment + timedelta(microseconds=1)},
    ):
        assert event(**{"occurred_at": moment, **change}).event_id != first, change


def test_an_event_with_neither_id_nor_time_is_always_a_new_one() -> None:
    assert event().event_id != event().event_id


def test_the_id_that_the_caller_gave_is_kept() -> None:
    assert event(event_id="order-17").event_id == "order-17"


def test_an_event_without_a_time_happened_now() -> None:
    before = datetime.now(UTC)
    occurred_at = event().occurred_at
    assert occurred_at is not None
    assert before <= occurred_at <= datetime.now(UTC)


def test_times_are_kept_in_utc_and_without_a_zone_read_as_utc() -> None:
    expected = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    for text in ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02T05:04:05+02:00"):
        occurred_at = event(occurred_at=text).occurred_at
        assert occurred_at == expected
        assert occurred_at.tzinfo is UTC


def test_a_clock_may_be_a_little_ahead_but_not_a_year() -> None:
    event(occurred_at=datetime.now(UTC) + timedelta(hours=23))
    with pytest.raises(ValidationError, match="future"):
        event(occurred_at=datetime.now(UTC) + timedelta(days=2))


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": ""},
        {"user_id": "x" * 129},
        {"user_id": 7},
        {"item_id": "nul\x00"},
        {"item_id": "half \ud800"},
        {"type": ""},
        {"value": float("nan")},
        {"value": float("inf")},
        {"occurred_at": "yesterday"},
        {"occurred_at": "9999-12-31T23:59:59-23:59"},
        {"colour": "red"},
    ],
)
def test_what_no_database_could_keep_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        event(**change)


def test_ids_are_opaque() -> None:
    for id_ in ("a/b", "../x", "%2F", "Ü", "🛒", " ", "A", "x" * 128):
        assert NewItem(item_id=id_).item_id == id_
        assert NewUser(user_id=id_).user_id == id_
