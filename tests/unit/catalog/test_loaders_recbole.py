from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.catalog.inputs import Kind, NewEvent, NewItem, NewUser
from services.catalog.loaders import BadLine, Format, Row, UnreadableFile, read


def rows(
    tmp_path: Path, name: str, *lines: str, event_type: str = "purchase"
) -> list[Row | BadLine]:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [line.row for line in read(path, Format.RECBOLE, event_type=event_type)]


def test_a_rated_interaction_is_a_rating(tmp_path: Path) -> None:
    (row,) = rows(
        tmp_path,
        "ml.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        "196\t242\t3\t881250949",
    )
    assert isinstance(row, NewEvent)
    assert (row.user_id, row.item_id, row.type, row.value) == ("196", "242", "rating", 3.0)
    assert row.occurred_at == datetime(1997, 12, 4, 15, 55, 49, tzinfo=UTC)


def test_an_interaction_without_a_rating_is_of_the_type_asked_for(tmp_path: Path) -> None:
    header = "user_id:token\titem_id:token\trating:float"
    unrated, rated = rows(tmp_path, "a.inter", header, "u\ti\t", "u\tj\t4.5", event_type="view")
    assert isinstance(unrated, NewEvent)
    assert isinstance(rated, NewEvent)
    assert (unrated.type, unrated.value) == ("view", None)
    assert (rated.type, rated.value) == ("rating", 4.5)


def test_milliseconds_are_recognized(tmp_path: Path) -> None:
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (row,) = rows(tmp_path, "a.inter", header, "u\ti\t1433221332117")
    assert isinstance(row, NewEvent)
    assert row.occurred_at == datetime(2015, 6, 2, 5, 2, 12, 117000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Animation Comedy", ("Animation", "Comedy")),
        ("Drama, Sci-Fi, Slice of Life", ("Drama", "Sci-Fi", "Slice of Life")),
        ("Action|Adventure", ("Action", "Adventure")),
        ("'CDs & Vinyl', 'Jazz'", ("CDs & Vinyl", "Jazz")),
        ("['Toys, Games', \"Men's\"]", ("Toys, Games", "Men's")),
        ("", ()),
    ],
)
def test_items_have_a_title_categories_and_attributes(
    tmp_path: Path, cell: str, expected: tuple[str, ...]
) -> None:
    (row,) = rows(
        tmp_path,
        "ml.item",
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq\tv:float_seq",
        f"1\tToy  Story\t1995\t{cell}\t0.1 0.2",
    )
    assert row == NewItem(
        item_id="1", title="Toy Story", categories=expected, attributes={"release_year": "1995"}
    )


def test_users_have_attributes(tmp_path: Path) -> None:
    header = "user_id:token\tage:float\tgender:token"
    found = rows(tmp_path, "ml.user", header, "1\t24\tM", "2\t\t")
    assert found == [
        NewUser(user_id="1", attributes={"age": "24", "gender": "M"}),
        NewUser(user_id="2"),
    ]


def test_bad_lines_are_named_and_passed_over(tmp_path: Path) -> None:
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    path = tmp_path / "a.inter"
    path.write_bytes(
        header.encode() + b"\nu\ti\nu\ti\tgood\t1\nu\ti\t1\tnoon\n\xff\ti\t1\t1\n"
        b"\ti\t1\t1\nu\ti\tnan\t1\nu\ti\t1\t1e30\nu\ti\t5\t1\r\n"
    )
    found = {line.number: line.row for line in read(path, Format.RECBOLE)}
    assert {number: row.reason for number, row in found.items() if isinstance(row, BadLine)} == {
        2: "has 2 columns where the header has 4",
        3: "rating: must be a number",
        4: "timestamp: is not a time such as 2026-01-31T12:00:00Z",
        5: "is not valid UTF-8 (byte 1 of the line)",
        6: "user_id: must not be empty",
        7: "rating: must be a finite number",
        8: "timestamp: is outside the years 1 to 9999",
    }
    assert isinstance(found[9], NewEvent)


def test_a_missing_column_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="has no column item_id; its columns are user_id, bus"):
        rows(tmp_path, "yelp.inter", "user_id:token\tbusiness_id:token", "1\t2")
    with pytest.raises(UnreadableFile, match="does not begin with a RecBole header"):
        rows(tmp_path, "a.inter", "1\t2", "1\t3")


def test_the_kind_may_be_given_for_a_file_of_another_name(tmp_path: Path) -> None:
    path = tmp_path / "interactions.tsv"
    path.write_text("user_id:token\titem_id:token\nu\ti\n")
    for kind in (None, Kind.EVENTS):
        (line,) = read(path, Format.RECBOLE, kind)
        assert isinstance(line.row, NewEvent)
    (line,) = read(path, Format.RECBOLE, Kind.USERS)
    assert line.row == NewUser(user_id="u", attributes={"item_id": "i"})
