"""The users of the loop, in a database like any deployment's: their lives but the newest positive.

That one is the test. It is not in the database, so nothing that learns can read it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lab.learning.filling import Contents, fill
from lab.shop.events import POSITIVE_EVENTS, in_time_order, sample_users
from lab.shop.files import event_rows, item_rows, user_rows
from lab.shop.taste import EVALUATION_USERS, Shop
from services.catalog.inputs import NewEvent, NewItem, NewUser
from services.catalog.positives import PositiveEvents

POSITIVES = PositiveEvents.parse(POSITIVE_EVENTS)
# Of those who are only learned from; nobody is asked about among them.
CROWD = 500


@dataclass(frozen=True, slots=True)
class Test:
    """What a user chose next, and when."""

    user_id: str
    item_id: str
    occurred_at: datetime


def asked_users(users: int, first: int) -> Sequence[int]:
    return EVALUATION_USERS[first : first + users]


def write_population(file: Path, tests: Path, users: int, first: int, crowd: int = CROWD) -> None:
    """Whole or not at all: a file that is there is complete."""
    half = file.with_suffix(".half")
    half.unlink(missing_ok=True)
    newest = asyncio.run(_fill(half, asked_users(users, first), crowd))
    tests.write_text(
        "".join(
            json.dumps([one.user_id, one.item_id, _moment(one).isoformat()]) + "\n"
            for one in newest
        )
    )
    half.rename(file)


async def _fill(file: Path, users: Sequence[int], crowd: int) -> list[NewEvent]:
    """Everything but the newest positives of the asked, which are returned."""
    shop = Shop()
    asked = list(sample_users(shop, users))
    others = sample_users(shop, EVALUATION_USERS[len(EVALUATION_USERS) - crowd :])
    known = {user.profile.user_id for user in asked}
    events = [
        NewEvent.model_validate(row) for row in event_rows(shop, in_time_order([*asked, *others]))
    ]
    newest = {one.user_id: one for one in events if one.user_id in known and _is_positive(one)}
    kept = [
        one
        for one in events
        if one.user_id not in newest or _moment(one) < _moment(newest[one.user_id])
    ]
    contents = Contents(
        items=[NewItem.model_validate(row) for row in item_rows(shop)],
        users=[NewUser.model_validate(row) for row in user_rows(asked)],
        events=kept,
    )
    await fill(file, contents, POSITIVES)
    return list(newest.values())


def read_tests(file: Path) -> list[Test]:
    rows = map(json.loads, file.read_text().splitlines())
    return [Test(user, item, datetime.fromisoformat(at)) for user, item, at in rows]


def titles_of_shop() -> Callable[[str], bool]:
    """Whether a folded title is an item's: then a demonstration must not just mention it."""
    from services.prompts.titles import fold  # noqa: PLC0415

    titles = {fold(item.title) for item in Shop().catalog.items}
    return titles.__contains__


def _is_positive(event: NewEvent) -> bool:
    return POSITIVES.include(event.type, event.value)


def _moment(event: NewEvent) -> datetime:
    assert event.occurred_at is not None, "events of the shop have their times"
    return event.occurred_at
