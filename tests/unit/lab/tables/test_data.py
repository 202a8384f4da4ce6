"""Data sets as they are published become evaluation files, once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from lab.evaluation.files import read_data, read_split
from lab.tables.data.describing import describe
from lab.tables.data.recipes import RECIPES
from lab.tables.data.sources import Interaction, Raw, Source, read_source
from lab.tables.data.splitting import CANDIDATES, Wanted, make_split
from services.errors import ConfigurationError

DAY = 86_400
REVIEWED = 1_634_256_000


def walkers(users: int = 30, items: int = 80) -> Raw:
    """Everybody takes ten items in a row, one a day."""
    taken = [
        Interaction(f"u{user}", f"i{(3 * user + step) % items}", step * DAY)
        for user in range(users)
        for step in range(10)
    ]
    return Raw(taken, {f"i{item}": f"Title {item}" for item in range(items)})


def gzipped(file: Path, records: Iterable[dict[str, Any]]) -> Path:
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)
    return file


def made(out: Path, raw: Raw | None = None, **wanted: Any) -> dict[str, Any]:
    return make_split(raw or walkers(), Wanted(**{"users": 8, "min_core": 1} | wanted), out, [])


@pytest.mark.parametrize("year", [2018, 2023])
def test_amazons_reviews_and_metadata_are_read_by_recipe(tmp_path: Path, year: int) -> None:
    if year == 2018:
        review: dict[str, Any] = {
            "reviewerID": "ada", "asin": "B1", "overall": 4.0, "unixReviewTime": REVIEWED,
        }  # fmt: skip
        names = ("Video_Games_5.json.gz", "meta_Video_Games.json.gz")
        product = {"asin": "B1", "title": "Half &amp; Half"}
    else:
        review = {"user_id": "ada", "parent_asin": "B1", "rating": 4.0}
        review["timestamp"] = 1_000 * REVIEWED
        names = ("Video_Games.jsonl.gz", "meta_Video_Games.jsonl.gz")
        product = {"parent_asin": "B1", "title": "Half &amp; Half"}
    gzipped(tmp_path / names[0], [review])
    gzipped(tmp_path / names[1], [product])
    raw = read_source(Source.AMAZON, *RECIPES["games"].files(tmp_path))
    assert raw.titles == {"B1": "Half & Half"}
    assert raw.interactions == [Interaction("ada", "B1", float(REVIEWED), 4.0)]


def test_a_recipe_names_the_files_that_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Toys_and_Games_5"):
        RECIPES["toys"].files(tmp_path)


def test_atomic_files_are_read(tmp_path: Path) -> None:
    inter, item = tmp_path / "x.inter", tmp_path / "x.item"
    inter.write_text("user_id:token\titem_id:token\ttimestamp:float\nada\tb\t5\nada\t\t6\n")
    item.write_text("item_id:token\ttitle:token_seq\nb\tA  Book\n")
    raw = read_source(Source.RECBOLE, inter, item)
    assert raw.interactions == [Interaction("ada", "b", 5.0)]
    assert raw.titles == {"b": "A Book"}
    assert raw.bad_lines == 1


@pytest.mark.parametrize(
    ("names", "ratings", "movies"),
    [
        (("ratings.csv", "movies.csv"), "userId,movieId,rating,timestamp\n1,2,4.5,7\n",
         'movieId,title,genres\n2,"Café, The (1995)",Drama\n'),
        (("ratings.dat", "movies.dat"), "1::2::4.5::7\n", "2::Café, The (1995)::Drama\n"),
        (("u.data", "u.item"), "1\t2\t4.5\t7\n", "2|Café, The (1995)|01-Jan-1995\n"),
    ],
)  # fmt: skip
def test_movielens_is_read_in_every_shape(
    tmp_path: Path, names: tuple[str, str], ratings: str, movies: str
) -> None:
    encoding = "utf-8" if names[0].endswith(".csv") else "latin-1"
    for name, text in zip(names, (ratings, movies), strict=True):
        (tmp_path / name).write_bytes(text.encode(encoding))
    raw = read_source(Source.MOVIELENS, *(tmp_path / name for name in names))
    assert raw.titles == {"2": "Café, The (1995)"}
    assert raw.interactions == [Interaction("1", "2", 7.0, 4.5)]


def test_the_newest_item_is_the_test_and_the_one_before_the_validation(tmp_path: Path) -> None:
    made(tmp_path)
    data = read_data(tmp_path)
    for part, before in (("test", 1), ("valid", 2)):
        for kind in ("uniform", "popular"):
            split = read_split(tmp_path / f"{part}-{kind}-8.jsonl", data)
            for question in split.questions:
                sequence = data.sequences[question.user_id]
                assert split.targets[question.user_id] == sequence[-before]
                assert question.history == sequence[:-before]
                assert len(question.candidates) == CANDIDATES
                assert set(question.candidates) & set(sequence) == {sequence[-before]}


def test_the_same_users_are_asked_in_all_files(tmp_path: Path) -> None:
    made(tmp_path)
    data = read_data(tmp_path)
    asked = [
        [question.user_id for question in read_split(file, data).questions]
        for file in tmp_path.glob("*.jsonl")
    ]
    assert len(asked) == 4
    assert all(one == asked[0] for one in asked)


def test_popular_items_are_drawn_more_often_as_popular_negatives(tmp_path: Path) -> None:
    raw = walkers()
    for step, item in enumerate(("i79", "i1", "i2")):
        raw.interactions += [Interaction(f"fan{n}", item, step) for n in range(400)]
    made(tmp_path, raw, users=430)
    without = {f"u{user}" for user in range(23)}  # none of them takes it
    texts = {
        kind: (tmp_path / f"test-{kind}-430.jsonl").read_text() for kind in ("uniform", "popular")
    }
    shown = {
        kind: sum(
            "i79" in row["candidates"]
            for row in map(
                json.loads, (tmp_path / f"test-{kind}-430.jsonl").read_text().splitlines()
            )
            if row["user_id"] in without
        )
        for kind in texts
    }
    assert shown["popular"] == len(without) > shown["uniform"]


def test_untitled_items_repeats_and_what_is_outside_the_core_are_left_out(tmp_path: Path) -> None:
    raw = walkers()
    raw.interactions += [
        Interaction("u0", "i0", 99 * DAY),  # a repeat: the first counts
        Interaction("u0", "untitled", 98 * DAY),
        Interaction("seldom", "i1", 1.0),
    ]
    made(tmp_path, raw, min_core=2)
    data = read_data(tmp_path)
    assert data.sequences["u0"][0] == "i0"
    assert len(data.sequences["u0"]) == 10
    assert "seldom" not in data.sequences
    assert "untitled" not in data.titles


def test_low_ratings_are_no_choices(tmp_path: Path) -> None:
    raw = walkers()
    raw.interactions = [
        Interaction(one.user_id, one.item_id, one.at, 5.0 if one.at else 1.0)
        for one in raw.interactions
    ]
    made(tmp_path, raw, least_rating=4.0)
    assert all(len(items) == 9 for items in read_data(tmp_path).sequences.values())


def test_ties_keep_the_order_of_the_source_and_are_told(tmp_path: Path) -> None:
    raw = walkers()
    raw.interactions = [
        Interaction(one.user_id, one.item_id, min(one.at, 8 * DAY)) for one in raw.interactions
    ]
    manifest = made(tmp_path, raw)
    assert manifest["ties"] == {"pairs": 30, "of_pairs": 270, "targets": 30, "of_users": 30}
    assert read_data(tmp_path).sequences["u0"] == tuple(f"i{item}" for item in range(10))


def test_a_split_is_made_once(tmp_path: Path) -> None:
    digest = made(tmp_path)["digest"]
    with pytest.raises(ConfigurationError, match="made once"):
        made(tmp_path)
    assert made(tmp_path / "again")["digest"] == digest
    assert made(tmp_path / "other", seed=1)["digest"] != digest


def test_a_split_that_was_touched_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    figures, detail = describe(tmp_path)
    assert figures["users"] == 30
    assert figures["interactions"] == 300
    assert {one["users"] for one in detail["files"]} == {8}
    with (tmp_path / "sequences.tsv").open("a") as lines:
        lines.write("late\ti1\n")
    with pytest.raises(ConfigurationError, match=r"sequences\.tsv is not the file"):
        describe(tmp_path)


def test_files_without_a_manifest_are_described_unchecked(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "split.json").unlink()
    figures, detail = describe(tmp_path)
    assert detail["split"] is None
    assert "ties.pairs" not in figures


def test_nobody_to_ask_about_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--min-core"):
        made(tmp_path, min_core=50)
