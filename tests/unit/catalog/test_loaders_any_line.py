"""Whatever a line holds, it becomes a row or a reason, and the next line is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.catalog.inputs import NewEvent, NewItem, NewUser
from services.catalog.jsonl import to_line
from services.catalog.loaders import BadLine, Format, UnreadableFile, detect, read
from services.catalog.loaders.jsonl import line_parser

GOOD = {
    Format.JSONL: b'{"user_id":"u"}',
    Format.RECBOLE: b"u\ti\t1\t1\tx y\tt",
    Format.AMAZON: b'{"reviewerID":"u","asin":"i","overall":1,"unixReviewTime":1}',
    Format.GORSE: b'{"UserId":"u"}',
}
HEADER = (
    b"user_id:token\titem_id:token\trating:float\ttimestamp:float\tgenre:token_seq\ttitle:token\n"
)
FIELDS = [
    *NewItem.model_fields,
    *NewUser.model_fields,
    *NewEvent.model_fields,
    *("reviewerID", "asin", "parent_asin", "overall", "rating", "unixReviewTime", "timestamp"),
    *("brand", "price", "categories", "main_cat"),
    *("UserId", "ItemId", "FeedbackType", "Timestamp", "Value", "Labels", "Comment", "IsHidden"),
]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**18), "2020-01-01", "9999-12-31T23:59:59-23:59", "a"])
    | st.floats()
    | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
records = st.dictionaries(st.sampled_from(FIELDS), anything, max_size=12)
noise = (
    st.binary(max_size=60)
    | records.map(lambda record: json.dumps(record).encode())
    | records.map(lambda record: repr(record).encode("utf-8", "replace"))
    | st.lists(st.text(max_size=8), min_size=6, max_size=6).map(
        lambda cells: "\t".join(cells).encode("utf-8", "replace")
    )
)


@pytest.mark.parametrize("format", list(Format))
@settings(deadline=None)  # a busy disk is no failure
@given(line=noise)
def test_no_line_stops_the_stream(
    tmp_path_factory: pytest.TempPathFactory, format: Format, line: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.txt"
    header = HEADER if format is Format.RECBOLE else b""
    good = GOOD[format] + b"\n"
    path.write_bytes(header + good + line.replace(b"\n", b" ") + b"\n" + good)
    before, *between, after = read(path, format)
    assert not isinstance(before.row, BadLine)
    assert not isinstance(after.row, BadLine)
    assert len(between) <= 1
    for found in between:
        if isinstance(found.row, BadLine):
            assert found.row.reason
            assert len(found.row.reason) < 500
        else:
            assert line_parser(None)(to_line(found.row)) == found.row


@settings(deadline=None)  # a busy disk is no failure
@given(content=st.binary(max_size=200) | noise)
def test_detection_answers_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "noise.txt"
    path.write_bytes(content)
    try:
        found, kind = detect(path)
    except UnreadableFile:
        return
    for line in read(path, found, kind):
        assert line.number
