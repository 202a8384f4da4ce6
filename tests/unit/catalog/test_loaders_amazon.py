from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.catalog.inputs import Kind, NewEvent, NewItem
from services.catalog.loaders import BadLine, Format, Line, Row, UnreadableFile, read
from services.catalog.loaders.amazon import clean
from services.catalog.loaders.core import Core

REVIEW_2014 = {
    "reviewerID": "A2SUAM1J3GNN3B",
    "asin": "0000013714",
    "reviewerName": "J. McDonald",
    "helpful": [2, 3],
    "reviewText": "I bought this for my husband.",
    "overall": 5.0,
    "summary": "Heavenly Highway Hymns",
    "unixReviewTime": 1252800000,
    "reviewTime": "09 13, 2009",
}
REVIEW_2018 = {
    "overall": 4.0,
    "verified": True,
    "reviewTime": "06 28, 2015",
    "reviewerID": "A1",
    "asin": "B00",
    "style": {"Format:": " Hardcover"},
    "unixReviewTime": 1435449600,
}
REVIEW_2023 = {
    "rating": 1.0,
    "title": "Disappointed",
    "text": "…",
    "asin": "B088SZDGXG",
    "parent_asin": "B08BBQ29N5",
    "user_id": "AFKZ",
    "timestamp": 1634275259292,
    "helpful_vote": 3,
    "verified_purchase": True,
}


def lines(tmp_path: Path, *records: object, **options: Any) -> list[Line]:
    path = tmp_path / "amazon.json"
    written = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(written), encoding="utf-8")
    return list(read(path, Format.AMAZON, **options))


def one(tmp_path: Path, record: object) -> Row | BadLine:
    (line,) = lines(tmp_path, record)
    return line.row


@pytest.mark.parametrize(
    ("record", "user", "item", "value", "moment"),
    [
        (REVIEW_2014, "A2SUAM1J3GNN3B", "0000013714", 5.0, datetime(2009, 9, 13, tzinfo=UTC)),
        (REVIEW_2018, "A1", "B00", 4.0, datetime(2015, 6, 28, tzinfo=UTC)),
        (
            REVIEW_2023,
            "AFKZ",
            "B08BBQ29N5",
            1.0,
            datetime(2021, 10, 15, 5, 20, 59, 292000, tzinfo=UTC),
        ),
    ],
    ids=["2014", "2018", "2023"],
)
def test_a_review_is_a_rating(
    tmp_path: Path, record: object, user: str, item: str, value: float, moment: datetime
) -> None:
    row = one(tmp_path, record)
    assert isinstance(row, NewEvent)
    assert (row.user_id, row.item_id, row.type) == (user, item, "rating")
    assert (row.value, row.occurred_at) == (value, moment)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {
                "asin": "0000031852",
                "title": "Girls Ballet Tutu Zebra Hot Pink",
                "price": 3.17,
                "brand": "Coxlures",
                "categories": [["Sports & Outdoors", "Other Sports", "Dance"], ["Dance"]],
                "related": {"also_bought": ["B00JHONN1S"]},
            },
            NewItem(
                item_id="0000031852",
                title="Girls Ballet Tutu Zebra Hot Pink",
                categories=("Sports & Outdoors", "Other Sports", "Dance"),
                attributes={"brand": "Coxlures", "price": "3.17"},
            ),
        ),
        (
            {
                "asin": "B1",
                "title": "Mario &amp; Luigi&#39;s &amp;quot;Quest&amp;quot;<br/>",
                "category": ["Toys &amp; Games", "</span></span></span>"],
                "main_cat": '<img src="x.png" alt="Toys"/>',
                "brand": "",
                "price": ".a-box-inner{background-color:#fff}",
                "feature": ["a"],
            },
            NewItem(item_id="B1", title='Mario & Luigi\'s "Quest"', categories=("Toys & Games",)),
        ),
        (
            {
                "main_category": "Video Games",
                "title": "Dash",
                "store": "Big Cheese",
                "categories": [],
                "price": "$8.49 - $1,020.00",
                "parent_asin": "B2",
            },
            NewItem(
                item_id="B2",
                title="Dash",
                categories=("Video Games",),
                attributes={"brand": "Big Cheese", "price": "8.49 - 1,020.00"},
            ),
        ),
        ({"asin": "B3", "title": None, "price": None}, NewItem(item_id="B3")),
    ],
    ids=["2014", "2018", "2023", "bare"],
)
def test_metadata_is_an_item(tmp_path: Path, record: object, expected: NewItem) -> None:
    assert one(tmp_path, record) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("var aPageStart = (new Date()).getTime();\nvar x = 1;", ""),
        ("<style>.a{color:red}</style> Real   title", "Real title"),
        ("<script>alert(1)", ""),
        (".crMt { font-size: 11px; margin: 0 } Boots", ""),
        ("I <3 you > all {limited: edition}", "I <3 you > all {limited: edition}"),
        ("Cats &lt;b&gt;and&lt;/b&gt; dogs", "Cats and dogs"),
    ],
)
def test_what_is_not_a_title_is_taken_out(raw: str, expected: str) -> None:
    assert clean(raw) == expected


