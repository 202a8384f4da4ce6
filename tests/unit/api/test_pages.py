"""Cursors: they bring back the key they were made of, and refuse whatever else is sent."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.pages import LONGEST_CURSOR, EventKey, IdKey, decode_cursor, encode_cursor
from services.errors import MalformedCursor

storable = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")


def written(key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


@given(st.text(storable, min_size=1, max_size=128))
@example("\x01" * 128)
@example("🛒" * 128)
def test_a_cursor_brings_back_any_id(id_: str) -> None:
    cursor = encode_cursor(id_)
    assert len(cursor) <= LONGEST_CURSOR
    assert decode_cursor(cursor, IdKey) == (id_,)


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(min_value=0, max_value=2**63 - 1),
)
def test_a_cursor_brings_back_the_place_of_any_event(moment: datetime, seq: int) -> None:
    assert decode_cursor(encode_cursor(moment, seq), EventKey) == (moment, seq)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "ä",
        "%%%",
        "e30",
        "\x00",
        written([]),
        written({}),
        written([1]),
        written(["a", "b"]),
        written(["nul\x00"]),
        written(["half \ud800"]),
        written(["x" * 129]),
        "W" * 2048,
        base64.urlsafe_b64encode(b"[" * 700).decode(),
    ],
)
def test_a_cursor_that_is_none_of_ours_is_refused(cursor: str) -> None:
    with pytest.raises(MalformedCursor):
        decode_cursor(cursor, IdKey)


@pytest.mark.parametrize(
    "key",
    [
        ["2026-01-02T03:04:05Z"],
        ["yesterday", 1],
        ["2026-01-02T03:04:05", 1],
        ["2026-01-02T03:04:05Z", 2**63],
        ["2026-01-02T03:04:05Z", -1],
        ["2026-01-02T03:04:05Z", 1.5],
        ["2026-01-02T03:04:05Z", "1"],
        [5, 1],
    ],
)
def test_a_place_that_no_event_can_have_is_refused(key: list[Any]) -> None:
    with pytest.raises(MalformedCursor):
        decode_cursor(written(key), EventKey)
