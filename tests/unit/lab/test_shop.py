"""What the sample shop promises to those who train and evaluate on it."""

import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lab.shop import figures
from lab.shop.catalog import ITEMS, build_catalog
from lab.shop.events import MAX_EVENTS, in_time_order, sample_users
from lab.shop.files import EVENTS_FILE, ITEMS_FILE, USERS_FILE, write_sample_shop, write_shop
from lab.shop.lives import MAX_POSITIVES, MIN_POSITIVES, sample_lives
from lab.shop.taste import (
    EVALUATION_USERS,
    SHIPPED_USERS,
    TRAINING_USERS,
    Life,
    Shop,
    liked_values,
    utilities,
)
from lab.shop.vocabulary import AXES

SHIPPED_FOLDER = Path(__file__).parents[3] / "services" / "catalog" / "sample_shop"


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


@pytest.fixture(scope="module")
def lives(shop: Shop) -> list[Life]:
    return list(sample_lives(shop, EVALUATION_USERS[:600]))


def _rows(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (SHIPPED_FOLDER / name).read_bytes().splitlines()]


def test_titles_are_unique_short_and_show_the_taste_axes(shop: Shop) -> None:
    items = shop.catalog.items
    assert len(items) == ITEMS == len({item.title for item in items})
    assert len({item.item_id for item in items}) == ITEMS
    for item in items:
        assert 3 <= len(item.title.split()) <= 6
        assert all(item.attributes[axis] in item.title for axis in AXES)


def test_every_title_word_recurs(shop: Shop) -> None:
    words = Counter(word for item in shop.catalog.items for word in item.title.split())
    assert min(words.values()) >= 15


def test_the_catalog_is_the_same_every_time(shop: Shop) -> None:
    again = build_catalog()
    assert again.items == shop.catalog.items
    assert np.array_equal(again.popularity, shop.catalog.popularity)


def test_a_user_is_the_same_in_any_company(shop: Shop, lives: list[Life]) -> None:
    numbers = [EVALUATION_USERS[3], EVALUATION_USERS[500], TRAINING_USERS[7]]
    third, other, _ = sample_lives(Shop(), numbers)
    for alone, together in ((third, lives[3]), (other, lives[500])):
        assert np.array_equal(alone.items, together.items)
        assert np.array_equal(alone.liked, together.liked)
        assert np.array_equal(alone.stage_starts, together.stage_starts)


def test_another_seed_makes_other_users(lives: list[Life]) -> None:
    other = next(sample_lives(Shop(seed=1), EVALUATION_USERS[:1]))
    assert not np.array_equal(other.items, lives[0].items)


def test_shipped_evaluation_and_training_users_are_disjoint() -> None:
    assert SHIPPED_USERS.stop <= EVALUATION_USERS.start
    assert EVALUATION_USERS.stop <= TRAINING_USERS.start


def test_nobody_takes_an_item_twice(lives: list[Life]) -> None:
    for life in lives:
        assert MIN_POSITIVES <= len(life.items) <= MAX_POSITIVES
        assert len(set(life.items.tolist())) == len(life.items)


def test_taste_changes_one_value_at_a_time(shop: Shop, lives: list[Life]) -> None:
    assert any(len(life.liked) > 1 for life in lives)
    for life in lives:
        for before, after in pairwise(life.liked):
            (slot,) = np.flatnonzero(before != after)
            assert shop.catalog.axis_of(int(before[slot])) == shop.catalog.axis_of(int(after[slot]))
            assert after[slot] not in before


def test_liked_values_are_those_of_the_moment(shop: Shop, lives: list[Life]) -> None:
    life = next(life for life in lives if len(life.liked) > 1)
    change = int(life.stage_starts[1])
    first = liked_values(shop.catalog, life, 0)
    assert tuple(len(first[axis]) for axis in AXES) == shop.rules.liked
    assert liked_values(shop.catalog, life, change - 1) == first
    assert liked_values(shop.catalog, life, change) != first
    assert liked_values(shop.catalog, life, len(life.items))  # the present is a moment, too