def test_python_literals_of_early_files_are_read(tmp_path: Path) -> None:
    row = one(tmp_path, r"{'asin': u'01', 'title': 'The \"best\" It\'s \d', 'price': 2.5}")
    assert row == NewItem(item_id="01", title='The "best" It\'s \\d', attributes={"price": "2.50"})


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (REVIEW_2014 | {"asin": None}, "asin: is missing"),
        (REVIEW_2023 | {"timestamp": None}, "timestamp: is missing"),
        (REVIEW_2014 | {"overall": "five"}, "overall: must be a number"),
        (REVIEW_2014 | {"unixReviewTime": "soon"}, "unixReviewTime: is not a time such as "),
        (REVIEW_2014 | {"reviewerID": ""}, "reviewerID: must not be empty"),
        (REVIEW_2014 | {"unixReviewTime": 9e10}, "unixReviewTime: lies more than a day in the fut"),
        ({"title": "No id"}, "user_id: is missing"),
        ("{'asin': open('x')}", "is not valid JSON: key must be a string at column 2"),
        ("{'a': " + "1+" * 50_000 + "1}", "is not valid JSON: "),
        ("{'a': " + "[" * 50_000, "is not valid JSON: "),
        ("[]", "the line: must be an object"),
    ],
)
def test_a_bad_line_says_which_of_its_fields_and_why(
    tmp_path: Path, record: object, reason: str
) -> None:
    good_before, bad, good_after = lines(tmp_path, REVIEW_2014, record, REVIEW_2014)
    assert isinstance(bad.row, BadLine)
    assert bad.row.reason.startswith(reason)
    assert bad.number == 2
    assert isinstance(good_before.row, NewEvent)
    assert isinstance(good_after.row, NewEvent)


def test_there_are_no_users_in_these_files(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="list no users"):
        lines(tmp_path, REVIEW_2014, kind=Kind.USERS)


def review(user: int, item: int) -> dict[str, object]:
    return REVIEW_2014 | {"reviewerID": f"u{user}", "asin": f"i{item}"}


def test_the_core_keeps_events_of_users_and_items_with_enough_of_each_other(
    tmp_path: Path,
) -> None:
    square = [review(user, item) for user in (1, 2) for item in (1, 2)]
    tail = [review(3, 1), review(3, 3), review(4, 3)]  # falls one by one
    bad = "{broken"
    everything = [*tail, *square, bad, {"asin": "i9", "title": "Nobody's"}]
    found = lines(tmp_path, *everything, min_core=2)
    assert [line.number for line in found] == [4, 5, 6, 7, 8, 9]
    assert isinstance(found[-2].row, BadLine)
    # The core is that of the whole file, wherever reading begins.
    path = tmp_path / "amazon.json"
    rest = read(path, Format.AMAZON, min_core=2, start=found[1].position)
    assert [line.number for line in rest] == [6, 7, 8, 9]


def test_reviewing_one_product_often_does_not_make_a_core(tmp_path: Path) -> None:
    assert lines(tmp_path, *[review(1, 1)] * 9, min_core=2) == []


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60),
    st.integers(0, 4),
)
def test_the_core_is_what_repeated_filtering_leaves(pairs: list[tuple[int, int]], k: int) -> None:
    named = [(f"u{user}", f"i{item}") for user, item in pairs]
    left, before = set(named), None
    while left != before:
        before = left
        users = Counter(user for user, _ in left)
        items = Counter(item for _, item in left)
        left = {pair for pair in left if users[pair[0]] >= k and items[pair[1]] >= k}
    core = Core(named, k)
    assert {pair for pair in named if pair in core} == left
    assert ("stranger", "i0") not in core
