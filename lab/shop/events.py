"""The full path: a life as a shop records it, with views, ratings and times.

Each positive of a life becomes one event, a purchase or a rating of 4 or 5. Around them lie views
and now and then a low rating of some other item. Under the product's setting
["purchase", "rating>=4"] the positives of a user are exactly the life's items, in order.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from lab.shop.lives import Stream, sample_lives, user_stream
from lab.shop.taste import Life, Shop, item_odds

POSITIVE_EVENTS = ("purchase", "rating>=4")
MAX_EVENTS = 80

# Everything happens between these days. A first visit falls into the first part of the calendar
# and a last one into the last part, so that lives overlap and end at different times.
FIRST_DAY = date(2025, 1, 1)
DAYS = 540
ARRIVAL_DAYS, DEPARTURE_DAYS = 240, 150
MEMBER_AT_MOST_DAYS_BEFORE = 400

# Country, its share of the users in percent, and hours from UTC (winter time, all year).
COUNTRIES = (
    ("US", 30, -6),
    ("GB", 14, 0),
    ("DE", 14, 1),
    ("FR", 10, 1),
    ("SE", 8, 1),
    ("NL", 8, 1),
    ("CA", 8, -5),
    ("AU", 8, 10),
)
# Visits begin between 7 in the morning and 10 at night, local time; evenings are busiest.
VISIT_HOURS = range(7, 23)
VISIT_SHARES = (2, 3, 3, 3, 3, 4, 4, 3, 3, 4, 5, 6, 8, 10, 9, 5)

SAME_VISIT = 0.2  # chance that a positive comes in the same visit as the one before
RATED = 0.3  # share of the positives that are ratings
FIVE_STARS = 0.55  # share of these that are 5, the others are 4
LOW_RATING = 0.05  # chance, per positive, of a rating of 1 to 3 in the same visit
VIEWS = 0.6  # mean number of views before a positive
VIEWS_OF_THE_ITEM = 0.4  # share of these that show the item itself


@dataclass(frozen=True)
class Profile:
    user_id: str
    country: str
    member_since: date


@dataclass(frozen=True)
class Event:
    event_id: str
    user_id: str
    item: int
    type: str
    value: int | None
    occurred_at: datetime


@dataclass(frozen=True)
class ShopUser:
    """One user as the shop knows it, beside the latent truth."""

    profile: Profile
    events: tuple[Event, ...]
    life: Life


@dataclass(frozen=True)
class _Action:
    item: int
    type: str
    value: int | None = None


def user_id(number: int) -> str:
    return f"user-{number:04d}"


def sample_users(shop: Shop, numbers: Sequence[int]) -> Iterator[ShopUser]:
    """The users with these numbers; their lives are those of `sample_lives`."""
    for life in sample_lives(shop, numbers):
        yield _record(shop, life)


def in_time_order(users: Iterable[ShopUser]) -> list[Event]:
    """All events as the shop received them. Events of one second keep each user's order."""
    return sorted(
        (event for user in users for event in user.events), key=lambda event: event.occurred_at
    )


def _record(shop: Shop, life: Life) -> ShopUser:
    rng = user_stream(shop.seed, life.number, Stream.EVENTS)
    country, _, utc_offset = COUNTRIES[_pick(rng, [share for _, share, _ in COUNTRIES])]
    name = user_id(life.number)
    visits = _visits(shop, life, rng)
    first_day = int(rng.integers(ARRIVAL_DAYS))
    last_day = DAYS - 1 - int(rng.integers(DEPARTURE_DAYS))
    days = first_day + np.sort(rng.permutation(last_day - first_day + 1)[: len(visits)])
    events: list[Event] = []
    for day, visit in zip(days, visits, strict=True):
        hour = VISIT_HOURS[_pick(rng, VISIT_SHARES)] - utc_offset
        moment = datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(
            days=int(day), hours=hour, seconds=int(rng.integers(3600))
        )
        for action in visit:
            number = f"{name}-{len(events) + 1:02d}"
            events.append(Event(number, name, action.item, action.type, action.value, moment))
            moment += timedelta(seconds=int(rng.integers(20, 400)))
    member_days = int(rng.integers(MEMBER_AT_MOST_DAYS_BEFORE))
    member_since = FIRST_DAY + timedelta(days=first_day - 1 - member_days)
    return ShopUser(Profile(name, country, member_since), tuple(events), life)


def _visits(shop: Shop, life: Life, rng: np.random.Generator) -> list[list[_Action]]:
    """What the user does, visit by visit, oldest first."""
    free = np.ones(len(shop.catalog.items), dtype=bool)
    free[life.items] = False
    extras = MAX_EVENTS - len(life.items)
    visits: list[list[_Action]] = []
    for position, item in enumerate(life.items.tolist()):
        if position == 0 or rng.random() >= SAME_VISIT:
            visits.append([])
        visit = visits[-1]
        views = min(int(rng.poisson(VIEWS)), extras)
        extras -= views
        visit.extend(_view(shop, life, position, rng) for _ in range(views))
        if rng.random() < RATED:
            visit.append(_Action(item, "rating", 5 if rng.random() < FIVE_STARS else 4))
        else:
            visit.append(_Action(item, "purchase"))
        if rng.random() < LOW_RATING and extras:
            extras -= 1
            disliked = _pick(rng, shop.catalog.popularity * free)
            free[disliked] = False
            visit.append(_Action(disliked, "rating", int(rng.integers(1, 4))))
    return visits


def _view(shop: Shop, life: Life, position: int, rng: np.random.Generator) -> _Action:
    """A look at the item itself, or at another one: looking is wider than taking, but not blind."""
    if rng.random() < VIEWS_OF_THE_ITEM:
        return _Action(int(life.items[position]), "view")
    odds = item_odds(shop, life.liked_at(position)[np.newaxis])[0]
    return _Action(_pick(rng, np.sqrt(odds)), "view")


def _pick(
    rng: np.random.Generator, shares: NDArray[np.float64] | list[int] | tuple[int, ...]
) -> int:
    """A place, with a chance in proportion to its share."""
    bounds = np.cumsum(shares)
    return int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))
