from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.catalog.inputs import Kind, NewEvent, NewItem, NewUser
from services.catalog.loaders import BadLine, Format, Row, read


def one(tmp_path: Path, line: str, kind: Kind | None = None) -> Row | BadLine:
    path = tmp_path / "bulk.jsonl"
    path.write_text(line, encoding="utf-8")
    (found,) = read(path, Format.GORSE, kind)
    return found.row


def event(tmp_path: Path, line: str) -> NewEvent:
    row = one(tmp_path, line)
    assert isinstance(row, NewEvent), row
    return row


@pytest.mark.parametrize(
    ("labels", "attributes"),
    [
        ('{"性别":"男","age":30,"vip":true}', {"性别": "男", "age": "30", "vip": "yes"}),
        ('["a","b"]', {"labels": "a, b"}),
        ('{"likes":["a","b"],"embedding":[0.1,0.2],"in":{"x":{"y":"z"}},"no":null}', None),
        ("null", {}),
    ],
)
def test_labels_of_a_user_are_attributes(
    tmp_path: Path, labels: str, attributes: dict[str, str] | None
) -> None:
    if attributes is None:
        attributes = {"likes": "a, b", "in.x.y": "z"}
    row = one(tmp_path, f'{{"UserId":"1","Labels":{labels},"Comment":""}}')
    assert row == NewUser(user_id="1", attributes=attributes)


def test_an_item_has_its_comment_for_a_title(tmp_path: Path) -> None:
    row = one(
        tmp_path,
        '{"ItemId":"m1","IsHidden":true,"Categories":["Comedy","Animation"],'
        '"Timestamp":"2015-01-01T00:00:00.000000001Z","Labels":{"genre":["comedy"]},'
        '"Comment":"Minions\\r\\n(2015)"}',
    )
    assert row == NewItem(
        item_id="m1",
        title="Minions (2015)",
        categories=("Comedy", "Animation"),
        attributes={"genre": "comedy"},
        hidden=True,
    )


def test_categories_may_be_null(tmp_path: Path) -> None:
    line = '{"ItemId":"m1","IsHidden":false,"Categories":null,"Labels":null,"Comment":""}'
    assert one(tmp_path, line) == NewItem(item_id="m1")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2020-01-02T03:04:05.123456789Z", datetime(2020, 1, 2, 3, 4, 5, 123456, UTC)),
        ("2020-01-02 03:04:05 +0000 UTC", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2020-01-02 03:04:05.5 +0800 CST", datetime(2020, 1, 1, 19, 4, 5, 500000, UTC)),
        ("2020-01-02T03:04:05-05:30", datetime(2020, 1, 2, 8, 34, 5, tzinfo=UTC)),
        ("2020/1/2 3:04", datetime(2020, 1, 2, 3, 4, tzinfo=UTC)),
        ("2020-01-02", datetime(2020, 1, 2, tzinfo=UTC)),
        ("1577934245", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_feedback_is_an_event(tmp_path: Path, written: str, expected: datetime) -> None:
    row = event(
        tmp_path,
        f'{{"FeedbackType":"star","UserId":"u","ItemId":"i","Timestamp":"{written}","Value":2.5,'
        '"Comment":"","Updated":"2024-01-01T00:00:00Z","Labels":null}',
    )
    assert (row.type, row.user_id, row.item_id, row.value) == ("star", "u", "i", 2.5)
    assert row.occurred_at == expected


@pytest.mark.parametrize("written", ["0001-01-01T00:00:00Z", "0001-01-01 00:00:00 +0000 UTC", ""])
def test_no_time_and_no_value_are_not_zeros(tmp_path: Path, written: str) -> None:
    before = datetime.now(UTC)
    row = event(
        tmp_path,
        f'{{"FeedbackType":"like","UserId":"u","ItemId":"i","Timestamp":"{written}","Value":0}}',
    )
    assert row.value is None
    assert row.occurred_at is not None
    assert row.occurred_at >= before


def test_field_names_are_found_in_any_case(tmp_path: Path) -> None:
    assert one(tmp_path, '{"userid":"u","labels":{"A":"b"}}') == NewUser(
        user_id="u", attributes={"A": "b"}
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"FeedbackType":"like","UserId":"u"}', "ItemId: is missing"),
        ('{"FeedbackType":"","UserId":"u","ItemId":"i"}', "FeedbackType: must not be empty"),
        (
            '{"FeedbackType":"l","UserId":"u","ItemId":"i","Timestamp":"2020-13-01"}',
            "Timestamp: is not a time such as 2026-01-31T12:00:00Z",
        ),
        (
            '{"FeedbackType":"l","UserId":"u","ItemId":"i","Value":"much"}',
            "Value: must be a number",
        ),
        ('{"ItemId":"i","IsHidden":"perhaps"}', "IsHidden: must be true or false"),
        ('{"Labels":[]}', "has neither UserId, ItemId nor FeedbackType"),
        ("{'UserId': 1}", "is not valid JSON: key must be a string at column 2"),
    ],
)
def test_a_bad_line_says_which_of_its_fields_and_why(
    tmp_path: Path, line: str, reason: str
) -> None:
    assert one(tmp_path, line) == BadLine(reason)


def test_a_kind_given_explicitly_is_what_every_line_must_be(tmp_path: Path) -> None:
    assert one(tmp_path, '{"ItemId":"i"}', Kind.USERS) == BadLine("UserId: is missing")
