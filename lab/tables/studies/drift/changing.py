"""Users of the generated shop whose taste changes at a known event; and the same without."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path

import numpy as np

from lab.learning.filling import Contents, make
from lab.loop.population import CROWD, POSITIVES
from lab.shop.events import in_time_order, sample_users, user_id
from lab.shop.files import event_rows, item_rows
from lab.shop.lives import continued, sample_lives
from lab.shop.taste import EVALUATION_USERS, Life, Shop
from services.catalog.inputs import NewEvent, NewItem, NewUser

# The crowd's lives go on all the while: what others choose is known as of each moment.
FIRST_EVENT, STEP = datetime(2025, 6, 1, 12, tzinfo=UTC), timedelta(days=5)
# Others than other experiments look at, and nobody is both asked and a donor of tastes.
FIRST_USER, FIRST_DONOR = 300_000, 500_000
DONORS = 20  # for each user: the taste least alike is taken


class Condition(StrEnum):
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Twins:
    """One user, twice: the same to the event `at`; from there on with the taste of another user, or
    with the taste of before. `shared` is how many liked values the two tastes have in common."""

    at: int
    changed: Life
    unchanged: Life
    shared: int

    @property
    def user_id(self) -> str:
        return user_id(self.changed.number)

    def life(self, condition: Condition) -> Life:
        return self.changed if condition is Condition.CHANGED else self.unchanged


def twins(shop: Shop, users: int, first: int, at: int, more: int) -> list[Twins]:
    """Of evaluation users who live long enough."""
    return list(islice(_all_twins(shop, at, more), first, first + users))


def _all_twins(shop: Shop, at: int, more: int) -> Iterator[Twins]:
    for place, number in enumerate(EVALUATION_USERS[FIRST_USER:FIRST_DONOR]):
        (life,) = sample_lives(shop, [number])
        if len(life.items) < at:
            continue
        donors = FIRST_DONOR + DONORS * place
        others = EVALUATION_USERS[donors : donors + DONORS]
        own = life.liked_at(at - 1)
        tastes = [other.liked_at(0) for other in sample_lives(shop, others)]
        other = min(tastes, key=lambda taste: len(np.intersect1d(taste, own)))
        yield Twins(
            at,
            continued(shop, life, at, other, more),
            continued(shop, life, at, own, more),
            len(np.intersect1d(other, own)),
        )


def events_of(shop: Shop, life: Life, begin: int, end: int) -> list[NewEvent]:
    """The positives from place `begin` to before `end`, each a purchase at a time of its own."""
    name = user_id(life.number)
    return [
        NewEvent(
            event_id=f"{name}-{place}", user_id=name, type="purchase",
            item_id=shop.catalog.items[int(life.items[place])].item_id,
            occurred_at=FIRST_EVENT + place * STEP,
        )
        for place in range(begin, end)
    ]  # fmt: skip


def write_people(file: Path, shop: Shop, asked: Sequence[Twins], end: int) -> None:
    """The shop, the crowd, and what the asked chose before the event `end`: all they have in
    common. Whole or not at all."""
    if file.exists():
        return
    others = sample_users(shop, EVALUATION_USERS[len(EVALUATION_USERS) - CROWD :])
    contents = Contents(
        items=[NewItem.model_validate(row) for row in item_rows(shop)],
        users=[NewUser(user_id=one.user_id) for one in asked],
        events=[
            *(NewEvent.model_validate(row) for row in event_rows(shop, in_time_order(others))),
            *(event for one in asked for event in events_of(shop, one.unchanged, 0, end)),
        ],
    )
    asyncio.run(make(file, contents, POSITIVES))
