"""Positive events: how the setting is read, and that SQL and Python agree on it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, select

from services.catalog.models import Event
from services.catalog.positives import PositiveEvents, PositiveRule
from services.errors import ConfigurationError
from services.storage.base import Base

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TYPES = ("purchase", "rating", "add to cart")
rules = st.builds(
    lambda type_, sign, bound: f"{type_}{sign}{bound}" if sign else type_,
    st.sampled_from(TYPES),
    st.sampled_from(["", ">", ">=", "<", "<=", "=="]),
    st.integers(-3, 3) | st.decimals(-3, 3, places=1).map(str),
)
values = (
    st.none()
    | st.integers(-3, 3).map(float)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(-3, 3, places=1).map(float)
)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        Base.metadata.create_all(connection)
        yield connection
    engine.dispose()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("purchase", PositiveRule("purchase")),
        (" rating >= 4 ", PositiveRule("rating", ">=", 4.0)),
        ("rating>0", PositiveRule("rating", ">", 0.0)),
        ("rating<=-1.5", PositiveRule("rating", "<=", -1.5)),
        ("stars==5", PositiveRule("stars", "==", 5.0)),
        ("add to cart", PositiveRule("add to cart")),
    ],
)
def test_a_rule_is_a_type_perhaps_with_a_bound(text: str, rule: PositiveRule) -> None:
    assert PositiveRule.parse(text) == rule


@pytest.mark.parametrize("text", ["", ">=4", "rating>=", "rating=4", "rating>=four", "a>1<2"])
def test_a_rule_that_cannot_be_read_is_quoted_with_its_setting(text: str) -> None:
    with pytest.raises(ConfigurationError, match="LRGD_POSITIVE_EVENTS") as refused:
        PositiveEvents.parse(["purchase", text])
    assert repr(text) in str(refused.value)


def test_without_any_rule_nothing_could_be_learned_so_it_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="LRGD_POSITIVE_EVENTS"):
        PositiveEvents.parse([])


def test_a_bound_asks_for_a_value() -> None:
    positives = PositiveEvents.parse(["rating>=-10", "purchase"])
    assert not positives.include("rating", None)
    assert positives.include("purchase", None)
    assert not positives.include("view", 5.0)


@settings(deadline=None)
@given(st.lists(rules, min_size=1, max_size=4), st.sampled_from((*TYPES, "view")), values)
@example(["rating>=0.1"], "rating", 0.1)
def test_the_database_finds_positive_what_python_finds_positive(
    connection: Connection, texts: list[str], type_: str, value: float | None
) -> None:
    positives = PositiveEvents.parse(texts)
    event = {
        "event_id": "e",
        "user_id": "u",
        "item_id": "i",
        "type": type_,
        "value": value,
        "occurred_at": NOW,
        "received_at": NOW,
    }
    with connection.begin_nested() as undone:
        connection.execute(Event.__table__.insert().values(event))  # type: ignore[attr-defined]
        found = connection.scalar(select(Event.event_id).where(positives.clause()))
        undone.rollback()
    assert (found == "e") == positives.include(type_, value)
