from __future__ import annotations

import gzip
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.catalog.inputs import Kind, NewEvent, NewItem, NewUser
from services.catalog.jsonl import to_line
from services.catalog.loaders import BadLine, Format, read
from services.catalog.loaders.jsonl import line_parser

storable = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
ids = st.text(storable, min_size=1, max_size=128)
labels = st.text(storable, min_size=1, max_size=200)
attributes = st.dictionaries(labels, st.text(storable, max_size=1000), max_size=5)
items = st.builds(
    NewItem,
    item_id=ids,
    title=st.none() | st.text(storable, min_size=1, max_size=1000),
    categories=st.lists(labels, max_size=5).map(tuple),
    attributes=attributes,
    hidden=st.booleans(),
)
users = st.builds(NewUser, user_id=ids, attributes=attributes)
events = st.builds(
    NewEvent,
    event_id=st.none() | ids,
    user_id=ids,
    item_id=ids,
    type=labels,
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    occurred_at=st.none()
    | st.datetimes(
        max_value=datetime(2024, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
        timezones=st.sampled_from([None, UTC]),
    ),
    recommendation_id=st.none() | ids,
)
rows = items | users | events
recognize = line_parser(None)


def reason(line: bytes, kind: Kind | None = None) -> str:
    row = line_parser(kind)(line)
    assert isinstance(row, BadLine), row
    return row.reason


@given(rows)
def test_what_is_exported_is_imported_unchanged(row: NewItem | NewUser | NewEvent) -> None:
    line = to_line(row)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert recognize(line) == row


@settings(deadline=None)  # a busy disk is no failure
@given(st.lists(rows, max_size=8))
def test_a_file_of_mixed_kinds_is_read_back_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, written: list[NewItem | NewUser | NewEvent]
) -> None:
    path = tmp_path_factory.getbasetemp() / "mixed.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(map(to_line, written))))
    assert [line.row for line in read(path, Format.JSONL)] == written


def test_a_line_has_no_more_than_it_says() -> None:
    assert to_line(NewUser(user_id="ü\n")) == '{"user_id":"ü\\n","attributes":{}}\n'.encode()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"item_id":"i"}', Kind.ITEMS),
        (b'{"item_id":"i","title":"T","hidden":true}', Kind.ITEMS),
        (b'{"user_id":"u","attributes":{"age":"30"}}', Kind.USERS),
        (b'{"user_id":"u","item_id":"i","type":"view"}', Kind.EVENTS),
    ],
)
def test_the_fields_say_the_kind(line: bytes, expected: Kind) -> None:
    types = {Kind.ITEMS: NewItem, Kind.USERS: NewUser, Kind.EVENTS: NewEvent}
    assert type(recognize(line)) is types[expected]
    for kind in Kind:
        assert isinstance(line_parser(kind)(line), BadLine) == (kind is not expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"user_id":"a\xff"}', "is not valid UTF-8 (byte 14 of the line)"),
        (b'{"user_id":"a"', "is not valid JSON: EOF while parsing an object at column 14"),
        (b"[1]", "the line: must be an object"),
        (b"{}", "has neither item_id nor user_id: not an item, a user or an event"),
        (b'{"title":"T"}', "item_id: is missing"),
        (b'{"user_id":"u","item_id":"i"}', "type: is missing"),
        (b'{"item_id":"i","type":"view"}', "user_id: is missing"),
        (b'{"user_id":"u","item_id":"","type":"view"}', "item_id: must not be empty"),
        (b'{"user_id":7}', "user_id: must be text"),
        (b'{"user_id":"' + b"u" * 129 + b'"}', "user_id: is longer than 128 characters"),
        (b'{"user_id":"u","age":3}', "age: is not a known field"),
        (b'{"user_id":"\\u0000"}', "user_id: must not contain a null character"),
        (b'{"user_id":"u","attributes":{"age":3}}', "attributes.age: must be text"),
        (b'{"user_id":"u","attributes":[]}', "attributes: must be an object"),
        (b'{"item_id":"i","categories":"x"}', "categories: must be a list"),
        (
            b'{"user_id":"u","item_id":"i","type":"view","value":"much"}',
            "value: must be a number",
        ),
        (
            b'{"user_id":"u","item_id":"i","type":"view","value":NaN}',
            "value: must be a finite number",
        ),
        (
            b'{"user_id":"u","item_id":"i","type":"view","occurred_at":"yesterday"}',
            "occurred_at: is not a time such as 2026-01-31T12:00:00Z",
        ),
        (
            b'{"user_id":"u","item_id":"i","type":"view","occurred_at":"9000-01-01T00:00:00Z"}',
            "occurred_at: lies more than a day in the future",
        ),
        (
            b'{"user_id":1,"item_id":2,"type":3,"value":"x","q":1}',
            "user_id: must be text; item_id: must be text; type: must be text; and 2 more",
        ),
    ],
)
def test_a_bad_line_says_which_field_and_why(line: bytes, expected: str) -> None:
    assert reason(line) == expected


def test_a_reason_stays_short_whatever_the_line_holds() -> None:
    assert len(reason(b'{"user_id":"u","' + b"x" * 500_000 + b'":1}')) < 200


def test_a_kind_given_explicitly_is_what_every_line_must_be() -> None:
    assert reason(b'{"item_id":"i","title":"T"}', Kind.USERS) == (
        "user_id: is missing; item_id: is not a known field; title: is not a known field"
    )