def test_the_oracle_knows_the_true_chances(shop: Shop, lives: list[Life]) -> None:
    expected = hits = variance = 0.0
    for life in lives:
        newest = len(life.items) - 1
        odds = np.exp(utilities(shop, life, newest))
        odds[life.items[:newest]] = 0.0
        best = int(odds.argmax())
        chance = odds[best] / odds.sum()
        expected += chance
        variance += chance * (1 - chance)
        hits += best == life.items[newest]
    assert abs(hits - expected) < 4 * variance**0.5


def test_taste_is_learnable_but_not_trivial() -> None:
    measured = figures.describe(users=200)
    assert 0.70 <= measured["oracle.ndcg@10"] <= 0.90
    assert 0.12 <= measured["popularity.ndcg@10"] <= 0.27
    assert measured["random.ndcg@10"] == pytest.approx(0.0909, abs=1e-3)
    assert measured["counts.window6.ndcg@10"] > 1.5 * measured["popularity.ndcg@10"]
    assert measured["counts.all.ndcg@10"] < 0.9 * measured["oracle.ndcg@10"]
    assert measured["headroom.window6"] >= 1.25
    assert measured["headroom.window8"] >= 1.2


def test_positive_events_are_the_life_in_order(shop: Shop) -> None:
    for user in sample_users(shop, EVALUATION_USERS[:60]):
        positives = [
            event.item
            for event in user.events
            if event.type == "purchase" or (event.type == "rating" and (event.value or 0) >= 4)
        ]
        assert positives == user.life.items.tolist()
        assert 10 <= len(user.events) <= MAX_EVENTS
        times = [event.occurred_at for event in user.events]
        assert all(earlier < later for earlier, later in pairwise(times))
        assert user.profile.member_since <= times[0].date()


def test_shipped_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    write_sample_shop(tmp_path)
    for name in (ITEMS_FILE, USERS_FILE):
        assert (tmp_path / name).read_bytes() == (SHIPPED_FOLDER / name).read_bytes()
    # The text and not the compressed bytes: another zlib may pack the same text differently.
    shipped = (SHIPPED_FOLDER / EVENTS_FILE).read_bytes()
    assert gzip.decompress((tmp_path / EVENTS_FILE).read_bytes()) == gzip.decompress(shipped)
    assert len(shipped) < 400_000


def test_writing_twice_gives_the_same_bytes(tmp_path: Path, shop: Shop) -> None:
    numbers = SHIPPED_USERS[:20]
    for first, second in zip(
        write_shop(tmp_path / "first", shop, numbers),
        write_shop(tmp_path / "second", shop, numbers),
        strict=True,
    ):
        assert first.read_bytes() == second.read_bytes()


def test_shipped_events_are_in_time_order_and_name_shipped_items_and_users() -> None:
    packed = (SHIPPED_FOLDER / EVENTS_FILE).read_bytes()
    events = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    items = {row["item_id"] for row in _rows(ITEMS_FILE)}
    users = {row["user_id"] for row in _rows(USERS_FILE)}
    times = [event["occurred_at"] for event in events]
    assert times == sorted(times)
    assert len({event["event_id"] for event in events}) == len(events)
    assert {event["user_id"] for event in events} == users
    assert {event["item_id"] for event in events} <= items
    assert {event["type"] for event in events} == {"purchase", "rating", "view"}
    assert all(("value" in event) == (event["type"] == "rating") for event in events)


def test_time_order_keeps_the_order_of_each_user(shop: Shop) -> None:
    users = list(sample_users(shop, SHIPPED_USERS[:30]))
    merged = in_time_order(users)
    for user in users:
        mine = [event for event in merged if event.user_id == user.profile.user_id]
        assert mine == list(user.events)
